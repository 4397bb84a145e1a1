/** Too much to do, no room, or somebody in between who gets it wrong: it delays checks, and costs none of them a verdict. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { zipOf } from '../../sidecar/clamd/payloads.ts';
import { type Build, checkOf, download, upload } from '../harness/builds.ts';
import { startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { eventually } from '../harness/eventually.ts';
import { type HttpFault, startHttpProxy } from '../harness/http-proxy.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';
import { type RunningSidecar, startSidecar } from '../harness/sidecar.ts';

/** As a backup does: nobody else can write while it lasts. */
const blockingHook = `
routerAdd('POST', '/host/block/{ms}', (e) => {
  $app.runInTransaction(() => sleep(Number(e.request.pathValue('ms'))))
  e.noContent(204)
})
`;
const MIB = 1024 * 1024;
/** Begins like text: random first bytes are now and then those of a format that no engine unpacks. */
const bytes = (size: number) => new Uint8Array(randomBytes(size)).fill(65, 0, 16);
const infected = () => new Uint8Array(eicar());

let pb: RunningPocketBase;
beforeAll(async () => {
  pb = await startPocketBase({ hooks: { 'host.pb.js': blockingHook } });
});
afterAll(() => pb?.stop());

const ends = (build: Build, status: string, ms = 30_000) =>
  eventually(`${build.files[0]} is ${status}`, async () => (await checkOf(pb, build)).status === status, ms);
const expectUntouched = async (build: Build) => {
  expect(await checkOf(pb, build)).toMatchObject({ attempts: 0, suspect: false, open: false });
  expect((await download(pb, build)).status).toBe(403);
};
const settled = async (build: Build) => {
  const rows = await pb.client.collection('av_scan_history').getFullList();
  return rows.map((row) => JSON.parse(row['entry'])).filter((entry) => entry.build === build.id && entry.event === 'settled');
};
const memory = async ({ pid }: RunningSidecar) => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

describe('a clamd', () => {
  it('without room for what it is sent, or unpacks, delays those builds and judges the others', async () => {
    await using clamd = await startClamd({ fullAtBytes: 4 * MIB });
    await using sidecar = await startSidecar({ pocketbase: pb, clamd, env: { POLL_SECONDS: '1' } });
    const big = await upload(pb, { 'big.bin': bytes(40 * MIB) });
    const zip = zipOf({ name: 'zeros', data: Buffer.alloc(6 * MIB, 'A') }, { name: 'bad.com', data: eicar() });
    const unpacked = await upload(pb, { 'unpacked.zip': new Uint8Array(zip) });
    for (const build of [big, unpacked])
      await eventually('it is given back', () => sidecar.events('given-back').some((line) => line['build'] === build.id), 20_000);
    const small = await upload(pb, { 'small.bin': bytes(1000) });
    const bad = await upload(pb, { 'bad.com': infected() });
    await ends(small, 'clean');
    await ends(bad, 'infected');
    await eventually('both were tried again and again', () => sidecar.events('given-back').length >= 6, 30_000);
    for (const { outcome } of sidecar.events('given-back')) expect(['engine-busy', 'engine-unavailable']).toContain(outcome);
    for (const build of [big, unpacked]) await expectUntouched(build);
    await clamd.lift();
    await ends(big, 'clean', 40_000);
    await ends(unpacked, 'infected', 40_000);
  }, 120_000);

  it('whose queue is full, and whom strangers stall, delays all and fails none', async () => {
    await using clamd = await startClamd({ conf: { MaxThreads: '1', MaxQueue: '2', CommandReadTimeout: '3' } });
    await using sidecar = await startSidecar({ pocketbase: pb, clamd, env: { POLL_SECONDS: '1', SCAN_CONCURRENCY: '16' } });
    const strangers = Array.from({ length: 8 }, () => idle(clamd.port));
    const clean = await Promise.all(Array.from({ length: 30 }, (_, at) => upload(pb, { [`q${at}.bin`]: bytes(300_000) })));
    const bad = await upload(pb, { 'bad.com': infected() });
    for (const build of clean) await ends(build, 'clean', 60_000);
    await ends(bad, 'infected');
    for (const stranger of strangers) stranger.destroy();
    for (const build of [...clean, bad]) expect((await checkOf(pb, build)).log).not.toMatch(/engine-reply|ran out after/);
    expect(await memory(sidecar)).toBeLessThan(250);
  }, 120_000);
});

