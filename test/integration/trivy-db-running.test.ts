/** A build while it runs: who sees it, who may end it, and what ends it by itself. */
import { readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TrivyDbBuilder } from '../../sidecar/trivy-db/builder.ts';
import { LockChain } from '../../sidecar/trivy-db/lock-chain.ts';
import type { BuilderRefusal } from '../../sidecar/trivy-db/model.ts';
import { processStat } from '../../sidecar/trivy-db/process-identity.ts';
import { Publications } from '../../sidecar/trivy-db/publications.ts';
import { eventually } from '../harness/eventually.ts';
import { startTrivyDbRole, type TrivyDbFolders, trivyDbFolders } from '../harness/trivy-db-builder.ts';
import { plantVulnerability } from '../harness/trivy-db-input.ts';

let folders: TrivyDbFolders;

beforeEach(async () => {
  folders = await trivyDbFolders();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await folders[Symbol.asyncDispose]();
});

const refusal = (code: BuilderRefusal['code']) => expect.objectContaining({ name: 'BuilderRefusal', code });

describe('a build under way', () => {
  /** A trivy-db that works until it is ended, with a child of its own. */
  const endless = () =>
    folders.script('trivy-db', `echo $$ > "${folders.root}/leader"\nsleep 300 &\necho $! > "${folders.root}/child"\nwait`);
  const pidIn = async (name: string) => Number(await readFile(join(folders.root, name), 'utf8'));
  const isGone = async (name: string) => (await processStat(await pidIn(name)))?.isZombie ?? true;

  it('refuses a second one and a roll back, and ends with all its processes when it is cancelled', async () => {
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_BIN: await endless() });
    const { builder } = running.role;
    const id = await builder.start('ana');
    await eventually('trivy-db works', () => pidIn('child'));
    expect(await builder.state()).toMatchObject({
      status: 'running',
      running: { id, outcome: null },
      lock: { kind: 'held', holder: { pid: process.pid, buildId: id } },
    });
    await expect(builder.start('bob')).rejects.toEqual(refusal('busy'));
    await expect(builder.clearLock('bob')).rejects.toEqual(refusal('lock-live'));
    await expect(builder.publish(id, 'bob')).rejects.toEqual(refusal('busy'));
    await builder.cancel('bob');
    expect(await isGone('leader')).toBe(true);
    expect(await isGone('child')).toBe(true);
    const record = await builder.build(id);
    expect(record).toMatchObject({ outcome: 'cancelled', error: expect.stringContaining('bob cancelled it') });
    expect(record).toMatchObject({ exitCode: null, signal: 'SIGTERM', phases: [{}, { name: 'build', exitCode: null, signal: 'SIGTERM' }] });
    const log = await running.role.logs.of(id);
    const lines = (await log!.read(1, 1000)).map(({ text }) => text).join('\n');
    expect(lines).toContain('The build was cancelled.');
    expect(lines).not.toMatch(/ana|bob/);
    expect(await readdir(join(folders.outputDir, 'builds'))).toEqual([]);
    await expect(builder.cancel('bob')).rejects.toEqual(refusal('not-running'));
    expect(await builder.state()).toMatchObject({ status: 'idle', lock: { kind: 'free' } });
  });

  it('is ended when the service stops, which then begins no other', async () => {
    const running = await startTrivyDbRole(folders, { TRIVY_DB_BIN: await endless() });
    const id = await running.role.builder.start('ana');
    await eventually('trivy-db works', () => pidIn('child'));
    await running.role.stop();
    expect(await isGone('child')).toBe(true);
    expect(await running.role.builder.build(id)).toMatchObject({ outcome: 'cancelled' });
    await expect(running.role.builder.start('ana')).rejects.toEqual(refusal('stopping'));
  });

  it('ends also while it packs, which no program of its own does', async () => {
    const { BBOLT_BIN = '' } = await folders.env();
    const large = `"${BBOLT_BIN}" "$@" || exit 1\nif [ "$1" = compact ]; then head -c 300M /dev/urandom >> "$3"; fi`;
    await using running = await startTrivyDbRole(folders, { BBOLT_BIN: await folders.script('bbolt', large) });
    const { builder } = running.role;
    const id = await builder.start('ana');
    const isPacking = async () => ((await builder.state()).running?.phases.at(-1)?.progress ?? 0) > 0;
    await eventually('it packs', async () => (await builder.state()).running?.phases.at(-1)?.name === 'compress' && isPacking(), 20_000);
    await builder.cancel('bob');
    expect(await builder.build(id)).toMatchObject({ outcome: 'cancelled', exitCode: null, signal: null });
    expect(await readdir(join(folders.outputDir, 'builds'))).toEqual([]);
  });

  it('is followed by the next one as soon as its outcome is seen', async () => {
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_SOURCES: 'alpine' });
    const { builder } = running.role;
    const { release } = LockChain.prototype;
    vi.spyOn(LockChain.prototype, 'release').mockImplementationOnce(async function (this: LockChain, token) {
      await sleep(300);
      return release.call(this, token);
    });
    const id = await builder.start('ana');
    await eventually('it shows its outcome', async () => (await builder.build(id))?.outcome === 'failed', 15_000);
    expect((await builder.state()).running?.id).toBe(id);
    const answers = await Promise.allSettled([builder.start('ana'), builder.start('bob')]);
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(answers[1]).toMatchObject({ reason: refusal('busy') });
  });

  it('is not said to be cancelled when it was published in the same moment', async () => {
    await using running = await startTrivyDbRole(folders);
    const { builder } = running.role;
    const { flip } = Publications.prototype;
    let cancelled: Promise<unknown> | undefined;
    vi.spyOn(Publications.prototype, 'flip').mockImplementationOnce(async function (this: Publications, to) {
      cancelled = builder.cancel('ana').then(
        () => 'cancelled',
        (thrown) => thrown,
      );
      return flip.call(this, to);
    });
    const record = await running.build();
    expect(record).toMatchObject({ outcome: 'succeeded', error: null });
    expect(await cancelled).toEqual(refusal('not-running'));
    expect(await cancelled).toMatchObject({ message: expect.stringContaining('It had just been published') });
  });

  it('gives nothing of itself away before it is proved', async () => {
    const env = { TRIVY_BIN: await folders.script('trivy', 'sleep 300'), TRIVY_DB_CANARY: 'alpine 3.20 labpkg 1.2.3-r0 CVE-2099-0001' };
    await using running = await startTrivyDbRole(folders, env);
    const { builder } = running.role;
    await builder.start('ana');
    const digest = await eventually('the candidate is tried', async () => {
      const now = (await builder.state()).running;
      return now?.phases.at(-1)?.detail.startsWith('Trivy scans') ? now.digest : null;
    });
    expect(await builder.byDigest(digest)).toBeNull();
    expect(await builder.published()).toBeNull();
    await builder.cancel('ana');
  });

  it('is not begun any more when the service stops in the same moment', async () => {
    const running = await startTrivyDbRole(folders, { TRIVY_DB_BIN: await endless() });
    const [started] = await Promise.allSettled([running.role.builder.start('ana'), running.role.stop()]);
    expect(started).toEqual({ status: 'rejected', reason: refusal('stopping') });
    expect(await running.role.builder.state()).toMatchObject({ running: null, lock: { kind: 'free' } });
    expect(await running.role.builder.builds()).toEqual([]);
  });

  it('shows what it does, and another process of the same folders sees it', async () => {
    const trivyDb = await folders.script(
      'trivy-db',
      'echo "2026/11/21 16:00:00 INFO [nvd] Updating data..." >&2\necho "2026/11/21 16:00:01 INFO [alpine] Updating data..." >&2\nsleep 300',
    );
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_BIN: trivyDb });
    await using other = await startTrivyDbRole(folders);
    const id = await running.role.builder.start('ana');
    await eventually('it says where it is', async () => {
      const { running: now } = await running.role.builder.state();
      return now?.phases.at(-1)?.detail === 'Reading alpine, 2 of 2.' && now.phases.at(-1)!.progress! > 0.3;
    });
    expect(await other.role.builder.state()).toMatchObject({ status: 'running', running: null, lock: { holder: { buildId: id } } });
    await expect(other.role.builder.start('bob')).rejects.toEqual(refusal('busy'));
    expect(await other.role.builder.build(id)).toMatchObject({ outcome: null, startedBy: 'ana' });
    await running.role.builder.cancel('ana');
    expect(await other.build()).toMatchObject({ outcome: 'succeeded' });
    expect(await running.role.builder.published()).toEqual(await other.role.builder.published());
  });
});

