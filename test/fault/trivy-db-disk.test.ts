/** A file system that fails for a moment, or has no room: what is published stays, and the next build just starts. */
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BuildLogWriter } from '../../sidecar/trivy-db/build-log.ts';
import { BuildRecords, emptyRecord } from '../../sidecar/trivy-db/build-records.ts';
import { BuildLock } from '../../sidecar/trivy-db/lock.ts';
import { LockChain } from '../../sidecar/trivy-db/lock-chain.ts';
import { Publications } from '../../sidecar/trivy-db/publications.ts';
import { eventually } from '../harness/eventually.ts';
import { startTrivyDbRole, type TrivyDbFolders, trivyDbFolders } from '../harness/trivy-db-builder.ts';

let folders: TrivyDbFolders;

beforeEach(async () => {
  folders = await trivyDbFolders();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await folders[Symbol.asyncDispose]();
});

const broken = (code: string) => Object.assign(new Error(`${code}: of the test`), { code });

/** From the next publication on, reads and writes fail so many times. */
function failAfterFlip(times: number, then: (code: string) => void = () => {}): void {
  const { flip, pointer } = Publications.prototype;
  const { save } = BuildRecords.prototype;
  let left = 0;
  const unlessBroken = <A extends unknown[], R>(real: (...args: A) => Promise<R>) =>
    async function (this: unknown, ...args: A): Promise<R> {
      if (left-- > 0) throw broken('EMFILE');
      return real.apply(this, args);
    };
  vi.spyOn(Publications.prototype, 'pointer').mockImplementation(unlessBroken(pointer));
  vi.spyOn(BuildRecords.prototype, 'save').mockImplementation(unlessBroken(save));
  vi.spyOn(Publications.prototype, 'flip').mockImplementation(async function (this: Publications, to) {
    await flip.call(this, to);
    left = times;
    then('EMFILE');
  });
}

describe('a file system that fails for a moment', () => {
  it('after the publication takes nothing back', async () => {
    await using running = await startTrivyDbRole(folders);
    failAfterFlip(3);
    const record = await running.build();
    expect(record).toMatchObject({ outcome: 'succeeded', error: null, isKept: true });
    expect(await running.role.builder.published()).toMatchObject({ buildId: record.id });
  });

  it('in the publication itself is asked again whether it was', async () => {
    await using running = await startTrivyDbRole(folders);
    failAfterFlip(3, (code) => {
      throw broken(code);
    });
    const record = await running.build();
    expect(record).toMatchObject({ outcome: 'succeeded', error: null, isKept: true });
  });

  it('while a build is published again does not make that a failure', async () => {
    await using running = await startTrivyDbRole(folders);
    const { builder } = running.role;
    const first = await running.build();
    await running.build();
    vi.spyOn(BuildRecords.prototype, 'save').mockRejectedValue(broken('EIO'));
    await builder.publish(first.id, 'ana');
    expect(await builder.published()).toMatchObject({ buildId: first.id });
    expect(running.log).toContainEqual(expect.objectContaining({ event: 'trivy-db-published', by: 'ana' }));
    expect((await builder.state()).lock.kind).toBe('free');
  });

  it('when the lock is given back does not keep it', async () => {
    await using running = await startTrivyDbRole(folders);
    const { builder } = running.role;
    const release = vi.spyOn(LockChain.prototype, 'release').mockRejectedValueOnce(broken('EIO')).mockRejectedValueOnce(broken('EIO'));
    await running.build();
    await eventually('it is free', async () => (await builder.state()).lock.kind === 'free');
    expect(release).toHaveBeenCalledTimes(3);
    release.mockRejectedValueOnce(broken('EIO'));
    await running.build();
    expect(await running.build()).toMatchObject({ outcome: 'succeeded' });
  });

  it('when the lock is given back does not hide why a build did not begin', async () => {
    await using running = await startTrivyDbRole(folders, {}, { minFreeBytes: Number.MAX_SAFE_INTEGER });
    vi.spyOn(LockChain.prototype, 'release').mockRejectedValueOnce(broken('EIO'));
    await expect(running.role.builder.start('ana')).rejects.toMatchObject({ code: 'no-space' });
  });

  it('at the end of a build leaves no log open, and the record is ended by the next one', async () => {
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_SOURCES: 'alpine' });
    const { save } = BuildRecords.prototype;
    const saving = vi.spyOn(BuildRecords.prototype, 'save').mockImplementation(async function (this: BuildRecords, record) {
      if (record.outcome !== null) throw broken('ENOSPC');
      return save.call(this, record);
    });
    const { builder, logs } = running.role;
    const id = await builder.start('ana');
    await eventually('it has ended', async () => (await builder.state()).running === null, 15_000);
    const lines: string[] = [];
    // Ends only with a log that is closed.
    for await (const some of (await logs.of(id))!.follow(0, AbortSignal.timeout(5000))) lines.push(...some.map(({ text }) => text));
    expect(lines.at(-1)).toMatch(/The build failed|could not be recorded/);
    expect(await builder.build(id)).toMatchObject({ outcome: null });
    saving.mockRestore();
    await running.build();
    expect(await builder.build(id)).toMatchObject({ outcome: 'died' });
  });
});

