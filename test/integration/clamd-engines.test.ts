import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { madeUpPayload, testFindings } from '../../scripts/test-signatures.ts';
import { inputOf } from '../contract/scanner.ts';
import { wrappings } from '../harness/archives.ts';
import { type RunningClamd, startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { type RunningPool, startPool } from '../harness/engine-pool.ts';
import { eventually } from '../harness/eventually.ts';

const never = new AbortController().signal;

describe('an engine on the shared configuration', () => {
  let clamd: RunningClamd;
  let running: RunningPool;
  beforeAll(async () => {
    clamd = await startClamd();
    running = startPool([clamd.address]);
    await running.pool.ready(never);
  });
  afterAll(async () => {
    await running[Symbol.asyncDispose]();
    await clamd[Symbol.asyncDispose]();
  });

  const answerTo = async (bytes: Buffer) => (await running.pool.scan(inputOf(bytes), never)).answer;

  it('says what it is', () => {
    expect(running.pool.state()).toMatchObject([
      {
        name: clamd.address,
        ready: true,
        why: null,
        inFlight: 0,
        signatureAgeSeconds: null,
        faults: [],
        engine: { signatures: 'test', signaturesAt: null },
      },
    ]);
    expect(running.events).toMatchObject([{ kind: 'engine-ready', name: clamd.address }]);
  });

  it('finds by hash', async () => {
    expect(await answerTo(madeUpPayload())).toEqual({ kind: 'infected', signature: testFindings.madeUp });
  });

  it.each(Object.entries(wrappings(eicar())))('never calls EICAR clean: %s', async (_, bytes) => {
    const answer = await answerTo(bytes);
    expect(answer.kind).not.toBe('clean');
  });

  const looked = [
    'zip',
    'zip, stored',
    'zip in zip',
    'zip in zip, stored',
    'zip, sizes behind the data',
    'zip behind a program',
    'tar',
    'tar.gz',
  ];
  it.each(looked)('finds EICAR where it can look: %s', async (form) => {
    expect(await answerTo(wrappings(eicar())[form]!)).toEqual({ kind: 'infected', signature: testFindings.eicar });
  });

  it.each(looked)('calls harmless content clean where it can look: %s', async (form) => {
    expect(await answerTo(wrappings(randomBytes(5000))[form]!)).toEqual({ kind: 'clean' });
  });

  it('refuses what is larger than it can judge, without reading it', async () => {
    const bytes: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]() {
        throw new Error('it was read');
      },
    };
    const { answer } = await running.pool.scan({ size: running.pool.maxBytes + 1, bytes }, never);
    expect(answer).toEqual({ kind: 'unscannable', reason: 'unscannable:too-large' });
  });

  it('holds flat memory while a large file streams', async () => {
    const chunk = randomBytes(64 * 1024);
    let most = 0;
    async function* bytes() {
      for (let count = 0; count < 3200; count++) {
        most = Math.max(most, process.memoryUsage().arrayBuffers);
        yield Buffer.from(chunk);
      }
    }
    const before = process.memoryUsage().arrayBuffers;
    expect((await running.pool.scan({ size: 3200 * chunk.length, bytes: bytes() }, never)).answer.kind).toBe('clean');
    expect(most - before).toBeLessThan(120 * 1024 * 1024);
  });
});

describe('an engine that is not fit for work', () => {
  it('because it misses EICAR', async () => {
    await using clamd = await startClamd({ signatures: 'none' });
    await using running = startPool([clamd.address]);
    await eventually('it says so', () => running.pool.state()[0]?.why?.includes('misses the EICAR'));
  });

  it('because its signatures are a test set and none is allowed', async () => {
    await using clamd = await startClamd();
    await using running = startPool([clamd.address], { allowTestSignatures: false });
    await eventually('it says so', () => running.pool.state()[0]?.why?.includes('no official signatures'));
    expect(running.pool.state()[0]?.engine?.signatures).toBe('test');
  });
});

describe('several engines', () => {
  const named = (clamd: RunningClamd, name: string) => ({ host: '127.0.0.1', port: clamd.port, name });

  it('share the work, the least busy one first, and cover for each other', async () => {
    await using first = await startClamd();
    await using second = await startClamd();
    await using running = startPool([first.address, second.address]);
    await eventually('both are ready', () => running.pool.state().filter((engine) => engine.ready).length === 2);
    const answers = await Promise.all(Array.from({ length: 8 }, () => running.pool.scan(inputOf(randomBytes(200_000)), never)));
    const names = answers.map(({ engine }) => engine.name);
    expect(names.filter((name) => name === first.address)).toHaveLength(4);
    await second.kill();
    await eventually('its death is noticed', async () => {
      const { answer, engine } = await running.pool.scan(inputOf(eicar()), never);
      expect(answer.kind).toBe('infected');
      expect(engine.name).toBe(first.address);
      return running.pool.state().find(({ name }) => name === second.address)?.ready === false;
    });
  });

  it('behind one name come and go with its addresses', async () => {
    await using first = await startClamd();
    await using second = await startClamd();
    let addresses = [named(first, 'clamd/1'), named(second, 'clamd/2')];
    await using running = startPool(['clamd:3310'], { resolve: async () => addresses, canaryIntervalMs: 50 });
    await eventually('both are ready', () => running.pool.state().filter((engine) => engine.ready).length === 2);
    addresses = [named(second, 'clamd/2')];
    await eventually('one is gone', () => running.pool.state().length === 1);
    expect(running.events).toContainEqual({ kind: 'engine-gone', name: 'clamd/1' });
    expect((await running.pool.scan(inputOf(eicar()), never)).engine.name).toBe('clamd/2');
  });

  it('outlive a name service that is away', async () => {
    await using clamd = await startClamd();
    let isAway = false;
    const resolve = async () => {
      if (isAway) throw new Error('no answer');
      return [named(clamd, 'clamd:3310')];
    };
    await using running = startPool(['clamd:3310'], { resolve, canaryIntervalMs: 50 });
    await running.pool.ready(never);
    isAway = true;
    await clamd.restart();
    await running.pool.ready(never);
    expect((await running.pool.scan(inputOf(eicar()), never)).answer.kind).toBe('infected');
  });
});
