import { createHash } from 'node:crypto';
import { eicar } from '../../sidecar/clamd/eicar.ts';
import { zipOf } from '../../sidecar/clamd/payloads.ts';
import type { Check, GateAnswer } from './client.ts';
import { inMemory, type Payload, randomPayload } from './payload.ts';

export interface Case {
  readonly title: string;
  readonly payload: Payload;
  readonly expected: 'clean' | 'infected';
}

export function demoCases(): Case[] {
  return [
    { title: 'a clean build', payload: randomPayload('clean-app.bin', 8), expected: 'clean' },
    { title: 'EICAR', payload: inMemory('eicar.com', eicar()), expected: 'infected' },
    { title: 'EICAR in a zip', payload: inMemory('eicar.zip', zipOf({ name: 'inside/eicar.com', data: eicar() })), expected: 'infected' },
    { title: '300 MB', payload: randomPayload('large-app.bin', 300), expected: 'clean' },
  ];
}

/** What one case went through. */
export interface Course {
  readonly before: GateAnswer;
  /** Whether the check was settled clean by the time the first download had been answered: then the gate may have been open already. */
  readonly openBefore: boolean;
  readonly check: Check;
  readonly after: GateAnswer;
}

/** Everything that did not go as it must, one sentence each. */
export function complaints({ expected, payload }: Case, { before, openBefore, check, after }: Course): string[] {
  const found: string[] = [];
  const refusedBefore = refusalOf(before) !== null;
  if (!refusedBefore && !(expected === 'clean' && openBefore && before.status === 200))
    found.push(`the download before the verdict was answered ${before.status} ${before.code}`);
  if (check.status !== expected) found.push(`the check ended as ${check.status} ${check.reason}, not as ${expected}`);
  if (check.open !== (expected === 'clean')) found.push(`the gate is marked ${check.open ? 'open' : 'shut'}`);
  if (expected === 'infected') {
    if (refusalOf(after) !== 'infected') found.push(`the download after the verdict was answered ${after.status} ${after.code}`);
    if (check.virus_name === '') found.push('the check names no finding');
  } else if (after.status !== 200 || after.bytes !== payload.size || after.sha256 !== sha256(payload))
    found.push(`the download after the verdict was answered ${after.status} with ${after.bytes} of ${payload.size} bytes, or other bytes`);
  return found;
}

/** What a closed gate says, or the second lock and the route beside it; null for any other answer. */
function refusalOf({ status, code }: GateAnswer): string | null {
  if (status === 403 && code.startsWith('scan_')) return code.slice('scan_'.length);
  return status === 404 && ['pending', 'scanning', 'infected', 'error'].includes(code) ? code : null;
}

function sha256(payload: Payload): string {
  const hash = createHash('sha256');
  for (const chunk of payload.chunks()) hash.update(chunk);
  return hash.digest('hex');
}
