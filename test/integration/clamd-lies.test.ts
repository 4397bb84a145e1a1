/** An engine whose answers turn wrong, told from one that gives none. */
import { createHash, randomBytes } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeTestSignatures } from '../../scripts/test-signatures.ts';
import type { EngineEvent } from '../../sidecar/clamd/pool.ts';
import { inputOf } from '../contract/scanner.ts';
import { type RunningClamd, startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { type RunningPool, startPool } from '../harness/engine-pool.ts';
import { eventually } from '../harness/eventually.ts';
import { writeDaily } from '../harness/official-set.ts';
import { startTcpProxy } from '../harness/tcp-proxy.ts';

const never = new AbortController().signal;
const often = { canaryIntervalMs: 100, maxSignatureAgeMs: 7 * 86_400_000 };

const kinds = ({ events }: RunningPool) => events.map(({ kind }) => kind).filter((kind) => kind !== 'canaries-failed');
const lies = ({ events }: RunningPool) =>
  events.filter((event): event is EngineEvent & { kind: 'engine-lied' } => event.kind === 'engine-lied');
const state = ({ pool }: RunningPool) => pool.state()[0]!;

/** Loads other signatures and waits until they are in force. */
async function reload(clamd: RunningClamd): Promise<void> {
  const activations = () => clamd.log().split('Activating the newly loaded database').length;
  const before = activations();
  await clamd.reload();
  await eventually('the signatures are in force', () => activations() > before);
}

async function hashes(clamd: RunningClamd, count: number): Promise<void> {
  const lines = Array.from(
    { length: count },
    (_, at) => `${createHash('sha256').update(`${at}`).digest('hex')}:${500 + at}:Made-Up.${at}:73`,
  );
  await writeFile(join(clamd.database, '.many.tmp'), `${lines.join('\n')}\n`);
  await rename(join(clamd.database, '.many.tmp'), join(clamd.database, 'many.hsb'));
}

async function loseTestSignatures(clamd: RunningClamd): Promise<void> {
  await writeFile(join(clamd.database, 'nothing.hsb'), `${'00'.repeat(32)}:1:Never.Found:73\n`);
  await rm(join(clamd.database, 'pocketwarden-test.ndb'));
  await rm(join(clamd.database, 'pocketwarden-test.hsb'));
}

describe('a wrong answer', () => {
  it('stops the work, is told once, names the last good round, and ends with the next good one', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address], often);
    await running.pool.ready(never);
    const { engine } = await running.pool.scan(inputOf(randomBytes(100)), never);
    expect(Date.parse(engine.canaryAt)).toBeGreaterThan(Date.now() - 60_000);
    await loseTestSignatures(clamd);
    await reload(clamd);
    const lie = await eventually('it lied', () => lies(running)[0]?.lie);
    expect(lie).toMatchObject({ engine: clamd.address, reason: expect.stringContaining('misses the EICAR') });
    expect(lie!.since! >= engine.canaryAt).toBe(true);
    expect(lie!.since! <= state(running).canaryAt!).toBe(true);
    expect(state(running)).toMatchObject({ ready: false, faults: [{ canary: 'eicar', settings: [] }] });
    await expect(running.pool.scan(inputOf(randomBytes(100)), never)).rejects.toMatchObject({ code: 'engine-unavailable' });

    await eventually('it was asked again', () => running.events.filter(({ kind }) => kind === 'canaries-failed').length >= 3);
    await writeTestSignatures(clamd.database);
    await reload(clamd);
    await eventually('it is ready again', () => state(running).ready);
    expect(kinds(running).slice(0, 3)).toEqual(['engine-ready', 'engine-lied', 'engine-down']);
    expect(lies(running)).toHaveLength(1);
    expect(state(running).canaryAt! > lie!.since!).toBe(true);
    expect(state(running).faults).toEqual([]);
  });

  it('reaches back to every answer that was wrong, also to those given while a round went on', async () => {
    await using clamd = await startClamd();
    // Rounds without a pause: the loss falls into one that has asked for EICAR before.
    await using running = startPool([clamd.address], { ...often, canaryIntervalMs: 1 });
    let wrong = 0;
    for (let episode = 1; episode <= 5; episode++) {
      await writeTestSignatures(clamd.database);
      await reload(clamd);
      await eventually('it is ready', () => state(running).ready);
      const canaries: string[] = [];
      const scanUntilRefused = async () => {
        for (;;) {
          const { answer, engine } = await running.pool.scan(inputOf(eicar()), never);
          if (answer.kind === 'clean') canaries.push(engine.canaryAt);
        }
      };
      const scanning = Promise.allSettled([scanUntilRefused(), scanUntilRefused()]);
      await loseTestSignatures(clamd);
      await clamd.reload();
      await scanning;
      const since = await eventually('it lied', () => lies(running)[episode - 1]?.lie.since);
      for (const canaryAt of canaries) expect(canaryAt >= since!).toBe(true);
      wrong += canaries.length;
    }
    expect(wrong).toBeGreaterThan(0);
  });

  it('leaves no verdict of a scan that it fell into, though the engine is mended when that ends', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address], { ...often, stallMs: 20_000 });
    await running.pool.ready(never);
    const mended = Promise.withResolvers<void>();
    async function* bytes() {
      yield Buffer.alloc(1000, 'harmless ');
      await mended.promise;
      yield Buffer.alloc(1000, 'harmless ');
    }
    const scan = running.pool.scan({ size: 2000, bytes: bytes() }, never);
    scan.catch(() => {});
    await loseTestSignatures(clamd);
    await reload(clamd);
    await eventually('it lied', () => lies(running).length === 1);
    await writeTestSignatures(clamd.database);
    await reload(clamd);
    await eventually('it is ready again', () => state(running).ready);
    mended.resolve();
    await expect(scan).rejects.toMatchObject({ code: 'engine-unavailable' });
  });

  it('of an engine that nobody has seen answer rightly reaches back to where only PocketBase knows', async () => {
    await using clamd = await startClamd({ signatures: 'none' });
    await using running = startPool([clamd.address], often);
    await eventually('it lied', () => lies(running)[0]?.lie.since === null);
  });
});