it.each(['the lock', 'the log'])('a full disk that has no room for %s is told as that', async (what) => {
  await using running = await startTrivyDbRole(folders);
  const full = broken('ENOSPC');
  if (what === 'the lock')
    vi.spyOn(BuildLock.prototype, 'acquire').mockRejectedValueOnce(new Error('No lock can be made', { cause: full }));
  else vi.spyOn(BuildLogWriter, 'open').mockRejectedValueOnce(full);
  await expect(running.role.builder.start('ana')).rejects.toMatchObject({
    name: 'BuilderRefusal',
    code: 'no-space',
    message: /Make room at/,
  });
  expect(await running.role.builder.state()).toMatchObject({ status: 'idle', lock: { kind: 'free' } });
  expect(await running.build()).toMatchObject({ outcome: 'succeeded' });
});

describe('what cannot be read', () => {
  it('is never removed on a guess: while nobody knows what is published, nothing is', async () => {
    await using running = await startTrivyDbRole(folders);
    const { builder } = running.role;
    const { id } = await running.build();
    const pointer = join(folders.outputDir, 'published.json');
    await rm(pointer);
    await mkdir(pointer);
    await rm(join(folders.outputDir, 'records', `${id}.json`));
    await expect(builder.start('ana')).rejects.toThrow(/EISDIR/);
    await writeFile(join(folders.outputDir, 'records', `${id}.json`), '{');
    await rm(pointer, { recursive: true });
    await writeFile(pointer, '{"buildId":"../.."}');
    await expect(builder.start('ana')).rejects.toThrow(/does not name the published build\. Remove it/);
    expect(await readdir(join(folders.outputDir, 'builds'))).toEqual([id]);
    expect((await builder.state()).lock.kind).toBe('free');
  });

  it('is no reason to remove a kept build: a record that is lost, damaged or of another version', async () => {
    await using running = await startTrivyDbRole(folders);
    const ids: string[] = [];
    for (let count = 0; count < 3; count++) ids.push((await running.build()).id);
    const [lost, damaged, newer] = ids.map((id) => join(folders.outputDir, 'records', `${id}.json`)) as [string, string, string];
    await rm(lost);
    await writeFile(damaged, '{');
    await writeFile(newer, JSON.stringify({ id: ids[2], outcome: 'postponed' }));
    const { id } = await running.build();
    expect((await readdir(join(folders.outputDir, 'builds'))).sort()).toEqual([...ids, id]);
  });
});

describe('what a dead build left', () => {
  const dead = '20261121T000000Z-000000';

  async function leave(bytes: number): Promise<void> {
    const { outputDir } = folders;
    for (const name of ['records', 'logs', `builds/${dead}`]) await mkdir(join(outputDir, name), { recursive: true });
    await writeFile(join(outputDir, `records/${dead}.json`), JSON.stringify(emptyRecord(dead)));
    await writeFile(join(outputDir, `builds/${dead}/trivy.db`), Buffer.alloc(bytes, 1));
  }

  it('makes room before anything is written, also where the record cannot be ended', async () => {
    await leave(1024);
    vi.spyOn(BuildRecords.prototype, 'save').mockRejectedValueOnce(broken('ENOSPC'));
    await using running = await startTrivyDbRole(folders);
    expect(await readdir(join(folders.outputDir, 'builds'))).toEqual([]);
    expect(await running.role.builder.build(dead)).toMatchObject({ outcome: null });
    await running.build();
    expect(await running.role.builder.build(dead)).toMatchObject({ outcome: 'died' });
  });

  it('is removed before it is asked whether there is room', async () => {
    await using running = await startTrivyDbRole(folders, {}, { minFreeBytes: Number.MAX_SAFE_INTEGER });
    await leave(1024);
    await expect(running.role.builder.start('ana')).rejects.toMatchObject({ code: 'no-space' });
    expect(await readdir(join(folders.outputDir, 'builds'))).toEqual([]);
  });

  it('may be a log without a record, which nobody would find', async () => {
    await using running = await startTrivyDbRole(folders);
    const logs = join(folders.outputDir, 'logs');
    for (const name of [`${dead}.log`, `${dead}.idx`, 'of-somebody-else.log']) await writeFile(join(logs, name), 'x\n');
    const { id } = await running.build();
    expect((await readdir(logs)).sort()).toEqual([`${id}.idx`, `${id}.log`, 'of-somebody-else.log']);
  });
});

it('a log that helped to fill the disk is cut with its build', async () => {
  const { TRIVY_DB_BIN = '' } = await folders.env();
  const flood = `head -c 5000000 /dev/zero | tr '\\0' x | fold -w 100\nexec "${TRIVY_DB_BIN}" "$@"`;
  await using running = await startTrivyDbRole(folders, { TRIVY_DB_BIN: await folders.script('trivy-db', flood) });
  vi.spyOn(Publications.prototype, 'flip').mockRejectedValueOnce(broken('ENOSPC'));
  const full = await running.build();
  expect(full).toMatchObject({ outcome: 'failed', error: expect.stringContaining('The disk is full') });
  const sizeOf = async (id: string) => (await stat(join(folders.outputDir, 'logs', `${id}.log`))).size;
  expect(await sizeOf(full.id)).toBeLessThan(1_100_000);
  const log = await running.logOf(full.id);
  expect(log).toMatch(/bytes of the log were removed here\.\n.*The build failed\. The disk is full/);
  expect(await sizeOf((await running.build()).id)).toBeGreaterThan(5_000_000);
});
