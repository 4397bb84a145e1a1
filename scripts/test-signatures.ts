import { createHash } from 'node:crypto';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eicar } from '../sidecar/clamd/eicar.ts';

/** The signature names of the test set as clamd reports them: it marks every set that is not official. */
export const testFindings = { eicar: 'Eicar-Test-Signature.UNOFFICIAL', madeUp: 'Pocketwarden.Made-Up.UNOFFICIAL' } as const;

/** A payload that only the test set calls a finding, by its hash. */
export function madeUpPayload(): Buffer {
  return Buffer.from('Pocketwarden calls these made-up bytes a finding, to prove that hash signatures work.\n');
}

/**
 * Writes a set of two signatures into `dir`: EICAR by its bytes, and the made-up payload by its hash. They prove that the
 * machinery works and nothing else: a machine that has only these must say so loudly.
 */
export async function writeTestSignatures(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  const payload = madeUpPayload();
  const sha256 = createHash('sha256').update(payload).digest('hex');
  await put(dir, 'pocketwarden-test.ndb', `Eicar-Test-Signature:0:0:${eicar().toString('hex')}\n`);
  await put(dir, 'pocketwarden-test.hsb', `${sha256}:${payload.length}:Pocketwarden.Made-Up:73\n`);
}

/** By way of another name: clamd refuses its whole set over one half-written file. */
async function put(dir: string, name: string, text: string): Promise<void> {
  const temporary = join(dir, `.${name}.${process.pid}.tmp`);
  await writeFile(temporary, text);
  await rename(temporary, join(dir, name));
}