describe('fewer signatures', () => {
  it('by half are noticed, though VERSION says the same', async () => {
    await using clamd = await startClamd();
    await hashes(clamd, 20_000);
    await reload(clamd);
    await using running = startPool([clamd.address], often);
    await running.pool.ready(never);
    await hashes(clamd, 15_000);
    await reload(clamd);
    const asked = state(running).canaryAt!;
    await eventually('it was asked again', () => state(running).canaryAt! > asked);
    expect(state(running).ready).toBe(true);
    await hashes(clamd, 1);
    await reload(clamd);
    await eventually('it lied', () => lies(running)[0]?.lie.reason.includes('bytes of memory'));
    expect(state(running)).toMatchObject({ ready: false, faults: [{ canary: 'signatures' }] });
    await hashes(clamd, 20_000);
    await reload(clamd);
    await eventually('it is ready again', () => state(running).ready);
  });

  it('by their number are noticed at the next look', async () => {
    await using clamd = await startClamd();
    await writeDaily(clamd.database, 27_000);
    await reload(clamd);
    await using running = startPool([clamd.address], { ...often, allowTestSignatures: false });
    await running.pool.ready(never);
    expect((await running.pool.scan(inputOf(eicar()), never)).engine.signatures).toBe(27_000);
    await writeDaily(clamd.database, 26_999);
    await reload(clamd);
    await eventually('it lied', () => lies(running)[0]?.lie.reason.includes('went back from 27000 to 26999'));
    await writeDaily(clamd.database, 27_001);
    await reload(clamd);
    await eventually('it is ready again', () => state(running).ready);
    expect((await running.pool.scan(inputOf(eicar()), never)).engine.signatures).toBe(27_001);
  });

  it('than none change nothing: clamd keeps the set it has', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address], often);
    await running.pool.ready(never);
    await rm(join(clamd.database, 'pocketwarden-test.ndb'));
    await rm(join(clamd.database, 'pocketwarden-test.hsb'));
    await clamd.reload();
    await eventually('clamd says so', () => clamd.log().includes('keeping the previous instance'));
    expect((await running.pool.scan(inputOf(eicar()), never)).answer.kind).toBe('infected');
    expect(kinds(running)).toEqual(['engine-ready']);
  });
});

