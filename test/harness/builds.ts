/** Uploading builds, asking the gate, and working on checks by hand through the worker routes. */
import type Client from 'pocketbase';
import type { ClaimAnswer, ClaimedCheck, ClaimRequest, SettleItem, SettleResult } from '../../pb_hooks/lib/wire.ts';
import type { RunningPocketBase } from './pocketbase.ts';

export interface Build {
  id: string;
  collectionId: string;
  files: string[];
}

export async function upload(
  pb: { client: Client },
  files: Record<string, string | Uint8Array<ArrayBuffer>>,
  collection = 'app_builds',
  field = 'files',
): Promise<Build> {
  return (await pb.client.collection(collection).create(form(files, field))) as unknown as Build;
}

export function form(files: Record<string, string | Uint8Array<ArrayBuffer>>, field = 'files'): FormData {
  const data = new FormData();
  for (const [name, content] of Object.entries(files)) data.append(field, new Blob([content]), name);
  return data;
}

/** The row of a build's check, as a superuser sees it; rejects with 404 where there is none. */
export async function checkOf(
  pb: { client: Client },
  build: { id: string },
): Promise<Record<string, unknown> & { id: string; status: string; open: boolean; reason: string; log: string }> {
  return pb.client.collection('av_build_checks').getFirstListItem(`build = "${build.id}"`);
}

export interface GateAnswer {
  status: number;
  code: string | undefined;
  body: string;
  headers: Headers;
}

/** One anonymous download (unless headers say otherwise): the status, the gate's code and what came. */
export async function download(
  pb: { url: string },
  build: Build,
  options: { name?: string; collection?: string; query?: string; method?: string; headers?: Record<string, string> } = {},
): Promise<GateAnswer> {
  const path = `${options.collection ?? build.collectionId}/${build.id}/${encodeURIComponent(options.name ?? build.files[0]!)}`;
  const answer = await fetch(`${pb.url}/api/files/${path}${options.query ?? ''}`, {
    method: options.method ?? 'GET',
    headers: options.headers ?? {},
  });
  const body = await answer.text();
  let code: string | undefined;
  try {
    code = JSON.parse(body).data.scan.code;
  } catch {
    code = undefined;
  }
  return { status: answer.status, code, body, headers: answer.headers };
}

export const claimDefaults: ClaimRequest = { worker: 'test', max: 10, leaseSeconds: 60, maxRetries: 3 };

export function claim(pb: { client: Client }, options: Partial<ClaimRequest> = {}): Promise<ClaimAnswer> {
  return pb.client.send('/api/av/claim', { method: 'POST', body: { ...claimDefaults, ...options } });
}

export async function settle(pb: { client: Client }, items: readonly SettleItem[], maxRetries = 3): Promise<SettleResult[]> {
  return (await pb.client.send('/api/av/settle', { method: 'POST', body: { maxRetries, results: items } })).results;
}

const engine = {
  name: 'test-engine',
  version: '1.4.6',
  signatures: 'test',
  signaturesAt: null,
  limits: { stream: 2_147_483_645, scan: 2_147_483_644, recursion: 16 },
  canaryAt: '2026-01-02T00:00:00.000Z',
} as const;
const sha256 = 'a'.repeat(64);

export function clean(check: ClaimedCheck): SettleItem {
  const files = check.files.map(({ name }) => ({ name, size: 1, sha256, verdict: 'clean' as const, ms: 1 }));
  return { id: check.id, lease: check.lease, verdict: 'clean', files, engine, log: 'judged clean by the test' };
}

export function infected(check: ClaimedCheck, signature = 'Test.Virus-1'): SettleItem {
  const files = check.files.map(({ name }) => ({ name, size: 1, sha256, verdict: 'infected' as const, signature, ms: 1 }));
  return { id: check.id, lease: check.lease, verdict: 'infected', virusName: signature, files, engine, log: 'found by the test' };
}

export function unscannable(check: ClaimedCheck): SettleItem {
  const reason = 'unscannable:encrypted' as const;
  const files = check.files.map(({ name }) => ({ name, size: 1, sha256, verdict: 'unscannable' as const, reason, ms: 1 }));
  return { id: check.id, lease: check.lease, verdict: 'unscannable', reason, files, engine, log: 'not judged by the test' };
}

export function giveBack(check: ClaimedCheck, code: Extract<SettleItem, { giveBack: string }>['giveBack']): SettleItem {
  return { id: check.id, lease: check.lease, giveBack: code, log: `given back: ${code}` };
}

/** Claims everything that waits and settles it clean. */
export async function clearAll(pb: RunningPocketBase): Promise<void> {
  for (;;) {
    const { checks } = await claim(pb, { max: 100 });
    if (checks.length === 0) return;
    await settle(pb, checks.map(clean));
  }
}
