import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { BuildLock, type HeldLock, SILENT_MS } from './lock.ts';
import { LockChain } from './lock-chain.ts';
import { ownIdentity } from './process-identity.ts';

let folder: string;
let path: string;
let lock: BuildLock;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-lock-'));
  path = join(folder, 'build.lock');
  lock = new BuildLock(path);
});

afterEach(() => rm(folder, { recursive: true }));

async function take(buildId = 'a-build'): Promise<HeldLock> {
  const got = await lock.acquire(buildId);
  if ('kind' in got) throw new Error(`it is ${got.kind}`);
  return got;
}

const token = 'd'.repeat(32);

/** A lock as some process left it: this one, but for what is named. */
async function leave(change: Record<string, unknown>): Promise<void> {
  const since = '2026-11-21T16:08:12.345Z';
  const record = { ...(await ownIdentity()), token, buildId: 'its-build', since, hasPulse: false, ...change };
  await writeFile(`${path}.part`, JSON.stringify(record));
  await rename(`${path}.part`, path);
}

async function deadPid(): Promise<number> {
  const child = spawn('/bin/true');
  await once(child, 'exit');
  return child.pid!;
}

const silence = async () => utimes(path, new Date(), new Date(Date.now() - SILENT_MS - 1000));

describe('the lock', () => {
  it('is held by one until that one releases it, and leaves nothing behind', async () => {
    const held = await take('first');
    const state = { kind: 'held', holder: { pid: process.pid, buildId: 'first', since: expect.stringMatching(/Z$/) } };
    expect(await lock.inspect()).toMatchObject(state);
    expect(await new BuildLock(path).acquire('second')).toMatchObject(state);
    await expect(lock.clear()).rejects.toMatchObject({
      name: 'BuilderRefusal',
      code: 'lock-live',
      message: /runs\. Cancel its build instead/,
    });
    expect(await held.isStillOurs()).toBe(true);
    await held.release();
    await held.release();
    expect(await lock.inspect()).toEqual({ kind: 'free' });
    expect(await held.isStillOurs()).toBe(false);
    await lock.clear();
    expect(await readdir(folder)).toEqual([]);
    await (await take()).release();
  });

  it('can be released again after that failed half way', async () => {
    const held = await take();
    const { walk } = LockChain.prototype;
    let looks = 0;
    const look = vi.spyOn(LockChain.prototype, 'walk').mockImplementation(async function (this: LockChain) {
      looks++;
      // By then the place behind it is taken.
      if (looks === 2) throw new Error('EIO: of the test');
      return walk.call(this);
    });
    await expect(held.release()).rejects.toThrow('EIO');
    look.mockRestore();
    expect(await lock.inspect()).toMatchObject({ kind: 'held' });
    await held.release();
    expect(looks).toBe(2);
    expect(await lock.inspect()).toEqual({ kind: 'free' });
    expect(await readdir(folder)).toEqual([]);
  });

  it('gives a sign of life every five seconds, and says the same as before', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    try {
      const held = await take();
      const before = await readFile(path, 'utf8');
      await silence();
      vi.advanceTimersByTime(5000);
      await eventually('it was touched', async () => Date.now() - (await lstat(path)).mtimeMs < 60_000);
      expect(await readFile(path, 'utf8')).toBe(before);
      await held.release();
    } finally {
      vi.useRealTimers();
    }
  });

  it('releases nothing that is not its own', async () => {
    const held = await take();
    await leave({});
    expect(await held.isStillOurs()).toBe(false);
    await held.release();
    expect(await lock.inspect()).toMatchObject({ kind: 'held', holder: { buildId: 'its-build' } });
  });

  it.each<[string, () => Promise<Record<string, unknown>>]>([
    ['whose number is free', async () => ({ pid: await deadPid() })],
    ['whose number has gone to another process', async () => ({ startedAt: '17' })],
    ['that ran before the machine was started again', async () => ({ boot: 'an earlier boot' })],
    ['that ran in another container before that', async () => ({ boot: 'an earlier boot', host: 'c0ffee', pidNamespace: 'pid:[1]' })],
  ])('of a process %s is stale: it can be cleared, or just taken', async (_what, change) => {
    await leave(await change());
    expect(await lock.inspect()).toMatchObject({ kind: 'stale', holder: { buildId: 'its-build', since: '2026-11-21T16:08:12.345Z' } });
    await lock.clear();
    expect(await readdir(folder)).toEqual([]);
    await leave(await change());
    const held = await take();
    expect(await held.isStillOurs()).toBe(true);
    await held.release();
    expect(await readdir(folder)).toEqual([]);
  });

  it.each<[string, Record<string, unknown>]>([
    ['in another container that cannot be asked', { pidNamespace: 'pid:[1]', pid: 4_000_000 }],
    ['on a machine that says nothing of its boot', { boot: null, host: 'other', pid: 4_000_000 }],
  ])('of a process %s is unknown, and can only be cleared after ten silent minutes', async (_what, change) => {
    await leave(change);
    expect(await lock.inspect()).toMatchObject({ kind: 'unknown', holder: { pid: 4_000_000 }, why: /cannot be seen from here/ });
    expect(await lock.acquire('a-build')).toMatchObject({ kind: 'unknown' });
    await expect(lock.clear()).rejects.toMatchObject({ code: 'lock-live', message: /can be cleared when .* 10 minutes; now it is 0/ });
    await silence();
    expect(await lock.acquire('a-build')).toMatchObject({ kind: 'unknown', why: /clear it if no build runs/ });
    await lock.clear();
    expect(await readdir(folder)).toEqual([]);
  });

  it('that was cleared while its holder slept on another machine tells the holder when that wakes', async () => {
    const sleeper = await take('asleep');
    const record = JSON.parse(await readFile(path, 'utf8'));
    // The same file to its holder; to us, one from another machine.
    await writeFile(path, JSON.stringify({ ...record, boot: null, host: 'far away' }));
    await silence();
    await lock.clear();
    expect(await sleeper.isStillOurs()).toBe(false);
    const next = await take('next');
    await sleeper.release();
    expect(await next.isStillOurs()).toBe(true);
    expect(await lock.inspect()).toMatchObject({ kind: 'held', holder: { buildId: 'next' } });
    await next.release();
  });
});

