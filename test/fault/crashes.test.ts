/** Each process killed in the middle of its work: the gate never opened, each check ended in one state, a following clean build passes. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Build, checkOf, download, upload } from '../harness/builds.ts';
import { eicar } from '../harness/eicar.ts';
import { eventually } from '../harness/eventually.ts';
import { type Stack, startStack } from '../harness/stack.ts';

const MIB = 1024 * 1024;
/** Random enough that clamd takes its time, the same for every test. */
const slow = new Uint8Array(Uint32Array.from({ length: 16 * MIB }, (_, i) => Math.imul(i ^ (i >>> 7), 2654435761)).buffer);

describe('a crash', () => {
  let stack: Stack;
  let watching: AbortController;
  let leaked: string[];
  beforeEach(async () => {
    stack = await startStack({ sidecar: { LEASE_SECONDS: '5', POLL_SECONDS: '1' } });
    watching = new AbortController();
    leaked = [];
  });
  afterEach(async () => {
    watching.abort();
    await stack?.[Symbol.asyncDispose]();
  });

  /** Rattles at the gate until the test ends; whatever is served while the check is not open is a leak. */
  const watch = async (builds: readonly Build[]) => {
    while (!watching.signal.aborted) {
      for (const build of builds) {
        const answer = await download(stack.pb, build, { headers: { Range: 'bytes=0-0' } }).catch(() => null);
        if (answer?.status !== 200 && answer?.status !== 206) continue;
        const check = await checkOf(stack.pb, build).catch(() => null);
        if (check !== null && !(check.status === 'clean' && check.open)) leaked.push(`${build.id} while ${check.status}`);
      }
    }
  };
  const uploads = async () => ({
    big: await upload(stack.pb, { 'big.bin': slow }),
    bad: await upload(stack.pb, { 'filler.bin': slow.subarray(0, 8 * MIB), 'bad.com': new Uint8Array(eicar()) }),
    small: await upload(stack.pb, { 'small.txt': 'small' }),
  });
  const scanning = (build: Build) =>
    eventually('the big build is being scanned', async () => (await checkOf(stack.pb, build)).status === 'scanning', 20_000);
  /** The three things every fault test asks for. */
  const expectAllWell = async ({ big, bad, small }: { big: Build; bad: Build; small: Build }) => {
    const ends = { [big.id]: 'clean', [bad.id]: 'infected', [small.id]: 'clean' };
    for (const [id, status] of Object.entries(ends)) {
      await eventually(`${id} is ${status}`, async () => (await checkOf(stack.pb, { id })).status === status, 50_000);
    }
    const following = await upload(stack.pb, { 'after.txt': 'after' });
    await eventually('a following clean build passes', async () => (await download(stack.pb, following)).status === 200, 20_000);
    watching.abort();
    expect(leaked).toEqual([]);
    expect((await download(stack.pb, bad)).status).toBe(403);
    const entries = (await stack.pb.client.collection('av_scan_history').getFullList()).map((row) => JSON.parse(row['entry']));
    for (const id of Object.keys(ends)) expect(entries.filter((entry) => entry.build === id && entry.event === 'settled')).toHaveLength(1);
    const held = await stack.pb.client.collection('av_build_checks').getFullList({ filter: "lease_until != ''" });
    expect(held).toEqual([]);
  };

  it('of clamd while it scans', async () => {
    const builds = await uploads();
    void watch(Object.values(builds));
    await scanning(builds.big);
    await stack.clamd.kill('SIGKILL');
    await stack.clamd.restart();
    await expectAllWell(builds);
  });

  it('of the sidecar while it scans', async () => {
    const builds = await uploads();
    void watch(Object.values(builds));
    await scanning(builds.big);
    await stack.sidecar.kill('SIGKILL');
    await stack.sidecar.restart();
    await expectAllWell(builds);
  });

  it('of PocketBase while files are downloaded and verdicts come', async () => {
    const builds = await uploads();
    void watch(Object.values(builds));
    await scanning(builds.big);
    await stack.pb.kill('SIGKILL');
    await stack.pb.restart();
    await expectAllWell(builds);
  });

  it('of all three', async () => {
    const builds = await uploads();
    void watch(Object.values(builds));
    await scanning(builds.big);
    await Promise.all([stack.pb.kill('SIGKILL'), stack.clamd.kill('SIGKILL'), stack.sidecar.kill('SIGKILL')]);
    await stack.pb.restart();
    await stack.clamd.restart();
    await stack.sidecar.restart();
    await expectAllWell(builds);
  });

  it('of nobody, but a stop that is asked for politely gives back what it cannot finish, uncounted', async () => {
    const builds = await uploads();
    void watch(Object.values(builds));
    await scanning(builds.big);
    await stack.sidecar.kill('SIGTERM');
    for (const build of Object.values(builds))
      expect(await checkOf(stack.pb, build)).toMatchObject({ attempts: 0, suspect: false, lease_until: '' });
    await stack.sidecar.restart();
    await expectAllWell(builds);
  });
});
