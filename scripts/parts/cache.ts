import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { isAlive, withLock } from './lock.ts';
import type { Report } from './report.ts';

/** Outside the clone, so that a second clone finds what the first one obtained. */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  const base = env.XDG_CACHE_HOME;
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'pocketwarden');
}

export interface Entry<T> {
  /** Name of the folder below the cache root; holds version and platform, so that a change of either makes a new one. */
  readonly name: string;
  /** Proves that the folder holds a working part, by running it; null when it does not. */
  readonly check: (folder: string) => Promise<T | null>;
  /** Fills an empty folder, or throws with the reason. */
  readonly make: (folder: string) => Promise<void>;
}

/** What the cache holds, or null. A folder that fails its check counts as absent. */
export async function lookUp<T>(root: string, entry: Pick<Entry<T>, 'name' | 'check'>): Promise<T | null> {
  return entry.check(join(root, entry.name));
}

/**
 * Fills one folder of the cache, or waits for the process that is filling it. The part is made in a folder of its own beside
 * the final one, checked there and in its final place; a process that dies on the way leaves nothing that looks finished, and
 * its leftovers are removed by the next.
 */
export async function makeInCache<T>(root: string, entry: Entry<T>, report: Report): Promise<T> {
  const target = join(root, entry.name);
  return withLock(
    `${target}.lock`,
    (holder) => report(`waiting for process ${holder}, which is obtaining ${entry.name}`),
    async () => {
      const existing = await entry.check(target);
      if (existing !== null) return existing;
      await removeLeftovers(target);
      const part = `${target}.${process.pid}.${randomBytes(3).toString('hex')}.part`;
      try {
        await mkdir(part, { recursive: true });
        await entry.make(part);
        if ((await entry.check(part)) === null) throw new Error(`what was obtained for ${entry.name} does not run`);
        await rm(target, { recursive: true, force: true });
        await rename(part, target);
      } finally {
        await rm(part, { recursive: true, force: true });
      }
      const made = await entry.check(target);
      if (made === null) throw new Error(`${entry.name} does not run from ${target}`);
      return made;
    },
  );
}

async function removeLeftovers(target: string): Promise<void> {
  const pattern = /^\.(\d+)\.[0-9a-f]+\.part$/;
  for (const name of await readdir(dirname(target))) {
    if (!name.startsWith(basename(target))) continue;
    const pid = pattern.exec(name.slice(basename(target).length))?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(dirname(target), name), { recursive: true, force: true });
  }
}
