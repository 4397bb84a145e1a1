/** What the console tells by itself, over a real PocketBase. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../sidecar/clock.ts';
import { loadConfig } from '../../sidecar/config.ts';
import type { GateProbe } from '../../sidecar/console/gate-probe.ts';
import { Outbox } from '../../sidecar/console/webhooks/outbox.ts';
import { Watch, type WatchParts } from '../../sidecar/console/webhooks/watch.ts';
import { HealthMonitor } from '../../sidecar/pocketbase/health.ts';
import { Session } from '../../sidecar/pocketbase/session.ts';
import { clearAll, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { type PocketBaseOptions, type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const never = new AbortController().signal;
const newSession = (pb: RunningPocketBase) => new Session({ url: pb.url, ...superuser });

async function started(options: PocketBaseOptions = {}): Promise<RunningPocketBase> {
  const pb = await startPocketBase(options);
  onTestFinished(() => pb.stop());
  return pb;
}

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-watch-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const probeThat = (found: Pick<GateProbe, 'open'>) => Object.assign(found, { look: async () => {} }) as unknown as GateProbe;

/** With pauses of a fraction of a second. */
function watchOf(pb: RunningPocketBase, folder: string, outbox: Outbox, logged: string[], change: Partial<WatchParts> = {}): Watch {
  const config = loadConfig({
    ROLES: 'console',
    POCKETBASE_URL: pb.url,
    POCKETBASE_SUPERUSER_EMAIL: superuser.email,
    POCKETBASE_SUPERUSER_PASSWORD: superuser.password,
    CONSOLE_DATA_DIR: folder,
    RESULT_WEBHOOK_URLS: 'http://127.0.0.1:9/',
    RESULT_WEBHOOK_PRIVATE_HOSTS: '127.0.0.1',
    RESULT_WEBHOOK_SECRET: 'a secret of the webhooks',
  }).console!;
  const note = (...given: unknown[]) => void logged.push(given.map((each) => JSON.stringify(each)).join(' '));
  const events = {
    delivered() {},
    failed() {},
    unreadable: note,
    refused: note,
    outdated: note,
    callFailed: note,
    historyBroken: note,
    gateOpen: note,
  };
  const clock = { ...systemClock, sleep: (ms: number, signal: AbortSignal) => systemClock.sleep(Math.min(ms, 50), signal) };
  return new Watch({
    config,
    session: newSession(pb),
    outbox,
    scanner: null,
    clock,
    events: () => events,
    health: { last: null },
    probe: probeThat({ open: null }),
    ...change,
  });
}

describe('a broken history', () => {
  it('is told under one id, however often PocketBase stumbles and the console restarts', async () => {
    const pb = await started();
    for (let n = 0; n < 2; n++) {
      await upload(pb, { 'a.txt': 'good' });
      await clearAll(pb);
    }
    await pb.sql("UPDATE av_scan_history SET entry = replace(entry, 'clean', 'blean') WHERE seq = 2");
    const outbox = new Outbox(newSession(pb));
    let stumbles = 2;
    let asked = 0;
    outbox.add = async (...given) => {
      asked++;
      if (stumbles-- > 0) throw new Error('PocketBase answered 503');
      return await new Outbox(newSession(pb)).add(...given);
    };
    const logged: string[] = [];
    const kept = async () => (await outbox.newest(100, never)).filter(({ kind }) => kind === 'history.broken').map(({ event }) => event);
    for (const restart of [1, 2]) {
      const folder = await newFolder();
      const stop = new AbortController();
      const watch = watchOf(pb, folder, outbox, logged);
      const running = watch.run(stop.signal);
      await eventually(`it is told, start ${restart}`, async () => asked >= 2 + restart && (await kept()).length > 0);
      const what = expect.stringContaining('The scan history is broken: entry 2 does not verify');
      expect(watch.attention()).toContainEqual(expect.objectContaining({ tone: 'bad', what }));
      stop.abort();
      await running;
    }
    expect(await kept()).toEqual(['history-broken-2']);
    expect(logged.filter((each) => each.includes('does not verify'))).toHaveLength(2);
  });
});

describe('a gate that does not enforce', () => {
  it('is told once, over restarts of the console, and so is its end', async () => {
    const pb = await started({ env: { AV_GATE: 'monitor' } });
    const outbox = new Outbox(newSession(pb));
    const kept = async () => (await outbox.newest(100, never)).map(({ kind }) => kind).toReversed();
    let looks = 0;
    const watched = async (label: string, condition: () => boolean | Promise<boolean>) => {
      const health = new HealthMonitor({ session: newSession(pb), clock: systemClock });
      await health.ask(never);
      const seen = {
        get last() {
          looks++;
          return health.last;
        },
      };
      const stop = new AbortController();
      const running = watchOf(pb, await newFolder(), outbox, [], { health: seen }).run(stop.signal);
      await eventually(label, condition);
      stop.abort();
      await running;
    };
    await watched('it is told', async () => (await kept()).includes('gate.open'));
    looks = 0;
    await watched('it is looked at again', () => looks > 5);
    expect(await kept()).toEqual(['gate.open']);
    await pb.kill('SIGTERM');
    pb.setEnv({ AV_GATE: 'enforce' });
    await pb.restart();
    await watched('the end is told', async () => (await kept()).includes('gate.enforced'));
    expect(await kept()).toEqual(['gate.open', 'gate.enforced']);
  });
});

describe('a gate that hands out a closed build', () => {
  it('is logged and told once for each time, and is the first thing on the overview', async () => {
    const pb = await started();
    const outbox = new Outbox(newSession(pb));
    const found: { open: GateProbe['open'] } = { open: { build: 'b', file: 'f.bin', url: 'https://pb.example', since: 1000 } };
    const logged: string[] = [];
    const watch = watchOf(pb, await newFolder(), outbox, logged, { probe: probeThat(found) });
    expect(watch.attention()[0]).toMatchObject({ weight: 100, what: expect.stringContaining('build b') });
    const stop = new AbortController();
    const running = watch.run(stop.signal);
    const kept = async () => (await outbox.newest(100, never)).map(({ kind, event }) => `${kind} ${event}`).toReversed();
    await eventually('it is told', async () => (await kept()).length === 1);
    found.open = null;
    expect(watch.attention().filter(({ weight }) => weight === 100)).toEqual([]);
    found.open = { build: 'b', file: 'f.bin', url: 'https://pb.example', since: 2000 };
    await eventually('it is told again', async () => (await kept()).length === 2);
    stop.abort();
    await running;
    expect(await kept()).toEqual(['gate.open_by_probe gate-probe-1000', 'gate.open_by_probe gate-probe-2000']);
    expect(logged.filter((each) => each.includes('https://pb.example'))).toHaveLength(2);
  });
});
