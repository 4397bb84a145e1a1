/** The adapters on a real PocketBase: the contracts of their ports, and what only the real one does. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../sidecar/clock.ts';
import { createBuildStore } from '../../sidecar/pocketbase/build-store.ts';
import { createCheckQueue } from '../../sidecar/pocketbase/check-queue.ts';
import { HealthMonitor } from '../../sidecar/pocketbase/health.ts';
import { Session } from '../../sidecar/pocketbase/session.ts';
import { createVoids } from '../../sidecar/pocketbase/voids.ts';
import { fakeEngine } from '../../sidecar/scan/fakes.ts';
import type { Check } from '../../sidecar/scan/model.ts';
import { buildStoreContract } from '../contract/build-store.ts';
import { checkQueueContract } from '../contract/check-queue.ts';
import { voidsContract } from '../contract/voids.ts';
import { type Build, checkOf, upload } from '../harness/builds.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const never = new AbortController().signal;
let pb: RunningPocketBase;

beforeAll(async () => {
  pb = await startPocketBase();
});
afterAll(() => pb.stop());
beforeEach(async () => {
  await pb.sql('DELETE FROM app_builds');
  await pb.sql('DELETE FROM av_build_checks');
});

const newSession = () => new Session({ url: pb.url, ...superuser });
const newQueue = (session = newSession()) =>
  createCheckQueue({ session, worker: 'contract', leaseSeconds: 60, maxRetries: 3, signatures: () => null });

async function claimOne(): Promise<Check> {
  const { checks } = await newQueue().claim({ max: 1, alone: true }, never);
  return checks[0]!;
}

describe('the check queue of PocketBase', () => {
  checkQueueContract(() => ({
    queue: newQueue(),
    async add(count) {
      const ids: string[] = [];
      for (let at = 0; at < count; at++) ids.push((await checkOf(pb, await upload(pb, { 'a.txt': 'abc' }))).id);
      return ids;
    },
    async steal(check) {
      await pb.sql(`UPDATE av_build_checks SET lease_token = 'stolen' WHERE id = '${check.id}'`);
    },
    async isSettled(id) {
      const { status } = await pb.client.collection('av_build_checks').getOne(id);
      return ['clean', 'infected', 'error'].includes(status);
    },
  }));

  it('stores what was judged', async () => {
    const build = await upload(pb, { 'a.txt': 'abc' });
    const check = await claimOne();
    const file = {
      name: check.files[0]!.name,
      size: 3,
      sha256: 'ab'.repeat(32),
      answer: { kind: 'infected', signature: 'Test.Signature-1' },
      ms: 2,
      engine: fakeEngine,
    } as const;
    const outcome = { kind: 'verdict', verdict: { kind: 'infected', files: [file], engine: fakeEngine } } as const;
    await newQueue().settle([{ check, outcome, log: 'a story' }], never);
    expect(await checkOf(pb, build)).toMatchObject({
      status: 'infected',
      open: false,
      virus_name: 'Test.Signature-1',
      engine: fakeEngine,
      log: expect.stringContaining('a story'),
    });
  });

  it('stores who judged a file where that is not the engine of the verdict', async () => {
    const build = await upload(pb, { 'a.txt': 'abc', 'b.txt': 'abc' });
    const check = await claimOne();
    const other = { ...fakeEngine, name: 'clamd:3311', canaryAt: '2026-01-02T00:00:30.000Z' };
    const files = check.files.map(({ name }, at) => {
      return { name, size: 3, sha256: 'ab'.repeat(32), answer: { kind: 'clean' }, ms: 2, engine: [fakeEngine, other][at]! } as const;
    });
    const outcome = { kind: 'verdict', verdict: { kind: 'clean', files, engine: fakeEngine } } as const;
    await newQueue().settle([{ check, outcome, log: '' }], never);
    const stored = await checkOf(pb, build);
    expect(stored.engine).toEqual(fakeEngine);
    expect((stored.files as { engine?: object }[]).map(({ engine }) => engine)).toEqual([undefined, other]);
  });

  it('says with each claim how new the signatures are that it would be judged with', async () => {
    const bodies: unknown[] = [];
    const session = {
      async send({ body }: { body?: object }) {
        bodies.push(body);
        return { checks: [], drain: false };
      },
    };
    for (const signatures of [27_000, null])
      await createCheckQueue({ session, worker: 'w', leaseSeconds: 60, maxRetries: 3, signatures: () => signatures }).claim(
        { max: 1, alone: false },
        never,
      );
    expect(bodies).toEqual([
      { worker: 'w', max: 1, leaseSeconds: 60, maxRetries: 3, alone: false, signatures: 27_000 },
      { worker: 'w', max: 1, leaseSeconds: 60, maxRetries: 3, alone: false },
    ]);
  });

  it('names what PocketBase refuses as invalid', async () => {
    await upload(pb, { 'a.txt': 'abc', 'b.txt': 'abc' });
    const engine = { ...fakeEngine, signaturesAt: null };
    const check = await claimOne();
    const file = { name: check.files[0]!.name, size: 3, sha256: 'ab'.repeat(32), answer: { kind: 'clean' }, ms: 2, engine } as const;
    const outcome = { kind: 'verdict', verdict: { kind: 'clean', files: [file], engine } } as const;
    const { lost, refused } = await newQueue().settle([{ check, outcome, log: '' }], never);
    expect(lost.size).toBe(0);
    expect(refused.get(check.id)).toMatch(/\w+/);
  });
});

describe('the voids of PocketBase', () => {
  voidsContract(() => ({
    voids: createVoids(newSession()),
    async judged(name, canaryAt, kind) {
      const build = await upload(pb, { 'a.txt': 'abc' });
      const check = await claimOne();
      const engine = { ...fakeEngine, name, canaryAt };
      const answer = kind === 'clean' ? ({ kind } as const) : ({ kind, signature: 'Test.Signature' } as const);
      const files = check.files.map((file) => ({ name: file.name, size: 3, sha256: 'ab'.repeat(32), answer, ms: 1, engine }));
      const outcome = { kind: 'verdict', verdict: { kind, files, engine } } as const;
      expect((await newQueue().settle([{ check, outcome, log: '' }], never)).lost.size).toBe(0);
      return build.id;
    },
    async stands(id) {
      const check = await pb.client.collection('av_build_checks').getFirstListItem(`build = "${id}"`);
      return check.status !== 'pending' && (check.rescan_at === '' || new Date(check.rescan_at) > new Date());
    },
  }));
});

describe('the build store of PocketBase', () => {
  let names = 0;
  const folder = (build: Build) => join(pb.dir, 'pb_data/storage', build.collectionId, build.id);
  const builds = new Map<string, Build>();
  buildStoreContract(() => ({
    store: createBuildStore({ url: pb.url, tokens: newSession() }),
    async claimed(contents) {
      const build = await upload(pb, Object.fromEntries(contents.map((bytes) => [`file-${names++}.bin`, bytes])));
      const check = await claimOne();
      builds.set(check.id, build);
      return { ...check, files: build.files.map((name) => ({ name, size: 0 })) };
    },
    async lose(check, file) {
      await rm(join(folder(builds.get(check.id)!), file.name));
    },
  }));

  it('joins many ranges', async () => {
    const content = new Uint8Array(1_000_003).map((_, at) => at & 255);
    await upload(pb, { 'big.bin': content });
    const check = await claimOne();
    using store = createBuildStore({ url: pb.url, tokens: newSession(), limits: { rangeBytes: 100_000 } });
    const stream = await store.open(check, check.files[0]!, never);
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream.bytes) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(content)).toBe(true);
  });

  it('goes on where the connection broke, and reads every byte once', async () => {
    const content = new Uint8Array(3_000_000).map((_, at) => (at * 13) & 255);
    await upload(pb, { 'big.bin': content });
    const check = await claimOne();
    await using cutter = await startCutter(new URL(pb.url), [700_000, 50_000, 1_000_000]);
    using store = createBuildStore({ url: cutter.url, tokens: newSession() });
    const stream = await store.open(check, check.files[0]!, never);
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream.bytes) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(content)).toBe(true);
    expect(stream.digest().sha256).toBe(createHash('sha256').update(content).digest('hex'));
    expect(cutter.connections()).toBe(4);
  });

  it('goes on after PocketBase was killed and started again', async () => {
    const content = new Uint8Array(8_000_000).map((_, at) => (at * 13) & 255);
    await upload(pb, { 'big.bin': content });
    const check = await claimOne();
    using store = createBuildStore({ url: pb.url, tokens: newSession(), limits: { rangeBytes: 1_000_000 } });
    const stream = await store.open(check, check.files[0]!, never);
    let length = 0;
    let restarted: Promise<void> | null = null;
    for await (const chunk of stream.bytes) {
      length += chunk.length;
      if (length < 2_000_000 || restarted !== null) continue;
      await pb.kill();
      restarted = pb.restart();
    }
    await restarted;
    expect(length).toBe(content.length);
    expect(stream.digest().sha256).toBe(createHash('sha256').update(content).digest('hex'));
  });

  it('opens files with hostile names', async () => {
    await upload(pb, { 'a\'"; <script>\n%2e%2e#?.txt': 'abc', 'übergröße 漢字.txt': 'abc' });
    const check = await claimOne();
    using store = createBuildStore({ url: pb.url, tokens: newSession() });
    for (const file of check.files) expect((await store.open(check, file, never)).size).toBe(3);
  });

  it('says that the lease is lost when somebody else has it', async () => {
    await upload(pb, { 'a.txt': 'abc' });
    const check = await claimOne();
    await pb.sql(`UPDATE av_build_checks SET lease_token = 'stolen' WHERE id = '${check.id}'`);
    using store = createBuildStore({ url: pb.url, tokens: newSession() });
    await expect(store.open(check, check.files[0]!, never)).rejects.toMatchObject({ code: 'lease-lost' });
  });
});

describe('the health of the hooks', () => {
  it('is asked with the rights of the session, and understood', async () => {
    const health = new HealthMonitor({ session: newSession(), clock: systemClock });
    expect(health.why).toBe('the hooks have not been asked yet');
    await upload(pb, { 'a.txt': 'abc' });
    await health.ask(never);
    expect(health.why).toBeNull();
    expect(health.last).toMatchObject({ gate: 'enforce', counts: { pending: 1, clean: 0 } });
  });

  it('is a sentence when they are not there', async () => {
    await using bare = await startPocketBase({ withoutOurHooks: true });
    const health = new HealthMonitor({ session: new Session({ url: bare.url, ...superuser }), clock: systemClock });
    await health.ask(never);
    expect(health.why).toMatch(/^the hooks are not loaded in PocketBase/);
    expect(health.last).toBeNull();
  });
});

describe('the login', () => {
  it('is renewed after every token was made invalid, for calls and for files', async () => {
    await upload(pb, { 'a.txt': 'abc' });
    const session = newSession();
    using store = createBuildStore({ url: pb.url, tokens: session });
    const queue = newQueue(session);
    const { checks } = await queue.claim({ max: 1, alone: true }, never);
    const before = await session.token(never);
    const rename = () => pb.sql(`UPDATE _superusers SET tokenKey = '${'k'.repeat(30)}${Math.random().toString(36).slice(2, 12)}'`);
    await rename();
    await pb.client.collection('_superusers').authWithPassword(superuser.email, superuser.password);
    expect((await store.open(checks[0]!, checks[0]!.files[0]!, never)).size).toBe(3);
    const between = await session.token(never);
    expect(between).not.toBe(before);
    await rename();
    await pb.client.collection('_superusers').authWithPassword(superuser.email, superuser.password);
    expect((await queue.renew([checks[0]!.lease], never)).lost.size).toBe(0);
    expect(session.why).toBeNull();
  });

  it('says that the password is wrong', async () => {
    const session = new Session({ url: pb.url, email: superuser.email, password: 'wrong' });
    await expect(newQueue(session).claim({ max: 1, alone: true }, never)).rejects.toMatchObject({ code: 'store-unavailable' });
    expect(session.why).toMatch(/refused the e-mail or the password/);
  });

  it('says that multi-factor login is on', async () => {
    const superusers = await pb.client.collections.getOne('_superusers');
    await pb.client.collections.update('_superusers', {
      otp: { ...superusers.otp, enabled: true },
      mfa: { ...superusers.mfa, enabled: true },
    });
    const session = newSession();
    await expect(session.token(never)).rejects.toMatchObject({ message: expect.stringMatching(/multi-factor/) });
    await pb.client.collections.update('_superusers', {
      mfa: { ...superusers.mfa, enabled: false },
      otp: { ...superusers.otp, enabled: false },
    });
    expect(await newSession().token(never)).not.toBe('');
  });

  it('says that superusers are not allowed from here', async () => {
    await pb.client.settings.update({ superuserIPs: ['10.11.12.13', '127.0.0.1'] });
    await pb.sql(`UPDATE _params SET value = REPLACE(value, '127.0.0.1', '127.9.9.9')`);
    await pb.kill();
    await pb.restart();
    const session = newSession();
    await expect(session.token(never)).rejects.toMatchObject({ message: expect.stringMatching(/superuser IPs/) });
  });
});

/** Passes connections on, and breaks the first ones off once so many bytes have come back. */
async function startCutter(target: URL, cuts: readonly number[]): Promise<{ url: string; connections(): number } & AsyncDisposable> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const cut = cuts[connections++] ?? Number.POSITIVE_INFINITY;
    let passed = 0;
    const upstream = createConnection({ host: target.hostname, port: Number(target.port) });
    for (const socket of [client, upstream]) sockets.add(socket.on('error', () => {}));
    client.pipe(upstream).on('close', () => client.destroy());
    upstream.on('data', (chunk: Buffer) => {
      client.write(chunk.subarray(0, cut - passed));
      passed += chunk.length;
      if (passed < cut) return;
      upstream.destroy();
      client.destroySoon();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}
