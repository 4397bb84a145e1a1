/** The compiled sidecar as a process, between a real PocketBase and a real clamd. */
import { spawnSync } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkOf, download, upload } from '../harness/builds.ts';
import { type RunningClamd, startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { eventually } from '../harness/eventually.ts';
import { freePort, type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';
import { notifySecret, type RunningSidecar, startSidecar } from '../harness/sidecar.ts';

const port = await freePort();
let clamd: RunningClamd;
let pb: RunningPocketBase;

beforeAll(async () => {
  [clamd, pb] = await Promise.all([
    startClamd(),
    startPocketBase({ env: { AV_SIDECAR_URL: `http://127.0.0.1:${port}`, AV_NOTIFY_SECRET: notifySecret } }),
  ]);
});
afterAll(async () => {
  await pb.stop();
  await clamd[Symbol.asyncDispose]();
});

type Change = { port?: number; until?: 'ready' | 'listening' };
const start = (env: Record<string, string> = {}, change: Change = {}) => startSidecar({ pocketbase: pb, clamd, env, ...change });
/** Begins like text: random first bytes are now and then those of a format that no engine unpacks. */
const random = (size: number) => new Uint8Array(size).map((_, at) => (at < 16 ? 65 : Math.random() * 256));
const history = async (build: { id: string }) => {
  const rows = await pb.client.collection('av_scan_history').getFullList();
  return rows.filter((row) => JSON.stringify(row.entry).includes(build.id));
};
const judged = (build: { id: string }, status: string) =>
  eventually(`the build is ${status}`, async () => {
    const check = await checkOf(pb, build);
    return check.status === status ? check : null;
  }) as ReturnType<typeof checkOf>;

describe('from upload to verdict', () => {
  // So long a poll that only the notification can be in time.
  let sidecar: RunningSidecar;
  beforeAll(async () => {
    sidecar = await start({ POLL_SECONDS: '300' }, { port });
  });
  afterAll(() => sidecar[Symbol.asyncDispose]());

  it('opens the gate of a clean build, told by a notification', async () => {
    const content = random(200_000);
    const build = await upload(pb, { 'a.bin': content, 'empty.txt': '' });
    const check = await judged(build, 'clean');
    expect(check).toMatchObject({ open: true, engine: { version: expect.stringMatching(/^\d/), signatures: 'test' }, lease_until: '' });
    const files = check.files as { name: string; sha256: string; size: number }[];
    expect(files.map(({ name, size }) => [name, size])).toEqual([
      [build.files[0], 200_000],
      [build.files[1], 0],
    ]);
    expect(files[0]!.sha256).toBe(createHash('sha256').update(content).digest('hex'));
    expect(check.log).toContain('verdict: clean');
    expect((await download(pb, build)).status).toBe(200);
  });

  it('keeps an infected build behind the gate, with all its findings', async () => {
    const build = await upload(pb, { 'good.txt': 'good', 'bad.txt': new Uint8Array(eicar()), 'worse.txt': new Uint8Array(eicar()) });
    const check = await judged(build, 'infected');
    const files = check.files as { verdict: string }[];
    expect(files.map((file) => file.verdict)).toEqual(['clean', 'infected', 'infected']);
    expect(check).toMatchObject({ open: false, virus_name: expect.stringMatching(/eicar/i) });
    expect((await download(pb, build)).status).toBe(403);
  });

  it('ends a build whose file the storage has lost as an error, after the retries', async () => {
    await sidecar.kill('SIGTERM');
    const build = await upload(pb, { 'a.txt': 'soon gone', 'b.txt': 'still here' });
    await rm(join(pb.dir, 'pb_data/storage', build.collectionId, build.id, build.files[0]!));
    await using strict = await start({ MAX_RETRIES: '1', POLL_SECONDS: '1' });
    expect(await judged(build, 'error')).toMatchObject({ open: false, reason: 'download:missing' });
    const told = await eventually('the sidecar logged it', () => strict.events('given-back')[0]);
    expect(told).toMatchObject({ build: build.id, outcome: 'download:missing' });
    await sidecar.restart();
  });

  it('accepts nothing unsigned, and says what it is worth', async () => {
    const body = '{"checks":[]}';
    const timestamp = `${Math.floor(Date.now() / 1000)}`;
    const post = (signature: string) =>
      fetch(`${sidecar.url}/notify`, { method: 'POST', body, headers: { 'X-AV-Timestamp': timestamp, 'X-AV-Signature': signature } });
    expect((await post(createHmac('sha256', notifySecret).update(`${timestamp}.${body}`).digest('hex'))).status).toBe(202);
    expect((await post('0'.repeat(64))).status).toBe(401);
    const ready = await (await fetch(`${sidecar.url}/readyz`)).json();
    expect(ready).toMatchObject({ ready: true, testSignatures: true, gate: 'enforce' });
    const metrics = await (await fetch(`${sidecar.url}/metrics`)).text();
    expect(metrics).toMatch(/pocketwarden_notifications_total\{result="refused"\} [1-9]/);
    expect(metrics).toMatch(/pocketwarden_engine_up\{engine="[^"]+"\} 1/);
  });
});

describe('two sidecars on one queue', () => {
  it('do nothing twice', async () => {
    await using one = await start({ POLL_SECONDS: '1' });
    await using other = await start({ POLL_SECONDS: '1' });
    const builds = await Promise.all(Array.from({ length: 80 }, () => upload(pb, { 'a.bin': random(5000) })));
    for (const build of builds) await judged(build, 'clean');
    const judgments = () => [...one.events('judged'), ...other.events('judged')];
    await eventually('both have logged all', () => judgments().length >= builds.length);
    const lines = judgments();
    expect(lines.map((line) => line.build).toSorted()).toEqual(builds.map((build) => build.id).toSorted());
    expect(await history(builds[0]!)).toHaveLength(1);
  });
});

describe('stopping', () => {
  it('finishes or gives back everything, uncounted, and ends with 0', async () => {
    const sidecar = await start({ SCAN_CONCURRENCY: '1', POLL_SECONDS: '1' });
    const builds = await Promise.all(Array.from({ length: 30 }, () => upload(pb, { 'a.bin': random(300_000) })));
    await eventually(
      'some are claimed',
      async () => (await checkOf(pb, builds.at(-1)!)).status !== 'pending' || sidecar.events('judged').length > 0,
    );
    expect(await sidecar.kill('SIGTERM')).toBe(0);
    for (const build of builds) {
      const check = await checkOf(pb, build);
      expect(['pending', 'clean']).toContain(check.status);
      expect(check).toMatchObject({ lease_until: '', attempts: 0, suspect: false });
    }
    expect(sidecar.events('stopped')).toHaveLength(1);
    await sidecar.restart();
    for (const build of builds) await judged(build, 'clean');
    await sidecar[Symbol.asyncDispose]();
  });

  it('ends at once on the second signal, and the check is scanned later', async () => {
    const sidecar = await start({ POLL_SECONDS: '1' });
    process.kill(clamd.pid, 'SIGSTOP');
    try {
      const build = await upload(pb, { 'a.bin': random(300_000) });
      await eventually('it is being scanned', async () => (await checkOf(pb, build)).status === 'scanning');
      process.kill(sidecar.pid, 'SIGTERM');
      await eventually('it is stopping', () => sidecar.events('stopping').length === 1);
      expect((await checkOf(pb, build)).status).toBe('scanning');
      expect(await sidecar.kill('SIGTERM')).toBe(0);
      expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', attempts: 0, suspect: false, lease_until: '' });
      process.kill(clamd.pid, 'SIGCONT');
      await sidecar.restart();
      await judged(build, 'clean');
    } finally {
      process.kill(clamd.pid, 'SIGCONT');
      await sidecar[Symbol.asyncDispose]();
    }
  });
});

describe('a wrong environment', () => {
  const readyz = async (sidecar: RunningSidecar) =>
    (await fetch(`${sidecar.url}/readyz`)).json() as Promise<{ ready: boolean; parts: Record<string, { why: string }> }>;

  const main = fileURLToPath(new URL('../../build/sidecar/main.js', import.meta.url));
  const run = (args: string[], env: Record<string, string>) =>
    spawnSync(process.execPath, [main, ...args], { env: { PATH: process.env.PATH, ...env }, encoding: 'utf8' });
  const complete = () => ({
    POCKETBASE_URL: pb.url,
    POCKETBASE_SUPERUSER_EMAIL: 'a@example.com',
    POCKETBASE_SUPERUSER_PASSWORD: 'hidden password',
  });

  it('is told as a whole, with exit code 78', () => {
    const bad = run([], { PORT: 'x', ROLES: 'fleet' });
    expect(bad.status).toBe(78);
    for (const name of ['POCKETBASE_URL', 'POCKETBASE_SUPERUSER_EMAIL', 'POCKETBASE_SUPERUSER_PASSWORD', 'PORT', 'ROLES'])
      expect(bad.stderr).toContain(`- ${name} `);
    expect(bad.stderr).not.toContain('    at ');
    const checked = run(['--check-config'], complete());
    expect(checked.status).toBe(0);
    expect(checked.stdout).not.toContain('hidden password');
    expect(JSON.parse(checked.stdout)).toMatchObject({ pocketbase: { url: pb.url } });
    expect(run(['--help'], {})).toMatchObject({ status: 0, stdout: expect.stringContaining('AV_NOTIFY_SECRET') });
    expect(run(['--version'], {}).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(run(['--nonsense'], {}).status).toBe(64);
  });

  it('says that its port is taken', async () => {
    await using sidecar = await start();
    const second = run([], { ...complete(), PORT: String(sidecar.port) });
    expect(second.status).toBe(1);
    expect(second.stderr).toMatch(/port \d+ on 127\.0\.0\.1 is taken/);
  });

  it('says that the password is wrong, and goes on trying', async () => {
    await using sidecar = await start({ POCKETBASE_SUPERUSER_PASSWORD: 'wrong' }, { until: 'listening' });
    await eventually('it says so', async () => /refused the e-mail or the password/.test((await readyz(sidecar)).parts.pocketbase!.why));
    await pb.client
      .collection('_superusers')
      .create({ email: 'second@example.com', password: 'another password', passwordConfirm: 'another password' });
    await using allowed = await start({
      POCKETBASE_SUPERUSER_EMAIL: 'second@example.com',
      POCKETBASE_SUPERUSER_PASSWORD: 'another password',
    });
    expect((await readyz(allowed)).ready).toBe(true);
  });

  it('says that the hooks are missing', async () => {
    await using bare = await startPocketBase({ withoutOurHooks: true });
    await using sidecar = await startSidecar({ pocketbase: bare, clamd, until: 'listening' });
    await eventually('it says so', async () =>
      (await readyz(sidecar)).parts.hooks!.why.startsWith('the hooks are not loaded in PocketBase'),
    );
    expect((await readyz(sidecar)).ready).toBe(false);
  });

  it('says that the engine is away, claims nothing meanwhile, and begins when it is back', async () => {
    await using own = await startClamd();
    await using sidecar = await startSidecar({ pocketbase: pb, clamd: own, env: { POLL_SECONDS: '1' } });
    await own.kill();
    await eventually('it says so', async () => (await readyz(sidecar)).parts.engines!.why !== null, 20_000);
    const build = await upload(pb, { 'a.txt': 'waits' });
    expect((await checkOf(pb, build)).status).toBe('pending');
    await own.restart();
    expect(await judged(build, 'clean')).toMatchObject({ attempts: 0 });
  });
});
