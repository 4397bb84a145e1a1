import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cacheRoot, type Entry, makeInCache } from './cache.ts';
import { withLock } from './lock.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pocketwarden-cache-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** A part that works when its file says so. */
const part = (make: Entry<string>['make']): Entry<string> => ({
  name: 'part-1.0',
  check: async (folder) => ((await readFile(join(folder, 'part'), 'utf8').catch(() => '')) === 'works' ? join(folder, 'part') : null),
  make,
});
const silent = () => {};
const working = part((folder) => writeFile(join(folder, 'part'), 'works'));

describe('the cache', () => {
  it('stands where XDG says, else below the home folder', () => {
    expect(cacheRoot({ XDG_CACHE_HOME: '/somewhere' })).toBe('/somewhere/pocketwarden');
    expect(cacheRoot({ XDG_CACHE_HOME: '' })).toMatch(/\/\.cache\/pocketwarden$/);
  });

  it('makes a part once', async () => {
    let made = 0;
    const counted = part(async (folder) => {
      made++;
      await writeFile(join(folder, 'part'), 'works');
    });
    const paths = await Promise.all([1, 2, 3].map(() => makeInCache(root, counted, silent)));
    expect(new Set(paths)).toEqual(new Set([join(root, 'part-1.0', 'part')]));
    expect(made).toBe(1);
    expect(await readdir(root)).toEqual(['part-1.0']);
  });

  it('replaces a part that does not run', async () => {
    await mkdir(join(root, 'part-1.0'));
    await writeFile(join(root, 'part-1.0', 'part'), 'half a program');
    expect(await makeInCache(root, working, silent)).toBe(join(root, 'part-1.0', 'part'));
  });

  it('leaves nothing behind when making fails', async () => {
    const failing = part(async (folder) => {
      await writeFile(join(folder, 'part'), 'half');
      throw new Error('connection lost');
    });
    await expect(makeInCache(root, failing, silent)).rejects.toThrow('connection lost');
    expect(await readdir(root)).toEqual([]);
  });

  it('refuses what does not run after it was made', async () => {
    await expect(
      makeInCache(
        root,
        part((folder) => writeFile(join(folder, 'part'), 'broken')),
        silent,
      ),
    ).rejects.toThrow('does not run');
    expect(await readdir(root)).toEqual([]);
  });

  it('removes what a killed process left, lock included', async () => {
    const pid = await deadPid();
    await mkdir(join(root, `part-1.0.${pid}.abc123.part`));
    await writeFile(join(root, 'part-1.0.lock'), `${hostname()} ${pid}`);
    await makeInCache(root, working, silent);
    expect(await readdir(root)).toEqual(['part-1.0']);
  });
});

describe('the lock', () => {
  it('is waited for while its holder lives, and said so once', async () => {
    const lines: string[] = [];
    const released = Promise.withResolvers<void>();
    const path = join(root, 'lock');
    const holding = Promise.withResolvers<void>();
    const first = withLock(path, silent, () => {
      holding.resolve();
      return released.promise;
    });
    await holding.promise;
    let second = 'waiting';
    const waiter = withLock(
      path,
      (holder) => {
        lines.push(holder);
        released.resolve();
      },
      async () => {
        second = 'working';
      },
    );
    expect(second).toBe('waiting');
    await Promise.all([first, waiter]);
    expect(second).toBe('working');
    expect(lines).toEqual([`${hostname()} ${process.pid}`]);
  });

  it('is taken over when nobody has touched it, even from another machine', async () => {
    const path = join(root, 'lock');
    await writeFile(path, 'elsewhere 1');
    await utimes(path, new Date(0), new Date(0));
    expect(await withLock(path, silent, async () => 'done')).toBe('done');
  });

  it('is released when the work fails', async () => {
    const path = join(root, 'lock');
    await expect(withLock(path, silent, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await readdir(root)).toEqual([]);
  });
});

async function deadPid(): Promise<number> {
  const child = spawn('true');
  await once(child, 'exit');
  return child.pid ?? 0;
}
