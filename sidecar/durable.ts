/** Files that are whole or absent, also after a power cut. */
import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Replaces the file in one step; when it resolves, the new content survives a power cut. */
export async function writeDurably(path: string, content: string | Buffer, mode = 0o644): Promise<void> {
  const part = `${path}.${randomBytes(4).toString('hex')}.part`;
  try {
    const file = await open(part, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
  } catch (thrown) {
    await rm(part, { force: true });
    throw thrown;
  }
  await syncFolder(dirname(path));
}

/** Makes what was renamed into or created in the folder survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Makes the bytes of a file that somebody else wrote survive a power cut. */
export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Whether a path that leads nowhere made it fail; anything else leaves open what is there. */
export function isAbsence(thrown: unknown): boolean {
  const code = codeOf(thrown);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** Null where nothing is at the path; rejects where that could not be told. */
export async function unlessAbsent<T>(work: Promise<T>): Promise<T | null> {
  return work.catch((thrown) => {
    if (isAbsence(thrown)) return null;
    throw thrown;
  });
}

export function codeOf(thrown: unknown): string | null {
  return thrown instanceof Error && 'code' in thrown ? String(thrown.code) : null;
}
