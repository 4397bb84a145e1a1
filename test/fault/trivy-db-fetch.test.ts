/** A fetch of the lists that is interrupted: what was brought is not brought again. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { eventually } from '../harness/eventually.ts';
import { allowsPartial, commitFiles, type GitHost, startGitHost } from '../harness/git-host.ts';
import { type RunningRole, startTrivyDbRole, type TrivyDbFolders, trivyDbFolders } from '../harness/trivy-db-builder.ts';
import { plantVulnerability } from '../harness/trivy-db-input.ts';
import { startBuilderProcess } from '../harness/trivy-db-process.ts';

const FILES = 1600;
const FILE_BYTES = 1000;
/** Of names, trees and the rounds of a fetch, with a little to spare. */
const OVERHEAD = 300_000;

let used: AsyncDisposableStack;
let folders: TrivyDbFolders;
let store: string;
let host: GitHost;

beforeEach(async () => {
  used = new AsyncDisposableStack();
  folders = used.use(await trivyDbFolders());
  await rm(folders.cacheDir, { recursive: true });
  store = await mkdtemp(join(tmpdir(), 'pocketwarden-git-host-'));
  used.defer(() => rm(store, { recursive: true, force: true }));
  host = used.use(await startGitHost(store));
});
afterEach(() => used.disposeAsync());

const names = ['vuln-list', 'vuln-list-nvd'];

/** Files that nothing compresses, in a folder of the list that none of the sources reads. */
function padding(count: number): Map<string, Buffer> {
  return new Map(
    Array.from({ length: count }, (_, index) => [`padding/${Math.floor(index / 500)}/${index}.json`, randomBytes(FILE_BYTES)] as const),
  );
}

/** The smallest input, with that padding in vuln-list. */
async function publishLists(more: ReadonlyMap<string, Buffer>, { cves = 1, settings = allowsPartial } = {}): Promise<void> {
  const input = join(store, 'input');
  await plantVulnerability(input, { cves });
  for (const name of names) {
    const entries = await readdir(join(input, name), { recursive: true, withFileTypes: true });
    const files = new Map<string, Buffer>();
    for (const entry of entries.filter((each) => each.isFile())) {
      const path = join(entry.parentPath, entry.name);
      files.set(path.slice(join(input, name).length + 1), await readFile(path));
    }
    await commitFiles(join(store, name), new Map([...files, ...(name === 'vuln-list' ? more : [])]), settings);
  }
}

const env = () => ({
  TRIVY_DB_FETCH: 'git',
  TRIVY_DB_GIT_SOURCES: names.map((name) => `${name}=${host.url(name)}#main`).join(','),
});

async function bytesOf(work: () => Promise<unknown>): Promise<number> {
  const before = host.sent();
  await work();
  return host.sent() - before;
}

async function expectBuilds(running: RunningRole, rows: number): Promise<void> {
  expect(await running.build()).toMatchObject({ outcome: 'succeeded', error: null, rows: { total: rows } });
  const git = (...args: string[]) => execFileSync('git', args, { cwd: join(folders.cacheDir, 'vuln-list'), encoding: 'utf8' });
  expect(git('status', '--porcelain')).toBe('');
  expect(git('fsck', '--connectivity-only', '--no-dangling')).toBe('');
  expect((await readdir(join(folders.cacheDir, 'vuln-list/.git'))).filter((name) => name.startsWith('lists-'))).toEqual([]);
}

/** The second batch of files is under way, the first thousand have come. */
const MIDDLE = 1300 * FILE_BYTES;
/** With what had come of the batch that was lost. */
const REST = (FILES - 1000) * FILE_BYTES + OVERHEAD;

