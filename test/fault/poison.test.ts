/** A file that takes down whoever looks at it is found, tried alone, and parked with its reason; the others get their verdicts meanwhile. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Build, checkOf, download, upload } from '../harness/builds.ts';
import { startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { eventually } from '../harness/eventually.ts';
import { startHttpProxy } from '../harness/http-proxy.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';
import { startSidecar } from '../harness/sidecar.ts';
import { startTcpProxy } from '../harness/tcp-proxy.ts';

const MIB = 1024 * 1024;
const KILLS = 'kills the engine that has read it';
const HANGS = 'hangs the engine that has read it';

let pb: RunningPocketBase;
beforeAll(async () => {
  pb = await startPocketBase();
});
afterAll(() => pb?.stop());

/** Begins like text: random first bytes are now and then those of a format that no engine unpacks. */
const bytes = (size: number) => new Uint8Array(randomBytes(size)).fill(65, 0, 16);
/** What it does, it does at its last byte: clamd looks at nothing before it has everything. */
const poison = (does: string) => new Uint8Array(Buffer.concat([bytes(MIB), Buffer.from(does)]));
const ends = (build: Build, status: string, ms: number) =>
  eventually(`${build.files[0]} is ${status}`, async () => (await checkOf(pb, build)).status === status, ms);
const neighbours = () =>
  Promise.all(Array.from({ length: 6 }, (_, at) => upload(pb, { [`n${at}.bin`]: bytes(6 * MIB), 'b.bin': bytes(1000) })));
const entriesOf = async (build: Build) => {
  const rows = await pb.client.collection('av_scan_history').getFullList();
  return rows.map((row) => JSON.parse(row['entry'])).filter((entry) => entry.build === build.id);
};

/** Uploads one build after the other until told to stop; answers them. */
async function uploadSteadily(signal: AbortSignal): Promise<Build[]> {
  const builds: Build[] = [];
  while (!signal.aborted) {
    builds.push(await upload(pb, { 'steady.bin': bytes(20_000) }));
    await sleep(150);
  }
  return builds;
}

async function expectParked(build: Build, reason: string): Promise<void> {
  expect(await checkOf(pb, build)).toMatchObject({ status: 'error', reason, open: false, suspect: false, lease_until: '' });
  expect((await download(pb, build)).status).toBe(403);
  expect(await entriesOf(build)).toMatchObject([{ event: 'failed', reason }]);
}

describe('a file that', () => {
  it('kills or hangs the engine is parked after its retries, under steady uploads, and costs its neighbours nothing', async () => {
    await using clamd = await startClamd();
    await using proxy = await startTcpProxy(clamd.address);
    const seen: string[] = [];
    let restarting = Promise.resolve();
    const strike = (what: string) => {
      seen.push(what);
      if (what === HANGS) return 'hang';
      restarting = restarting.then(async () => {
        await clamd.kill('SIGKILL');
        await sleep(200);
        await clamd.restart();
      });
      return 'pass';
    };
    await proxy.behave({ kind: 'watch', for: `${KILLS}|${HANGS}`, seen: strike });
    const env = { POLL_SECONDS: '1', SCAN_TIMEOUT_SECONDS: '1', MAX_RETRIES: '2' };
    await using sidecar = await startSidecar({ pocketbase: pb, clamd: proxy, env });
    const stop = new AbortController();
    const steady = uploadSteadily(stop.signal);
    const [killer, hanger, ...others] = await Promise.all([
      upload(pb, { 'killer.bin': poison(KILLS) }),
      upload(pb, { 'hanger.bin': poison(HANGS) }),
      upload(pb, { 'bad.com': new Uint8Array(eicar()) }),
    ]).then(async (first) => [...first, ...(await neighbours())] as const);
    await ends(killer, 'error', 60_000);
    await ends(hanger, 'error', 60_000);
    stop.abort();
    for (const build of await steady) await ends(build, 'clean', 20_000);
    const [bad, ...good] = others;
    await ends(bad, 'infected', 20_000);
    for (const build of good) await ends(build, 'clean', 20_000);
    await restarting;
    for (const build of [killer, hanger]) await expectParked(build, 'engine-reply');
    // Once among others, then alone as often as counts.
    for (const what of [KILLS, HANGS]) expect(seen.filter((each) => each === what).length).toBeLessThanOrEqual(1 + 2);
    // Beside each of the two at most once; afterwards they are looked at alone.
    for (const build of good) expect((await checkOf(pb, build)).log).not.toMatch(/[1-9] failures so far/);
    expect(sidecar.events('started')).toHaveLength(1);
  }, 150_000);

  it('kills the sidecar is parked as well', async () => {
    await using clamd = await startClamd();
    let kills = 0;
    let strike = () => {};
    await using proxy = await startHttpProxy(pb.url, ({ url = '' }) => {
      if (url.includes('/files/deadly')) strike();
      return null;
    });
    const env = { POLL_SECONDS: '1', LEASE_SECONDS: '5', MAX_RETRIES: '2' };
    await using sidecar = await startSidecar({ pocketbase: proxy, clamd, env });
    let restarting = Promise.resolve();
    strike = () => {
      kills++;
      const dying = sidecar.kill('SIGKILL');
      restarting = restarting.then(async () => {
        await dying;
        await sidecar.restart();
      });
    };
    const deadly = await upload(pb, { 'deadly.bin': bytes(1000) });
    const others = await neighbours();
    await ends(deadly, 'error', 60_000);
    for (const build of others) await ends(build, 'clean', 30_000);
    await restarting;
    await expectParked(deadly, 'lease-expired');
    expect(kills).toBe(2);
    const following = await upload(pb, { 'after.bin': bytes(1000) });
    await ends(following, 'clean', 20_000);
  }, 120_000);
});