describe('the schedule', () => {
  it('waits for the lock of another process, then builds', async () => {
    await using other = await startTrivyDbRole(folders, { TRIVY_DB_BIN: await folders.script('trivy-db', 'sleep 300') });
    await other.role.builder.start('ana');
    // Finer than the variable allows: each second.
    await using running = await startTrivyDbRole(folders, {}, { schedule: '* * * * * *', jitterMs: 0 });
    const { builder } = running.role;
    expect((await builder.state()).nextScheduledAt).not.toBeNull();
    await eventually('it waits', async () => (await builder.state()).status === 'waiting');
    await other.role.builder.cancel('ana');
    const published = await eventually('it has built', () => builder.published(), 15_000);
    expect(await builder.build(published.buildId)).toMatchObject({ startedBy: 'schedule' });
  });

  it('builds nothing where another replica has built since the time that had come', async () => {
    await using one = await startTrivyDbRole(folders);
    await using other = await startTrivyDbRole(folders);
    const due = new Date();
    const { id } = await one.build('schedule');
    const builder = other.role.builder as TrivyDbBuilder;
    expect(await builder.start('schedule', due)).toBe(id);
    expect(await builder.state()).toMatchObject({ status: 'idle', running: null, lock: { kind: 'free' } });
    expect(await builder.start('schedule', new Date())).not.toBe(id);
    const file = join(folders.outputDir, 'records', `${id}.json`);
    // As a clock that was years ahead would have dated it.
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), startedAt: '2099-01-01T00:00:00.000Z' }));
    await eventually('the second one has ended', async () => (await builder.state()).running === null, 15_000);
    expect(await builder.start('schedule', new Date())).not.toBe(id);
  });

  it('tells by /readyz that a build could not begin, which no record does', async () => {
    await using running = await startTrivyDbRole(
      folders,
      {},
      { schedule: '* * * * * *', jitterMs: 0, minFreeBytes: Number.MAX_SAFE_INTEGER },
    );
    const warning = expect.stringMatching(/^The last scheduled build of the Trivy DB could not begin: Only .* MiB are free/);
    await eventually('it warns', () => running.role.readiness().warnings.length > 1);
    expect(running.role.readiness()).toMatchObject({ ready: true, warnings: [warning, expect.stringContaining('No Trivy DB')] });
  });
});

