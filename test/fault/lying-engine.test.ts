/** An engine that loses its signatures in the middle of the work: within a round of canaries all that it let out is shut again. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeTestSignatures } from '../../scripts/test-signatures.ts';
import { createEnginePool, type EnginePool } from '../../sidecar/clamd/pool.ts';
import { systemClock } from '../../sidecar/clock.ts';
import { loadConfig } from '../../sidecar/config.ts';
import { createService, type Service } from '../../sidecar/service.ts';
import { createLog } from '../../sidecar/telemetry/log.ts';
import { type Build, checkOf, download, upload } from '../harness/builds.ts';
import { type RunningClamd, startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { eventually } from '../harness/eventually.ts';
import { freePort, type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';
import { notifySecret } from '../harness/sidecar.ts';

const ROUND_MS = 2_500;
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
  await pb?.stop();
  await clamd?.[Symbol.asyncDispose]();
});

interface RunningService extends AsyncDisposable {
  readonly service: Service;
  readonly engines: EnginePool;
  metric(line: string): Promise<boolean>;
  logged(event: string): object[];
}

/** As production wires it, but asking for canaries more often. */
async function startService(): Promise<RunningService> {
  const lines: { event?: string }[] = [];
  const pools: EnginePool[] = [];
  const config = loadConfig({
    POCKETBASE_URL: pb.url,
    POCKETBASE_SUPERUSER_EMAIL: superuser.email,
    POCKETBASE_SUPERUSER_PASSWORD: superuser.password,
    CLAMD_ADDRESSES: clamd.address,
    ALLOW_TEST_SIGNATURES: 'true',
    AV_NOTIFY_SECRET: notifySecret,
    POLL_SECONDS: '1',
    PORT: String(port),
  });
  const service = createService(config, {
    log: createLog('info', { write: (line) => lines.push(JSON.parse(line)) }),
    engines(onEvent) {
      const options = { stallMs: 5_000, timeoutMs: 20_000, maxSignatureAgeMs: 0, allowTestSignatures: true, canaryIntervalMs: ROUND_MS };
      const pool = createEnginePool({ ...options, addresses: [clamd.address], onEvent }, systemClock);
      pools.push(pool);
      return pool;
    },
  });
  await service.start();
  return {
    service,
    engines: pools[0]!,
    metric: async (line) => (await (await fetch(`${service.url}/metrics`)).text()).includes(`\n${line}\n`),
    logged: (event) => lines.filter((line) => line.event === event),
    [Symbol.asyncDispose]: () => service.kill(),
  };
}

async function reload(): Promise<void> {
  const activations = () => clamd.log().split('Activating the newly loaded database').length;
  const before = activations();
  await clamd.reload();
  await eventually('the signatures are in force', () => activations() > before);
}

async function mend(): Promise<void> {
  await writeTestSignatures(clamd.database);
  await reload();
}

async function loseSignatures(): Promise<void> {
  await writeFile(join(clamd.database, 'nothing.hsb'), `${'00'.repeat(32)}:1:Never.Found:73\n`);
  await rm(join(clamd.database, 'pocketwarden-test.ndb'), { force: true });
  await rm(join(clamd.database, 'pocketwarden-test.hsb'), { force: true });
  await reload();
}

const isOpen = async (build: Build) => (await download(pb, build)).status === 200;
const harmful = () => upload(pb, { 'bad.com': new Uint8Array(eicar()) });
const history = async (build: Build, event: string) =>
  (await pb.client.collection('av_scan_history').getFullList())
    .map((row) => JSON.parse(row['entry']))
    .filter((entry) => entry.build === build.id && entry.event === event);

