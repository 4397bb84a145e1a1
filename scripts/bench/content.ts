import { randomFillSync } from 'node:crypto';
import { open, statfs } from 'node:fs/promises';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** One in some thousand random beginnings is that of a format which nobody can unpack, and its build ends as unscannable. */
const beginning = 'random bytes: ';

/** Random contents, each different, of no known format. */
export function randomContents(count: number, bytes: number): Buffer[] {
  return Array.from({ length: count }, () => randomContent(bytes));
}

export function randomContent(bytes: number): Buffer {
  const content = randomFillSync(Buffer.allocUnsafe(bytes));
  content.write(beginning);
  return content;
}

/** A file of such content, a multiple of 16 MiB long. Throws a sentence when the disk has no room for `copies` more of it. */
export async function writeRandomFile(path: string, bytes: number, copies: number): Promise<{ path: string; bytes: number }> {
  const file = await open(path, 'wx');
  try {
    const { bavail, bsize } = await statfs(path);
    const needed = bytes * (copies + 1);
    if (bavail * bsize < needed) throw new Error(`${Math.ceil(needed / GIB)} GiB are needed in the temporary folder (TMPDIR)`);
    for (let written = 0; written < bytes; written += 16 * MIB) await file.write(randomContent(16 * MIB));
  } finally {
    await file.close();
  }
  return { path, bytes };
}