describe('limits', () => {
  it('begins nothing when the disk is too full, and says how much room it needs', async () => {
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_MIN_FREE_MIB: '100000000' });
    await expect(running.role.builder.start('ana')).rejects.toEqual(refusal('no-space'));
    await expect(running.role.builder.start('ana')).rejects.toThrow(/100,000,000 MiB.*TRIVY_DB_MIN_FREE_MIB/);
    expect(await running.role.builder.state()).toMatchObject({ status: 'idle', lock: { kind: 'free' }, last: null });
  });

  it('ends a build that fills the disk, and gives the room back', async () => {
    const { bavail, bsize } = await statfs(folders.root);
    const margin = 1024 ** 3;
    const takes = `for each in 1 2 3 4 5 6; do fallocate -l 512M "$each" || exit 1; done\nsleep 300`;
    const running = await startTrivyDbRole(
      folders,
      { TRIVY_DB_BIN: await folders.script('trivy-db', takes) },
      { minFreeBytes: bavail * bsize - margin },
    );
    await using _stopped = running;
    const record = await running.build();
    expect(record).toMatchObject({ outcome: 'failed', error: expect.stringMatching(/are free at .*Make room/) });
    expect(await readdir(join(folders.outputDir, 'builds'))).toEqual([]);
  });

  it('ends a build that takes too long', async () => {
    const slow = { TRIVY_DB_BIN: await folders.script('trivy-db', 'sleep 300') };
    await using running = await startTrivyDbRole(folders, slow, { timeoutMs: 300 });
    expect(await running.build()).toMatchObject({ outcome: 'timed-out', error: expect.stringContaining('TRIVY_DB_TIMEOUT_MINUTES') });
    expect(await running.role.builder.state()).toMatchObject({ status: 'error', lock: { kind: 'free' } });
  });

  it('compares after a change of the sources what both databases have', async () => {
    await plantVulnerability(folders.cacheDir, { cves: 1100 });
    {
      await using running = await startTrivyDbRole(folders);
      await running.build();
    }
    await rm(folders.cacheDir, { recursive: true });
    await plantVulnerability(folders.cacheDir, { cves: 5 });
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_SOURCES: 'alpine,nvd' });
    const shrunk = expect.stringMatching(/^Rows are gone from 2 sources \(alpine 3\.20: 5 rows, before 1,100; vulnerability: 5 rows/);
    expect(await running.build()).toMatchObject({ outcome: 'failed', error: shrunk, publishedAt: [] });
  });

  it('compares no total row counts after the sources were changed, and starts anew from there', async () => {
    await plantVulnerability(folders.cacheDir, { cves: 20 });
    {
      await using running = await startTrivyDbRole(folders);
      await running.build();
    }
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_SOURCES: 'alpine,nvd' });
    await plantVulnerability(folders.cacheDir, { cves: 5 });
    expect(await running.build()).toMatchObject({ outcome: 'succeeded', rows: { total: 11 } });
    await plantVulnerability(folders.cacheDir, { cves: 1 });
    expect(await running.build()).toMatchObject({ outcome: 'failed' });
  });
});
