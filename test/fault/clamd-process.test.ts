import { randomBytes } from 'node:crypto';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeTestSignatures } from '../../scripts/test-signatures.ts';
import type { EnginePool } from '../../sidecar/clamd/pool.ts';
import { ScanError } from '../../sidecar/scan/errors.ts';
import { inputOf } from '../contract/scanner.ts';
import { startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { startPool } from '../harness/engine-pool.ts';
import { eventually } from '../harness/eventually.ts';

const never = new AbortController().signal;
const mebibyte = randomBytes(1024 * 1024);

/** Takes clamd the better part of a second to look at; `sent` resolves when the last byte was handed over. */
function longScan(mebibytes = 80) {
  const { promise: sent, resolve } = Promise.withResolvers<void>();
  async function* bytes() {
    for (let count = 0; count < mebibytes; count++) yield mebibyte;
    resolve();
  }
  return { input: { size: mebibytes * mebibyte.length, bytes: bytes() }, sent };
}

async function provesItself(pool: EnginePool): Promise<void> {
  await pool.ready(AbortSignal.timeout(15_000));
  expect((await pool.scan(inputOf(randomBytes(1000)), never)).answer).toEqual({ kind: 'clean' });
  expect((await pool.scan(inputOf(eicar()), never)).answer).toMatchObject({ kind: 'infected' });
}

describe('clamd', () => {
  it.each(['SIGKILL', 'SIGTERM'] as const)(
    'that gets %s during a scan gives no verdict, and works again after a restart',
    async (signal) => {
      await using clamd = await startClamd();
      await using running = startPool([clamd.address]);
      await running.pool.ready(never);
      const { input, sent } = longScan();
      const scan = running.pool.scan(input, never);
      const outcome = expect(scan).rejects.toMatchObject({ code: 'engine-reply' });
      await sent;
      await clamd.kill(signal);
      await outcome;
      await eventually('it is known to be down', () => running.pool.state()[0]?.ready === false);
      await expect(running.pool.scan(inputOf(eicar()), never)).rejects.toMatchObject({ code: 'engine-unavailable' });
      await clamd.restart();
      await provesItself(running.pool);
    },
  );

  it('that is killed in the middle of the upload gives no verdict to any scan under way, and blames none of their files', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address]);
    await running.pool.ready(never);
    let begun = 0;
    const { promise: dead, resolve: died } = Promise.withResolvers<void>();
    async function* bytes() {
      yield mebibyte;
      begun += 1;
      await dead;
      yield mebibyte;
    }
    const scans = Array.from({ length: 4 }, () => running.pool.scan({ size: 2 * mebibyte.length, bytes: bytes() }, never));
    const outcomes = Promise.allSettled(scans);
    await eventually('all are under way', () => begun === 4);
    await clamd.kill('SIGKILL');
    died();
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'engine-busy' } });
    expect(running.pool.state()).toMatchObject([{ inFlight: 0, ready: false }]);
    await clamd.restart();
    await provesItself(running.pool);
  });

  it('that hangs gives no verdict, takes no work, and comes back', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address], { stallMs: 500, timeoutMs: 500 });
    await running.pool.ready(never);
    await clamd.kill('SIGSTOP');
    await expect(running.pool.scan(inputOf(eicar()), never)).rejects.toMatchObject({ code: 'engine-reply' });
    expect(running.pool.state()[0]?.ready).toBe(false);
    await clamd.kill('SIGCONT');
    await provesItself(running.pool);
  });

  it('keeps its signatures when new ones are broken, and takes up new ones when they are whole', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address], { canaryIntervalMs: 100 });
    await running.pool.ready(never);
    const broken = join(clamd.database, 'broken.ndb');
    await writeFile(broken, 'this is no signature\n');
    await clamd.reload();
    await eventually('the reload has failed', () => clamd.log().includes('keeping the previous instance'));
    await provesItself(running.pool);
    await rm(broken);
    await writeTestSignatures(clamd.database);
    await clamd.reload();
    await eventually('the reload has succeeded', () => clamd.log().includes('Activating the newly loaded database'));
    await provesItself(running.pool);
  });
});

describe('a source', () => {
  async function* failing(after: number, failure: Error) {
    for (let count = 0; count < after; count++) yield mebibyte;
    throw failure;
  }

  it.each([0, 1, 20])('that fails after %i MiB is to blame itself, and leaves nothing behind in clamd', async (after) => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address]);
    await running.pool.ready(never);
    const failure = new ScanError('lease-lost', 'somebody else has it');
    const input = { size: 40 * mebibyte.length, bytes: failing(after, failure) };
    await expect(running.pool.scan(input, never)).rejects.toBe(failure);
    expect(running.pool.state()).toMatchObject([{ ready: true, inFlight: 0 }]);
    await eventually('clamd has dropped what came', async () => (await readdir(join(clamd.dir, 'tmp'))).length === 0);
  });

  it.each([
    ['shorter', 2, 3],
    ['longer', 3, 2],
    ['empty', 0, 1],
  ])('that is %s than announced gives no verdict', async (_, chunks, announced) => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address]);
    await running.pool.ready(never);
    const input = { size: announced * mebibyte.length, bytes: longScan(chunks).input.bytes };
    await expect(running.pool.scan(input, never)).rejects.toMatchObject({ code: 'download' });
    expect(running.pool.state()).toMatchObject([{ ready: true }]);
  });

  it('that stalls is to blame itself', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address], { stallMs: 300 });
    await running.pool.ready(never);
    let isReleased = false;
    const bytes: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise(() => {}),
        return: async () => {
          isReleased = true;
          return { done: true, value: undefined };
        },
      }),
    };
    await expect(running.pool.scan({ size: 10, bytes }, never)).rejects.toMatchObject({ code: 'download' });
    expect(isReleased).toBe(true);
    expect(running.pool.state()).toMatchObject([{ ready: true }]);
  });

  it('is let go at once when the scan is given up before its first byte', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address], { stallMs: 30_000 });
    await running.pool.ready(never);
    const asked = Promise.withResolvers<void>();
    const bytes: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({
        next() {
          asked.resolve();
          return new Promise(() => {});
        },
      }),
    };
    const stop = new AbortController();
    const scan = running.pool.scan({ size: 10, bytes }, stop.signal);
    scan.catch(() => {});
    await asked.promise;
    const enough = new Error('enough');
    stop.abort(enough);
    await expect(scan).rejects.toBe(enough);
    expect(running.pool.state()).toMatchObject([{ ready: true, inFlight: 0 }]);
  });

  it('is let go at once when the scan is given up while clamd thinks', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address]);
    await running.pool.ready(never);
    const stop = new AbortController();
    const { input, sent } = longScan();
    const outcome = expect(running.pool.scan(input, stop.signal)).rejects.toMatchObject({ code: 'interrupted' });
    await sent;
    stop.abort(new ScanError('interrupted', 'enough'));
    await outcome;
    expect(running.pool.state()).toMatchObject([{ ready: true, inFlight: 0 }]);
  });
});
