/** The adapters on a real PocketBase: the contracts of their ports, and what only the real one does. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createBuildStore } from '../../sidecar/pocketbase/build-store.ts';
import { createCheckQueue } from '../../sidecar/pocketbase/check-queue.ts';
import { HealthMonitor } from '../../sidecar/pocketbase/health.ts';
import { Session } from '../../sidecar/pocketbase/session.ts';
import { systemClock } from '../../sidecar/clock.ts';
import type { Check } from '../../sidecar/scan/model.ts';
import { buildStoreContract } from '../contract/build-store.ts';
import { checkQueueContract } from '../contract/check-queue.ts';
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
const newQueue = (session = newSession()) => createCheckQueue({ session, worker: 'contract', leaseSeconds: 60, maxRetries: 3 });

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
    const file = { name: check.files[0]!.name, size: 3, sha256: 'ab'.repeat(32), answer: { kind: 'infected', signature: 'Test.Signature-1' }, ms: 2 } as const;
    const engine = { name: 'clamd:3310', version: '1.4.3', signatures: 27_000, signaturesAt: '2026-01-01T00:00:00.000Z' };
    const outcome = { kind: 'verdict', verdict: { kind: 'infected', files: [file], engine } } as const;
    await newQueue().settle([{ check, outcome, log: 'a story' }], never);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'infected', open: false, virus_name: 'Test.Signature-1', engine, log: expect.stringContaining('a story') });
  });

  it('names what PocketBase refuses as invalid', async () => {
    await upload(pb, { 'a.txt': 'abc', 'b.txt': 'abc' });
    const check = await claimOne();
    const file = { name: check.files[0]!.name, size: 3, sha256: 'ab'.repeat(32), answer: { kind: 'clean' }, ms: 2 } as const;
    const engine = { name: 'clamd:3310', version: '1.4.3', signatures: 27_000, signaturesAt: null };
    const outcome = { kind: 'verdict', verdict: { kind: 'clean', files: [file], engine } } as const;
    const { lost, refused } = await newQueue().settle([{ check, outcome, log: '' }], never);
    expect(lost.size).toBe(0);
    expect(refused.get(check.id)).toMatch(/\w+/);
  });
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

  it('opens files with hostile names', async () => {
    await upload(pb, { "a'\"; <script>\n%2e%2e#?.txt": 'abc', 'übergröße 漢字.txt': 'abc' });
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
    await pb.client.collections.update('_superusers', { otp: { ...superusers.otp, enabled: true }, mfa: { ...superusers.mfa, enabled: true } });
    const session = newSession();
    await expect(session.token(never)).rejects.toMatchObject({ message: expect.stringMatching(/multi-factor/) });
    await pb.client.collections.update('_superusers', { mfa: { ...superusers.mfa, enabled: false }, otp: { ...superusers.otp, enabled: false } });
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