describe('a lock of the old script', () => {
  it('is held while a process has its number, and stale when none has', async () => {
    await writeFile(path, `${process.pid}\n`);
    expect(await lock.inspect()).toMatchObject({ kind: 'held', holder: { pid: process.pid, buildId: null } });
    await expect(lock.clear()).rejects.toMatchObject({ code: 'lock-live' });
    const pid = await deadPid();
    await writeFile(path, String(pid));
    expect(await lock.inspect()).toMatchObject({ kind: 'stale', holder: { pid } });
    await lock.clear();
    expect(await lock.inspect()).toEqual({ kind: 'free' });
    await writeFile(path, `${pid}\n`);
    await (await take()).release();
    expect(await readdir(folder)).toEqual([]);
  });

  it('is stale when the process with its number began after it was written', async () => {
    const child = spawn('/bin/sleep', ['60']);
    try {
      await once(child, 'spawn');
      await writeFile(path, `${child.pid}\n`);
      expect(await lock.inspect()).toMatchObject({ kind: 'held', holder: { pid: child.pid } });
      const lastMonth = new Date(Date.now() - 30 * 86_400_000);
      await utimes(path, lastMonth, lastMonth);
      expect(await lock.inspect()).toMatchObject({ kind: 'stale', holder: { pid: child.pid } });
      await (await take()).release();
    } finally {
      child.kill('SIGKILL');
    }
  });
});

describe('a lock that nobody can read', () => {
  it.each([
    ['nothing', '', /is empty/],
    ['only spaces', ' \n', /is empty/],
    ['something else', 'hello', /neither a lock of Pocketwarden nor a process number/],
    ['half a record', '{"pid":12,', /neither/],
    ['a record with a strange number', `{"pid":-1}`, /neither/],
    ['process 0', '0\n', /no process can have/],
    ['a huge number', '9999999999', /no process can have/],
    ['a megabyte', '1'.repeat(1024 * 1024), /too long/],
  ])('because it holds %s counts as held until an operator clears it', async (_what, content, why) => {
    await writeFile(path, content);
    expect(await lock.inspect()).toMatchObject({ kind: 'unknown', holder: null, why });
    expect(await lock.acquire('a-build')).toMatchObject({ kind: 'unknown' });
    await expect(lock.clear()).rejects.toMatchObject({ code: 'lock-live', message: why });
    await silence();
    await lock.clear();
    expect(await readdir(folder)).toEqual([]);
  });

  it('because it is a link or a folder is never followed or replaced', async () => {
    const target = join(folder, 'target');
    await writeFile(target, 'precious');
    for (const points of [target, join(folder, 'nowhere')]) {
      await symlink(points, path);
      expect(await lock.acquire('a-build')).toMatchObject({ kind: 'unknown', holder: null, why: /symbolic link.*Remove it by hand/ });
      await expect(lock.clear()).rejects.toMatchObject({ code: 'lock-live', message: /Remove it by hand/ });
      expect(await readlink(path)).toBe(points);
      await rm(path);
    }
    expect(await readFile(target, 'utf8')).toBe('precious');
    await mkdir(path);
    expect(await lock.inspect()).toMatchObject({ kind: 'unknown', why: /no regular file/ });
    await expect(lock.clear()).rejects.toMatchObject({ code: 'lock-live' });
    expect((await lstat(path)).isDirectory()).toBe(true);
  });

  it('does not hold up a reader when it is a pipe', async () => {
    await once(spawn('/usr/bin/mkfifo', [path]), 'exit');
    expect(await lock.inspect()).toMatchObject({ kind: 'unknown', why: /no regular file/ });
  });
});

describe('where no lock can be made', () => {
  it('says so', async () => {
    const nowhere = new BuildLock(join(folder, 'nowhere', 'build.lock'));
    expect(await nowhere.inspect()).toEqual({ kind: 'free' });
    await expect(nowhere.acquire('a-build')).rejects.toThrow(/^No lock can be made in .*nowhere.*Check that the folder exists/);
  });

  it('because something stands in the way of a dead one, says so, and leaves nothing of its own', async () => {
    await leave({ pid: await deadPid() });
    await mkdir(`${path}.after-${token}`);
    expect(await lock.acquire('a-build')).toMatchObject({ kind: 'unknown', why: /no regular file/ });
    expect((await readdir(folder)).sort()).toEqual(['build.lock', `build.lock.after-${token}`]);
  });
});

describe('what earlier ones left', () => {
  it('is removed by the next holder, when it is of no use to anybody', async () => {
    const old = new Date(Date.now() - 2 * 60 * 60_000);
    const young = `build.lock.${'1'.repeat(32)}.new`;
    for (const name of [`build.lock.after-${'2'.repeat(32)}`, `build.lock.${'3'.repeat(32)}.new`, young, 'build.lock.notes', 'other'])
      await writeFile(join(folder, name), '');
    await utimes(join(folder, `build.lock.${'3'.repeat(32)}.new`), old, old);
    await (await take()).release();
    expect((await readdir(folder)).sort()).toEqual([young, 'build.lock.notes', 'other'].sort());
  });
});