describe('a PocketBase', () => {
  it('that writes nothing for longer than a lease, as in a backup, counts no failure, and its verdicts come afterwards', async () => {
    await using clamd = await startClamd();
    await using sidecar = await startSidecar({ pocketbase: pb, clamd, env: { POLL_SECONDS: '1', LEASE_SECONDS: '5' } });
    const builds = await Promise.all(Array.from({ length: 6 }, (_, at) => upload(pb, { [`b${at}.bin`]: bytes(16 * MIB) })));
    const bad = await upload(pb, { 'filler.bin': bytes(16 * MIB), 'bad.com': infected() });
    await eventually('some are being scanned', async () => (await checkOf(pb, builds[1]!)).status === 'scanning');
    await pb.client.send('/host/block/9000', { method: 'POST' });
    for (const build of builds) await ends(build, 'clean', 60_000);
    await ends(bad, 'infected', 60_000);
    for (const build of [...builds, bad]) {
      expect((await checkOf(pb, build)).log).not.toContain('ran out after it had asked');
      expect(await settled(build)).toHaveLength(1);
    }
    expect(sidecar.events('call-failed').length).toBeGreaterThan(0);
  }, 120_000);

  it('behind a network that gets everything wrong gives no verdict on half of a file, and counts what is its own fault alone', async () => {
    await using clamd = await startClamd();
    let isHealed = false;
    await using proxy = await startHttpProxy(pb.url, ({ url = '' }) => {
      const name = /\/files\/([a-z]+\d*)_\w+\.bin/.exec(url)?.[1];
      return isHealed || name === undefined ? null : (faults[name]?.[0] ?? null);
    });
    const env = { POLL_SECONDS: '1', SCAN_CONCURRENCY: '16', MAX_RETRIES: '20' };
    await using sidecar = await startSidecar({ pocketbase: proxy, clamd, env });
    const builds = new Map<string, Build>();
    const evil = new Uint8Array(zipOf({ name: 'a', data: Buffer.from(bytes(2 * MIB)) }, { name: 'bad.com', data: eicar() }));
    for (const name of Object.keys(faults))
      builds.set(name, await upload(pb, { [`${name}.bin`]: name === 'evil' ? evil : bytes(name === 'dripping' ? 500_000 : 2 * MIB) }));
    const plain = await upload(pb, { 'plain.bin': bytes(1000) });
    await ends(plain, 'clean');
    const troubled = [...builds].filter(([name]) => name !== 'dripping');
    const givenBack = (build: Build) => sidecar.events('given-back').filter((line) => line['build'] === build.id);
    for (const [name, build] of troubled) await eventually(`${name} is given back`, () => givenBack(build).length > 0, 40_000);
    for (const [name, build] of troubled) {
      for (const line of givenBack(build)) expect([name, line['outcome']]).toEqual([name, faults[name]![1]]);
      expect((await checkOf(pb, build)).open).toBe(false);
      expect((await download(pb, build)).status).toBe(403);
      expect(await settled(build)).toEqual([]);
    }
    expect(await checkOf(pb, builds.get('busy1')!)).toMatchObject({ attempts: 0 });
    expect(await memory(sidecar)).toBeLessThan(250);
    expect(proxy.sockets().most).toBeLessThan(16 + 8);
    isHealed = true;
    for (const [name, build] of builds) await ends(build, name === 'evil' ? 'infected' : 'clean', 60_000);
  }, 150_000);

  it('whose answers to settles are lost stores each verdict once', async () => {
    await using clamd = await startClamd();
    let lost = 0;
    await using proxy = await startHttpProxy(pb.url, ({ url }) =>
      url === '/api/av/settle' && lost++ < 3 ? { kind: 'lose answer' } : null,
    );
    await using sidecar = await startSidecar({ pocketbase: proxy, clamd, env: { POLL_SECONDS: '1' } });
    const good = await upload(pb, { 'good.bin': bytes(1000) });
    const bad = await upload(pb, { 'bad.com': infected() });
    await ends(good, 'clean');
    await ends(bad, 'infected');
    await eventually('the sidecar knows it', () => sidecar.events('judged').length >= 2, 20_000);
    expect(lost).toBeGreaterThan(3);
    for (const build of [good, bad]) expect(await settled(build)).toHaveLength(1);
    expect((await download(pb, good)).status).toBe(200);
  });
});

/** By the name of the file: what happens to its download, and what it is given back as. */
const faults: Readonly<Record<string, readonly [HttpFault, string]>> = {
  reset0: [{ kind: 'truncate', after: 0, how: 'reset' }, 'download'],
  reset1: [{ kind: 'truncate', after: 1000, how: 'reset' }, 'download'],
  ended: [{ kind: 'truncate', after: 10, how: 'end' }, 'download'],
  evil: [{ kind: 'truncate', after: 300_000, how: 'end' }, 'download'],
  whole: [{ kind: 'whole' }, 'download'],
  busy1: [{ kind: 'status', status: 429 }, 'store-unavailable'],
  busy2: [{ kind: 'status', status: 503 }, 'store-unavailable'],
  broken: [{ kind: 'status', status: 500 }, 'download'],
  dripping: [{ kind: 'drip', bytes: 500 }, ''],
};

function idle(port: number): Socket {
  return createConnection({ host: '127.0.0.1', port }).on('error', () => {});
}