/** A build that the engine judged in a round before the last, and one with EICAR in it that it has just let out. */
async function liedTo({ engines }: RunningService): Promise<{ before: Build; bad: Build }> {
  const canaryAt = () => engines.state()[0]!.canaryAt;
  await eventually('the engine is ready', () => engines.state()[0]?.ready);
  const before = await upload(pb, { 'good.txt': 'good' });
  await eventually('a harmless build is open', () => isOpen(before));
  for (;;) {
    const asked = canaryAt();
    await eventually('another round was good', () => canaryAt() !== asked);
    await loseSignatures();
    const bad = await harmful();
    const end = await eventually('it is open or the lie is found', async () => {
      if (await isOpen(bad)) return 'open';
      return engines.state()[0]!.ready ? null : 'found';
    });
    if (end === 'open') return { before, bad };
    // On a slow machine the round may come first.
    await mend();
    await eventually('the engine is ready', () => engines.state()[0]?.ready);
  }
}

/** What every fault test asks for. */
async function expectAllWell({ before, bad }: { before: Build; bad: Build }): Promise<void> {
  await eventually('it is found', async () => (await checkOf(pb, bad)).status === 'infected', 20_000);
  expect(await isOpen(bad)).toBe(false);
  expect(await isOpen(before)).toBe(true);
  expect(await history(bad, 'voided')).toMatchObject([{ wasOpen: true, open: false, engine: { name: clamd.address } }]);
  expect(await history(before, 'voided')).toEqual([]);
  // Once more where the mended engine's last canary is older than the void: its finding is believed, and looked at again at once.
  expect((await history(bad, 'settled')).length).toBeGreaterThanOrEqual(2);
  const following = await upload(pb, { 'after.txt': 'after' });
  await eventually('a following clean build passes', () => isOpen(following), 20_000);
}

describe('what a lying engine has let out', () => {
  it('is shut within a round of canaries and found when the engine is mended', async () => {
    await mend();
    await using running = await startService();
    const builds = await liedTo(running);
    const opened = performance.now();
    await eventually('it is shut', async () => !(await isOpen(builds.bad)));
    expect(performance.now() - opened).toBeLessThan(ROUND_MS + 5_000);
    const engines = running.service.readiness().parts['engines'];
    expect(engines).toMatchObject({ ready: false, why: expect.stringContaining('misses the EICAR') });
    await eventually('it is counted', () => running.metric('pocketwarden_voided_builds_total{was="open"} 1'));
    expect(await running.metric('pocketwarden_canary_failures_total{canary="eicar"} 0')).toBe(false);
    expect(await running.metric('pocketwarden_voids_waiting 0')).toBe(true);
    await eventually('it is told', () => running.logged('voided').length > 0);
    expect(running.logged('voided').at(-1)).toMatchObject({ engine: clamd.address, closed: 1 });
    const waiting = await harmful();
    await mend();
    await expectAllWell(builds);
    await eventually('what waited meanwhile is found too', async () => (await checkOf(pb, waiting)).status === 'infected');
  });

  it('is shut as soon as PocketBase is back that was away when it showed', async () => {
    await mend();
    await using running = await startService();
    const builds = await liedTo(running);
    await pb.kill();
    await eventually('the lie waits', () => running.metric('pocketwarden_voids_waiting 1'), 15_000);
    expect(running.service.readiness().warnings.join()).toContain(`what ${clamd.address} judged since`);
    await mend();
    await pb.restart();
    await eventually('it is shut', async () => !(await isOpen(builds.bad)), 40_000);
    await eventually('no lie waits', () => running.metric('pocketwarden_voids_waiting 0'));
    await expectAllWell(builds);
  });

  it('is shut by the next sidecar when the first one ended before it asked', async () => {
    await mend();
    let builds: { before: Build; bad: Build };
    {
      await using first = await startService();
      builds = await liedTo(first);
    }
    await using next = await startService();
    await eventually('it is shut', async () => !(await isOpen(builds.bad)));
    // The gates are shut before PocketBase answers.
    await eventually('it is told', () => next.logged('voided').length > 0);
    expect(next.logged('voided')).toMatchObject([{ since: null, closed: 1 }]);
    await mend();
    await expectAllWell(builds);
  });
});
