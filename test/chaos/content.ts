/** The bytes of planned files, and what a stored name says about them. */
import { createHash } from 'node:crypto';
import { madeUpPayload } from '../../scripts/test-signatures.ts';
import { zipOf } from '../../sidecar/clamd/payloads.ts';
import { eicar } from '../harness/eicar.ts';
import type { PlannedFile } from './plan.ts';
import { Random } from './random.ts';

const infections = [eicar, madeUpPayload, () => zipOf({ name: 'inner.com', data: eicar() })];

export function contentOf({ name, size, isInfected }: PlannedFile): Uint8Array<ArrayBuffer> {
  const random = new Random(createHash('sha256').update(name).digest().readUInt32LE());
  if (isInfected) return new Uint8Array(random.pick(infections)());
  const words = new Uint32Array(Math.ceil(size / 4));
  for (let at = 0; at < words.length; at++) words[at] = random.next() * 4_294_967_296;
  // Begins like text: random first bytes are now and then those of a format that no engine unpacks.
  return new Uint8Array(words.buffer, 0, size).fill(65, 0, 16);
}

export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The planned name in the one that PocketBase gave to the stored file. */
export function plannedName(stored: string): string {
  const match = /^(r\d+w\d+n\d+f\d+[ci])_[a-z0-9]{10}\.bin$/i.exec(stored);
  if (match === null) throw new Error(`PocketBase stored a file under a name that was not uploaded: ${stored}`);
  return `${match[1]}.bin`;
}

export function isInfectedName(stored: string): boolean {
  return plannedName(stored).endsWith('i.bin');
}