describe('no lie', () => {
  it('is an engine that does not answer, dies and comes back', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address], { ...often, stallMs: 500, timeoutMs: 500 });
    await running.pool.ready(never);
    await clamd.kill('SIGSTOP');
    await expect(running.pool.scan(inputOf(randomBytes(100)), never)).rejects.toMatchObject({ name: 'ScanError' });
    expect(state(running).ready).toBe(false);
    await clamd.restart();
    await eventually('it is ready again', () => state(running).ready);
    expect(kinds(running)).not.toContain('engine-lied');
  });

  it('is an engine that runs out of time', async () => {
    await using clamd = await startClamd({ conf: { MaxScanTime: '1' } });
    await using running = startPool([clamd.address], often);
    await eventually('it was asked', () => running.pool.state().find((each) => each.why !== 'not asked yet'));
    await eventually('it says so', () => state(running).why?.includes('set MaxScanTime'));
    expect(lies(running)).toEqual([]);
  });

  it('is a set that is too old', async () => {
    await using clamd = await startClamd();
    await writeDaily(clamd.database, 27_000, new Date(Date.now() - 8 * 86_400_000));
    await reload(clamd);
    await using running = startPool([clamd.address], often);
    await eventually('it says so', () => running.pool.state()[0]?.why?.includes('192 hours old'));
    expect(kinds(running)).toEqual(['engine-down']);
  });
});

it('calls nothing clean between other signatures and their proof', async () => {
  await using clamd = await startClamd();
  await writeDaily(clamd.database, 27_000);
  await reload(clamd);
  await using proxy = await startTcpProxy(clamd.address);
  await using running = startPool([proxy.address], { ...often, stallMs: 20_000 });
  await running.pool.ready(never);
  const unproved = Promise.withResolvers<void>();
  async function* bytes() {
    yield Buffer.alloc(1000, 'harmless ');
    await unproved.promise;
    yield Buffer.alloc(1000, 'harmless ');
  }
  const scan = running.pool.scan({ size: 2000, bytes: bytes() }, never);
  scan.catch(() => {});
  // The questions of the next round take so long that its middle can be seen.
  await proxy.behave({ kind: 'replace', reply: (whole) => whole, dripMs: 4 });
  await writeDaily(clamd.database, 27_001);
  await reload(clamd);
  await eventually('the new number is seen', () => state(running).why?.includes('loaded other signatures'));
  unproved.resolve();
  await expect(scan).rejects.toMatchObject({ code: 'engine-unavailable' });
  await eventually('the new set is proved', () => state(running).ready, 30_000);
  expect((await running.pool.scan(inputOf(Buffer.from('harmless')), never)).engine.signatures).toBe(27_001);
  expect(lies(running)).toEqual([]);
});

it('answers rightly or not at all while it loads one set after the other', async () => {
  await using clamd = await startClamd();
  await writeDaily(clamd.database, 27_000);
  await hashes(clamd, 50_000);
  await reload(clamd);
  await using running = startPool([clamd.address], { ...often, canaryIntervalMs: 500 });
  await running.pool.ready(never);
  let loading = true;
  const seen = { infected: 0, clean: 0, refused: 0 };
  const numbers = new Set<number | 'test'>();
  const scanAlways = async (bytes: Buffer, right: 'infected' | 'clean') => {
    while (loading) {
      try {
        const { answer, engine } = await running.pool.scan(inputOf(bytes), never);
        expect(answer.kind).toBe(right);
        seen[right]++;
        numbers.add(engine.signatures);
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: 'engine-unavailable' });
        seen.refused++;
        await running.pool.ready(never);
      }
    }
  };
  const scanning = Promise.all([scanAlways(eicar(), 'infected'), scanAlways(randomBytes(5000), 'clean')]);
  for (let number = 27_001; number <= 27_004; number++) {
    await writeDaily(clamd.database, number);
    await reload(clamd);
    await eventually('it has proved the new set', () => state(running).ready && state(running).engine?.signatures === number, 30_000);
  }
  loading = false;
  await scanning;
  expect(lies(running)).toEqual([]);
  expect(Math.min(seen.infected, seen.clean)).toBeGreaterThan(20);
  expect(numbers.size).toBeGreaterThan(2);
});
