/** The builder killed at every moment: what is published stays whole, and the next build just starts. */
import { randomInt } from 'node:crypto';
import { access, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BuildRecord, Phase } from '../../sidecar/trivy-db/model.ts';
import { digestOf, digestOfFile, readManifest } from '../../sidecar/trivy-db/pack.ts';
import { processStat } from '../../sidecar/trivy-db/process-identity.ts';
import { eventually } from '../harness/eventually.ts';
import { type TrivyDbFolders, trivyDbFolders } from '../harness/trivy-db-builder.ts';
import { type BuilderProcess, startBuilderProcess } from '../harness/trivy-db-process.ts';

let folders: TrivyDbFolders;
let started: AsyncDisposableStack;

beforeEach(async () => {
  started = new AsyncDisposableStack();
  folders = started.use(await trivyDbFolders());
});
afterEach(() => started.disposeAsync());

const builderProcess = async (env: Record<string, string> = {}) => started.use(await startBuilderProcess(await folders.env(env)));

async function begun(builder: BuilderProcess): Promise<string> {
  const answer = await builder.start('a test');
  if ('refused' in answer) throw new Error(`refused: ${answer.refused}`);
  return answer.id;
}

const ended = (builder: BuilderProcess, id: string) =>
  eventually(
    `build ${id} has ended`,
    async () => {
      const [record, { running }] = [await builder.build(id), await builder.state()];
      return record?.outcome === null || running !== null ? null : record;
    },
    30_000,
  );

/** What is published, read as a registry would: the archive is the one of the manifest, the metadata is there. Null before the first. */
async function publishedOnDisk(): Promise<string | null> {
  const named = await readFile(join(folders.outputDir, 'published.json'), 'utf8').catch(() => null);
  if (named === null) return null;
  const { buildId } = JSON.parse(named);
  const folder = join(folders.outputDir, 'builds', buildId);
  const manifest = readManifest(await readFile(join(folder, 'manifest.json')));
  expect(await digestOfFile(join(folder, 'trivy.db.tar.gz'))).toBe(manifest.digest);
  expect(JSON.parse(await readFile(join(folder, 'metadata.json'), 'utf8')).Version).toBe(2);
  return digestOf(await readFile(join(folder, 'manifest.json')));
}

/** Everything that a following build needs, and nothing that the dead one left. */
async function expectNextBuildsWell(): Promise<BuildRecord> {
  const builder = await builderProcess();
  const record = await ended(builder, await begun(builder));
  expect(record).toMatchObject({ outcome: 'succeeded', error: null });
  expect(await publishedOnDisk()).toBe(record.digest);
  expect(await builder.state()).toMatchObject({ status: 'idle', lock: { kind: 'free' } });
  const records = await readdir(join(folders.outputDir, 'records'));
  expect(records.filter((name) => name.endsWith('.part'))).toEqual([]);
  await builder.kill();
  return record;
}

/** Programs that stop in the middle of their phase, and note who they are. */
async function held(phase: Phase): Promise<Record<string, string>> {
  const { TRIVY_DB_BIN = '', BBOLT_BIN = '' } = await folders.env();
  const hold = `echo $$ > "${folders.root}/held"\nsleep 300`;
  switch (phase) {
    case 'fetch':
      return { TRIVY_DB_FETCH: 'command', TRIVY_DB_FETCH_COMMAND: await folders.script('fetch', hold) };
    case 'build':
      // As a kill while it optimises leaves it: a database and metadata that look finished.
      return { TRIVY_DB_BIN: await folders.script('trivy-db', `"${TRIVY_DB_BIN}" "$@"\n${hold}`) };
    case 'compact':
      return {
        BBOLT_BIN: await folders.script('bbolt', `"${BBOLT_BIN}" "$@"\nif [ "$1" = compact ]; then ${hold.replace('\n', '; ')}; fi`),
      };
    case 'compress':
      // So much that packing takes seconds; bbolt takes what follows its last page for free space.
      return {
        BBOLT_BIN: await folders.script(
          'bbolt',
          `"${BBOLT_BIN}" "$@" || exit 1\nif [ "$1" = compact ]; then head -c 300M /dev/urandom >> "$3"; fi`,
        ),
      };
    case 'publish':
      return { TRIVY_BIN: await folders.script('trivy', hold) };
  }
}

describe('kill -9', () => {
  it.each(['fetch', 'build', 'compact', 'compress', 'publish'] as const)('in the phase %s', async (phase) => {
    const before = await expectNextBuildsWell();
    const builder = await builderProcess(await held(phase));
    const id = await begun(builder);
    const inPhase = async () => {
      const now = (await builder.state()).running?.phases.at(-1);
      return now?.name === phase && (phase !== 'compress' || (now.progress ?? 0) > 0);
    };
    await eventually(`it is in the phase ${phase}`, inPhase, 30_000);
    if (phase !== 'compress') await eventually('its program works', () => access(join(folders.root, 'held')).then(() => true));
    await builder.kill();
    expect(await publishedOnDisk()).toBe(before.digest);

    const next = await builderProcess();
    expect(await next.build(id)).toMatchObject({ outcome: 'died', isKept: false, error: expect.stringContaining('Start the build again') });
    expect((await next.state()).last).toMatchObject({ id, outcome: 'died' });
    await next.kill();
    await expectNextBuildsWell();
    expect(await readdir(join(folders.outputDir, 'builds'))).not.toContain(id);
    if (phase === 'compress') return;
    const left = await processStat(Number(await readFile(join(folders.root, 'held'), 'utf8')));
    expect(left?.isZombie ?? true).toBe(true);
  });

  it('at any moment, again and again', async () => {
    await expectNextBuildsWell();
    for (let round = 0; round < 8; round++) {
      const builder = await builderProcess();
      const id = await begun(builder);
      await sleep(randomInt(0, 900));
      await builder.kill();
      const published = await publishedOnDisk();
      const next = await builderProcess();
      const record = (await next.build(id))!;
      expect(['died', 'succeeded'], `round ${round}`).toContain(record.outcome);
      expect(record.outcome === 'succeeded', `round ${round}: published and succeeded are one`).toBe(
        record.digest !== null && record.digest === published,
      );
      await next.kill();
    }
    await expectNextBuildsWell();
  }, 120_000);
});

