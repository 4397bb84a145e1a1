/** The disk-space guard: a full disk ends other people's work too, so a build ends before that. */
import { statfs } from 'node:fs/promises';

/** Bytes that an unprivileged process may still write beside the folder. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** A sentence with the next step when one of the folders has less than `minimum` bytes; null when all have enough. */
export async function shortage(folders: readonly string[], minimum: number): Promise<string | null> {
  for (const folder of folders) {
    const free = await freeBytes(folder);
    if (free < minimum)
      return `Only ${mebibytes(free)} MiB are free at ${folder}, and a build needs ${mebibytes(minimum)} MiB. Make room, or lower TRIVY_DB_MIN_FREE_MIB.`;
  }
  return null;
}

/** Looks every `everyMs`; calls `short` once, with the sentence, when space runs out. */
export function watchDisk(folders: readonly string[], minimum: number, everyMs: number, short: (why: string) => void): Disposable {
  const timer = setInterval(() => {
    shortage(folders, minimum).then(
      (why) => {
        if (why === null) return;
        clearInterval(timer);
        short(why);
      },
      // A folder that cannot be asked makes the next step of the build fail with a better reason.
      () => {},
    );
  }, everyMs);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function mebibytes(bytes: number): string {
  return Math.floor(bytes / 1024 / 1024).toLocaleString('en');
}
