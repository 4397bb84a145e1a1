/** One file of the largest size that a build may have. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GIB, MIB, writeRandomFile } from './content.ts';
import type { Context } from './measure.ts';

export interface LargeFile extends AsyncDisposable {
  readonly path: string;
  readonly bytes: number;
  /** How it is called in the table. */
  readonly label: string;
}

/** 1 GiB of random bytes, 64 MiB in quick runs; `copies` more of it will be stored. */
export async function makeLargeFile({ quick, report }: Context, copies: number): Promise<LargeFile> {
  const label = quick ? '64 MiB' : '1 GiB';
  report(`writing a random file of ${label}`);
  const folder = await mkdtemp(join(tmpdir(), 'large-'));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    const file = await writeRandomFile(join(folder, 'large.bin'), quick ? 64 * MIB : GIB, copies);
    return { ...file, label, [Symbol.asyncDispose]: remove };
  } catch (thrown) {
    await remove();
    throw thrown;
  }
}
