/** `scripts/start.ts` as a stranger runs it: real parts, its own data folder and ports. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Client from 'pocketbase';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isAlive } from '../../scripts/parts/lock.ts';
import { type GroupRecord, readGroup } from '../../scripts/start/group-file.ts';
import { type Build, checkOf, download, upload } from '../harness/builds.ts';
import { eicar } from '../harness/eicar.ts';
import { eventually } from '../harness/eventually.ts';
import { freePort } from '../harness/pocketbase.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const READY_MS = 60_000;

interface Running {
  readonly process: ChildProcess;
  readonly folder: string;
  output(): string;
  group(): GroupRecord;
  ended(): Promise<number | null>;
}

interface Place {
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
}

async function place(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-start-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const [pocketbase, clamd, sidecar] = [await freePort(), await freePort(), await freePort()];
  const ports = { PB_PORT: String(pocketbase), CLAMD_PORT: String(clamd), PORT: String(sidecar) };
  return { folder, env: { ...process.env, ...ports, DATA_DIR: join(folder, 'data'), NO_COLOR: '1', FORCE_COLOR: '' } };
}

function start({ folder, env }: Place, args: readonly string[] = ['scripts/start.ts']): Running {
  const child = spawn(process.execPath, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const exit = once(child, 'exit').then(([code]) => code as number | null);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  // SIGTERM lets it end its parts; they must not outlive a failed test.
  onTestFinished(async () => {
    child.kill('SIGTERM');
    await exit;
  });
  const group = () => {
    const record = readGroup(join(folder, 'data', 'group.json'));
    if (record === null) throw new Error(`no group file:\n${output}`);
    return record;
  };
  return { process: child, folder, output: () => output, group, ended: () => exit };
}

async function untilReady(running: Running): Promise<GroupRecord> {
  await eventually(
    'the summary',
    () => {
      if (running.process.exitCode !== null) throw new Error(`it ended:\n${running.output()}`);
      return running.output().includes('Ctrl-C stops everything.');
    },
    READY_MS,
  );
  return running.group();
}

async function loggedIn(group: GroupRecord): Promise<{ client: Client; url: string }> {
  const client = new Client(group.pocketbaseUrl).autoCancellation(false);
  await client.collection('_superusers').authWithPassword(group.email, await readFile(group.passwordFile, 'utf8'));
  return { client, url: group.pocketbaseUrl };
}

const settled = (pb: { client: Client }, build: Build, status: string) =>
  eventually(`the check is ${status}`, async () => (await checkOf(pb, build)).status === status, 30_000);

const pidsOf = (group: GroupRecord) => Object.values(group.parts).map(({ pid }) => pid);

describe('npm start', () => {
  it('runs the whole product, restarts what dies, and leaves nothing behind', async () => {
    const running = start(await place());
    const group = await untilReady(running);
    for (const words of [group.pocketbaseUrl, group.sidecarUrl, group.email, group.passwordFile, 'TEST SET'])
      expect(running.output()).toContain(words);
    expect(running.output()).not.toContain(await readFile(group.passwordFile, 'utf8'));

    const pb = await loggedIn(group);
    const first = await upload(pb, { 'app.bin': 'harmless' });
    const bad = await upload(pb, { 'eicar.com': new Uint8Array(eicar()) });
    await settled(pb, first, 'clean');
    await settled(pb, bad, 'infected');
    expect((await download(pb, first)).body).toBe('harmless');
    expect((await download(pb, bad)).status).toBe(404);

    const clamd = group.parts.clamd?.pid ?? 0;
    process.kill(clamd, 'SIGKILL');
    await eventually('clamd runs again', () => ![undefined, clamd].includes(running.group().parts.clamd?.pid), 15_000);
    expect(running.output()).toContain('clamd was ended by SIGKILL; starting it again in 0.5 s');
    const second = await upload(pb, { 'app.bin': 'harmless too' });
    await settled(pb, second, 'clean');

    const last = running.group();
    running.process.kill('SIGINT');
    expect(await running.ended()).toBe(0);
    expect(pidsOf(last).filter(isAlive)).toEqual([]);
    expect(await readdir(join(running.folder, 'data', 'clamd', 'tmp'))).toEqual([]);
    expect(readGroup(join(running.folder, 'data', 'group.json'))).toBeNull();
  });

  it('leaves no process when it is killed itself, and starts again on the same data', async () => {
    const there = await place();
    const first = start(there);
    const group = await untilReady(first);
    const pb = await loggedIn(group);
    const build = await upload(pb, { 'app.bin': 'harmless' });
    await settled(pb, build, 'clean');
    first.process.kill('SIGKILL');
    await eventually('no part is left', () => pidsOf(group).every((pid) => !isAlive(pid)), 10_000);
    const again = await untilReady(start(there));
    expect(await readFile(again.passwordFile, 'utf8')).toBe(await readFile(group.passwordFile, 'utf8'));
    expect((await download(await loggedIn(again), build)).body).toBe('harmless');
  });

  it('refuses a second group on the same data, and a superuser whose password is another', async () => {
    const there = await place();
    const first = start(there);
    await untilReady(first);
    const second = start(there);
    expect(await second.ended()).toBe(1);
    expect(second.output()).toContain('already runs on this data folder');
    first.process.kill('SIGTERM');
    expect(await first.ended()).toBe(0);

    const third = start({ ...there, env: { ...there.env, POCKETBASE_SUPERUSER_PASSWORD: 'another password' } });
    expect(await third.ended()).toBe(1);
    expect(third.output()).toContain('PocketBase refuses the password of admin@example.com');
    expect(third.output()).not.toContain('is ready');
  });

  it('says what is in the way before it starts anything', async () => {
    const there = await place();
    const busy = start({ ...there, env: { ...there.env, PORT: there.env.PB_PORT } });
    expect(await busy.ended()).toBe(1);
    expect(busy.output()).toContain('PB_PORT, CLAMD_PORT and PORT must be three different ports.');
    const help = start(there, ['scripts/start.ts', '--help']);
    expect(await help.ended()).toBe(0);
    expect(help.output()).toContain('POCKETBASE_SUPERUSER_PASSWORD');
    expect(await readdir(there.folder)).toEqual([]);
  });

  it('runs the demo, which finds its address and password', async () => {
    const there = await place();
    await untilReady(start(there));
    const demo = start({ ...there, env: { ...there.env, DEMO_SECONDS: '120' } }, ['scripts/demo.ts']);
    expect(await demo.ended(), demo.output()).toBe(0);
    expect(demo.output()).toContain('All went as it must.');
    expect(demo.output()).toMatch(/EICAR in a zip +404 \w+ +→ 404 infected/);
  }, 240_000);
});