describe('a fetch that is interrupted', () => {
  it('by kill -9 brings only the rest at the next build', async () => {
    await publishLists(padding(FILES));
    const builder = used.use(await startBuilderProcess(await folders.env(env())));
    host.stopAfter(MIDDLE, 'silent');
    const before = host.sent();
    await builder.start('a test');
    await eventually('it is in the middle of the files', () => host.sent() - before === MIDDLE, 20_000);
    const { running } = await builder.state();
    expect(running?.phases.at(-1)).toMatchObject({
      name: 'fetch',
      detail: expect.stringMatching(/vuln-list, 1 of 2\. Receiving files: \d\d %/),
    });
    await builder.kill();
    host.goOn();
    await using next = await startTrivyDbRole(folders, env());
    const rest = await bytesOf(() => expectBuilds(next, 3));
    expect(rest).toBeLessThan(REST);
    expect(rest).toBeGreaterThan((FILES - 1000) * FILE_BYTES);
  });

  it('by the network brings only the rest, also when the lists have moved on', async () => {
    const files = padding(FILES);
    await publishLists(files);
    await using running = await startTrivyDbRole(folders, env());
    host.stopAfter(MIDDLE, 'cut');
    expect(await running.build()).toMatchObject({ outcome: 'failed', error: expect.stringContaining('goes on with what was fetched') });
    host.goOn();
    await publishLists(new Map([...files, ['padding/new.json', randomBytes(FILE_BYTES)]]), { cves: 3 });
    expect(await bytesOf(() => expectBuilds(running, 7))).toBeLessThan(REST);
  });

  it('by its operator brings only the rest', async () => {
    await publishLists(padding(FILES));
    await using running = await startTrivyDbRole(folders, env());
    host.stopAfter(MIDDLE, 'silent');
    const before = host.sent();
    const id = await running.role.builder.start('a test');
    await eventually('it is in the middle of the files', () => host.sent() - before === MIDDLE, 20_000);
    await running.role.builder.cancel('a test');
    expect(await running.ended(id)).toMatchObject({ outcome: 'cancelled' });
    host.goOn();
    expect(await bytesOf(() => expectBuilds(running, 3))).toBeLessThan(REST);
  });
});

describe('a fetch of another day', () => {
  it('costs what is new, and what is gone takes no space', async () => {
    const files = padding(1200);
    await publishLists(files);
    await using running = await startTrivyDbRole(folders, env());
    expect(await bytesOf(() => expectBuilds(running, 3))).toBeLessThan(1200 * FILE_BYTES + OVERHEAD);
    const few = new Map([...files].slice(0, 100));
    for (let day = 1; day <= 3; day++) {
      few.set('padding/new.json', randomBytes(FILE_BYTES));
      await publishLists(few, { cves: day });
      expect(await bytesOf(() => expectBuilds(running, 2 * day + 1)), `day ${day}`).toBeLessThan(20_000);
    }
    expect(await bytesOf(() => expectBuilds(running, 7))).toBeLessThan(5000);
    const counted = execFileSync('git', ['count-objects', '-v'], { cwd: join(folders.cacheDir, 'vuln-list'), encoding: 'utf8' });
    expect(Number(/in-pack: (\d+)/.exec(counted)?.[1])).toBeLessThan(200);
  });
});

describe('a host', () => {
  it('that cannot leave files out is fetched from all the same, whole', async () => {
    await publishLists(padding(50), { settings: [] });
    await using running = await startTrivyDbRole(folders, env());
    const record = await running.build();
    expect(record).toMatchObject({ outcome: 'succeeded', error: null });
    const log = await running.logOf(record.id);
    expect(log).toContain('Fetching vuln-list, 1 of 2.');
    expect(log).toContain('vuln-list comes whole from its server');
    expect(log).not.toContain('remote:');
    await publishLists(padding(50), { settings: [], cves: 3 });
    await expectBuilds(running, 7);
  });

  it('that leaves files out, and then does not give them by name, is fetched from all the same', async () => {
    // Only the oldest protocol of git lets a host refuse a name.
    const old = join(store, 'gitconfig');
    await writeFile(old, '[protocol]\n\tversion = 0\n');
    vi.stubEnv('GIT_CONFIG_GLOBAL', old);
    try {
      await publishLists(padding(50), { settings: ['uploadpack.allowFilter=true'] });
      await using running = await startTrivyDbRole(folders, env());
      await expectBuilds(running, 3);
      await publishLists(padding(50), { cves: 3, settings: ['uploadpack.allowFilter=true'] });
      await expectBuilds(running, 7);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});
