import { join } from 'node:path';
import type { RunningClamd } from '../../test/harness/clamd.ts';
import { obtainClamd } from '../parts/clamd.ts';
import { runOrThrow } from '../parts/run.ts';

/** Milliseconds that `clamdscan --stream` takes for a file, on a daemon of ours. Throws when it does not find it clean. */
export async function clamdscanMs(clamd: RunningClamd, path: string): Promise<number> {
  const { clamdscan, env } = await obtainClamd(() => {});
  if (clamdscan === null) throw new Error('clamdscan is missing: install it beside clamd, or unset CLAMD_BIN to have both unpacked');
  const args = ['--config-file', join(clamd.dir, 'clamd.conf'), '--stream', '--no-summary', path];
  const began = performance.now();
  await runOrThrow(clamdscan, args, { env: { ...process.env, ...env } });
  return performance.now() - began;
}
