import { randomBytes } from 'node:crypto';
import { open, statfs } from 'node:fs/promises';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** Random contents, each different. */
export function randomContents(count: number, bytes: number): Buffer[] {
  return Array.from({ length: count }, () => randomBytes(bytes));
}

/** A file of random bytes, a multiple of 16 MiB long. Throws a sentence when the disk has no room for `copies` of it. */
export async function writeRandomFile(path: string, bytes: number, copies: number): Promise<{ path: string; bytes: number }> {
  const file = await open(path, 'wx');
  try {
    const { bavail, bsize } = await statfs(path);
    const needed = bytes * (copies + 1);
    if (bavail * bsize < needed) throw new Error(`${Math.ceil(needed / GIB)} GiB are needed in the temporary folder (TMPDIR)`);
    for (let written = 0; written < bytes; written += 16 * MIB) await file.write(randomBytes(16 * MIB));
  } finally {
    await file.close();
  }
  return { path, bytes };
}