describe('a program that will not end', () => {
  /** Its builder is killed; it takes no notice of SIGTERM, and would go on writing lists. */
  async function leftRunning(): Promise<{ dead: string; isRunning: () => Promise<boolean> }> {
    const file = join(folders.root, 'stubborn');
    const command = await folders.script('fetch', `trap '' TERM\necho $$ > "${file}"\nwhile :; do sleep 0.1; done`);
    const builder = await builderProcess({ TRIVY_DB_FETCH: 'command', TRIVY_DB_FETCH_COMMAND: command });
    const dead = await begun(builder);
    const pid = await eventually('it runs', async () => Number(await readFile(file, 'utf8')));
    await eventually('it is noted', () => access(join(folders.outputDir, 'child.json')).then(() => true));
    await builder.kill();
    return { dead, isRunning: async () => (await processStat(pid))?.isZombie === false };
  }

  it('is ended before another process builds', async () => {
    const other = await builderProcess();
    const { dead, isRunning } = await leftRunning();
    expect(await isRunning()).toBe(true);
    const id = await begun(other);
    expect(await isRunning()).toBe(false);
    expect(await other.build(dead)).toMatchObject({ outcome: 'died' });
    expect(await ended(other, id)).toMatchObject({ outcome: 'succeeded' });
  });

  it('is ended when the service comes back', async () => {
    const { dead, isRunning } = await leftRunning();
    expect(await isRunning()).toBe(true);
    const next = await builderProcess();
    expect(await isRunning()).toBe(false);
    expect(await next.build(dead)).toMatchObject({ outcome: 'died' });
  });
});

describe('two processes', () => {
  it('that are asked to build in the same moment build once, twenty times', async () => {
    const builders = [await builderProcess(), await builderProcess()] as const;
    const all = new Set<string>();
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all(builders.map((builder) => builder.start(`round-${round}`)));
      const ids = answers.flatMap((answer) => ('id' in answer ? [answer.id] : []));
      expect(ids, `round ${round}: ${JSON.stringify(answers)}`).toHaveLength(1);
      expect(answers.filter((answer) => 'refused' in answer)).toEqual([{ refused: 'busy' }]);
      const by = builders[answers.findIndex((answer) => 'id' in answer)]!;
      expect(await ended(by, ids[0]!)).toMatchObject({ outcome: 'succeeded' });
      all.add(ids[0]!);
    }
    expect(all.size).toBe(20);
    expect((await readdir(join(folders.outputDir, 'records'))).length).toBe(20);
  }, 120_000);
});

describe('what a dead builder left', () => {
  it('may be a publication that its record does not know of', async () => {
    const { id, digest } = await expectNextBuildsWell();
    const file = join(folders.outputDir, 'records', `${id}.json`);
    const record = JSON.parse(await readFile(file, 'utf8'));
    await writeFile(file, JSON.stringify({ ...record, outcome: null, endedAt: null, publishedAt: [] }));
    const next = await builderProcess();
    expect(await next.build(id)).toMatchObject({ outcome: 'succeeded', publishedAt: record.publishedAt, isKept: true });
    await next.kill();
    expect(await publishedOnDisk()).toBe(digest);
    await writeFile(file, JSON.stringify({ ...record, outcome: null }));
    await expectNextBuildsWell();
    expect(await readdir(join(folders.outputDir, 'builds'))).toContain(id);
  });

  it('may be a publication whose record is lost, which stays until another one takes its place', async () => {
    const { id, digest } = await expectNextBuildsWell();
    await rm(join(folders.outputDir, 'records', `${id}.json`));
    const failing = await builderProcess({ TRIVY_DB_SOURCES: 'alpine' });
    expect(await ended(failing, await begun(failing))).toMatchObject({ outcome: 'failed' });
    expect(await publishedOnDisk()).toBe(digest);
  });

  it('is removed by the next build, and what is published or kept is not', async () => {
    const first = await expectNextBuildsWell();
    const dead = '20200101T000000Z-abcdef';
    const { outputDir } = folders;
    await writeFile(join(outputDir, 'published.json.0badcafe.part'), '{');
    await writeFile(join(outputDir, 'records', `${dead}.json.0badcafe.part`), '{');
    await writeFile(join(outputDir, 'records', `${dead}.json`), '{"id":');
    await mkdir(join(outputDir, 'builds', dead));
    await writeFile(join(outputDir, 'builds', dead, 'trivy.db'), 'half');
    const second = await expectNextBuildsWell();
    expect((await readdir(join(outputDir, 'builds'))).sort()).toEqual([first.id, second.id]);
    expect((await readdir(outputDir)).filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  it('is a lock of the old script whose process is gone', async () => {
    const { outputDir } = folders;
    await mkdir(outputDir, { recursive: true });
    await writeFile(join(outputDir, 'build.lock'), '4194000\n');
    const builder = await builderProcess();
    expect(await builder.state()).toMatchObject({ status: 'stale_lock', lock: { kind: 'stale' } });
    await builder.kill();
    await expectNextBuildsWell();
    await rm(join(outputDir, 'build.lock'), { force: true });
  });
});
