import { describe, expect, it } from 'vitest';
import { ScanError } from './errors.ts';
import type { ScanEvents } from './events.ts';
import { FakeQueue, FakeScanner, FakeStore, ManualClock, settled } from './fakes.ts';
import type { Answer } from './model.ts';
import { Worker } from './worker.ts';

const LEASE_MS = 60_000;
const POLL_MS = 5000;

function recorder() {
  const told: string[] = [];
  const events: ScanEvents = {
    claimed: () => {},
    judged: (check, verdict) => told.push(`${check.id} judged ${verdict.kind}`),
    givenBack: (check, code) => told.push(`${check.id} given back ${code}`),
    leftAlone: (check, error) => told.push(`${check.id} left alone ${error.code}`),
    callFailed: (call, error) => told.push(`${call} failed ${error.code}`),
  };
  return { told, events };
}

function setUp(options: { concurrency?: number } = {}) {
  const parts = { queue: new FakeQueue(), store: new FakeStore(), scanner: new FakeScanner(), clock: new ManualClock() };
  const { told, events } = recorder();
  const worker = new Worker({ concurrency: options.concurrency ?? 4, leaseMs: LEASE_MS, pollMs: POLL_MS }, { ...parts, events });
  const add = (id: string, sizes: readonly number[] = [10], suspect = false) => {
    const files = sizes.map((size, at) => ({ name: `${id}-${at}`, size: 0, bytes: new Uint8Array(size) }));
    for (const file of files) parts.store.files.set(file.name, file.bytes);
    parts.queue.add(
      id,
      files.map(({ name }) => ({ name, size: 0 })),
      suspect,
    );
  };
  return { ...parts, told, worker, add };
}

/** Scans that end only when the test says so, or when they are aborted. */
function held(scanner: FakeScanner) {
  const gate = Promise.withResolvers<Answer>();
  scanner.answer = (_bytes, signal) =>
    new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(new Error('torn off')), { once: true });
      gate.promise.then(resolve, reject);
    });
  return gate;
}

const outcomes = (queue: FakeQueue) =>
  queue.settlements.map(({ check, outcome }) => `${check.id} ${outcome.kind === 'verdict' ? outcome.verdict.kind : outcome.code}`);

describe('worker', () => {
  it('tells how far each running scan is', async () => {
    const { worker, add, scanner } = setUp();
    const gate = held(scanner);
    add('a', [70_000, 5]);
    worker.start();
    await settled();
    const files = [
      { name: 'a-0', size: 70_000, position: 70_000 },
      { name: 'a-1', size: 5, position: 5 },
    ];
    expect(worker.scans()).toEqual([{ check: 'a', build: expect.any(String), elapsedMs: 0, files }]);
    gate.resolve({ kind: 'clean' });
    await settled();
    expect(worker.scans()).toEqual([]);
    await worker.stop();
  });

  it('judges what it finds at its start, and what a notification tells it of, without waiting for a poll', async () => {
    const { worker, queue, add, told } = setUp();
    add('a');
    worker.start();
    await settled();
    expect(outcomes(queue)).toEqual(['a clean']);
    add('b');
    worker.notify();
    await settled();
    expect(told).toEqual(['a judged clean', 'b judged clean']);
    await worker.stop();
  });

  it('finds by polling what no notification told it of', async () => {
    const { worker, queue, clock, add } = setUp();
    worker.start();
    await clock.advance(POLL_MS);
    add('a');
    await clock.advance(POLL_MS - 1);
    expect(queue.settlements).toEqual([]);
    await clock.advance(1);
    expect(outcomes(queue)).toEqual(['a clean']);
    await worker.stop();
  });

  it('keeps a notification that arrives while a claim is in flight', async () => {
    const { worker, queue, add } = setUp();
    worker.start();
    worker.notify();
    await settled();
    add('a');
    worker.notify();
    worker.notify();
    await settled();
    expect(outcomes(queue)).toEqual(['a clean']);
    await worker.stop();
  });

  it('claims ahead up to its limits, says when it is alone, and never scans more files at once than allowed', async () => {
    const { worker, queue, clock, scanner, add } = setUp({ concurrency: 3 });
    for (let at = 0; at < 100; at++) add(`c${at}`);
    const gate = held(scanner);
    worker.start();
    await clock.advance(1000);
    expect(queue.claims).toEqual([{ max: 32, alone: true }]);
    expect(worker.state()).toMatchObject({ held: 32, scanning: 3 });
    gate.resolve({ kind: 'clean' });
    await clock.advance(1000);
    expect(queue.settlements).toHaveLength(100);
    expect(queue.claims.slice(1, 3).every((claim) => !claim.alone)).toBe(true);
    expect(scanner.mostInFlight).toBe(3);
    await worker.stop();
  });

  it('finishes what it has before it takes a suspect, and takes nothing beside it', async () => {
    const { worker, queue, clock, scanner, add } = setUp();
    add('a');
    const first = held(scanner);
    worker.start();
    await settled();
    add('suspect', [10], true);
    add('b');
    worker.notify();
    await settled();
    expect(queue.statusOf('suspect')).toBe('pending');
    const second = Promise.withResolvers<Answer>();
    scanner.answer = () => second.promise;
    first.resolve({ kind: 'clean' });
    await settled();
    expect(queue.statusOf('suspect')).toBe('scanning');
    worker.notify();
    await clock.advance(POLL_MS);
    expect(queue.statusOf('b')).toBe('pending');
    second.resolve({ kind: 'clean' });
    await clock.advance(POLL_MS);
    expect(outcomes(queue)).toEqual(['a clean', 'suspect clean', 'b clean']);
    await worker.stop();
  });

  it('renews all leases, waiting ones too, in one call at a third of the lease', async () => {
    const { worker, queue, clock, scanner, add } = setUp({ concurrency: 1 });
    for (const id of ['a', 'b', 'c']) add(id);
    held(scanner);
    worker.start();
    await clock.advance(LEASE_MS / 3);
    expect(queue.renewals).toEqual([['a', 'b', 'c']]);
    await clock.advance(LEASE_MS);
    expect(worker.state().held).toBe(3);
    await worker.kill();
  });

  it('aborts the scan whose lease is lost, stores nothing for it, and keeps the others', async () => {
    const { worker, queue, clock, scanner, add, told } = setUp();
    add('a');
    add('b');
    const gate = held(scanner);
    worker.start();
    await settled();
    queue.steal('a');
    await clock.advance(LEASE_MS / 3);
    expect(told).toEqual(['a left alone lease-lost']);
    gate.resolve({ kind: 'clean' });
    await settled();
    expect(outcomes(queue)).toEqual(['b clean']);
    await worker.stop();
  });

  it('aborts a scan whose lease could not be renewed in time by its own clock', async () => {
    const { worker, queue, clock, scanner, add, told } = setUp();
    add('a');
    held(scanner);
    worker.start();
    await settled();
    queue.failures.renew.push(...Array.from({ length: 100 }, () => new ScanError('store-unavailable', 'no answer')));
    await clock.advance(LEASE_MS - 1);
    expect(worker.state().held).toBe(1);
    await clock.advance(1);
    expect(told.filter((each) => each.startsWith('a'))).toEqual(['a left alone lease-lost']);
    expect(queue.settleCalls).toEqual([]);
    await worker.stop();
  });

  it('settles at once, gathers what becomes ready meanwhile into one call, and keeps one call in flight', async () => {
    const { worker, queue, clock, add } = setUp({ concurrency: 4 });
    for (let at = 0; at < 32; at++) add(`c${at}`);
    const gate = Promise.withResolvers<void>();
    queue.gate = gate.promise;
    worker.start();
    await settled();
    expect(queue.settleCalls).toHaveLength(1);
    gate.resolve();
    await clock.advance(25);
    expect(queue.settleCalls).toHaveLength(2);
    expect(queue.settleCalls.flat().toSorted()).toEqual(Array.from({ length: 32 }, (_, at) => `c${at}`).toSorted());
    await worker.stop();
  });

  it('repeats a settle that PocketBase did not answer, without a second scan', async () => {
    const { worker, queue, clock, store, add, told } = setUp();
    add('a');
    queue.failures.settle.push(new ScanError('store-unavailable', 'refused'), new ScanError('store-unavailable', 'refused'));
    worker.start();
    await clock.advance(5000);
    expect(told).toEqual(['settle failed store-unavailable', 'settle failed store-unavailable', 'a judged clean']);
    expect(store.opened).toEqual(['a-0']);
    await worker.stop();
  });

  it('stops repeating a settle once the lease is over', async () => {
    const { worker, queue, clock, add, told } = setUp();
    add('a');
    const down = () => Array.from({ length: 1000 }, () => new ScanError('store-unavailable', 'refused'));
    queue.failures.settle.push(...down());
    queue.failures.renew.push(...down());
    worker.start();
    await clock.advance(LEASE_MS * 2);
    expect(told.filter((each) => each.startsWith('a'))).toEqual(['a left alone lease-lost']);
    expect(worker.state().held).toBe(0);
    await worker.stop();
  });

  it('gives back as unexpected what PocketBase refuses as a verdict', async () => {
    const { worker, queue, add, told } = setUp();
    add('a');
    queue.refusing.add('a');
    worker.start();
    await settled();
    expect(outcomes(queue)).toEqual(['a unexpected']);
    expect(told).toEqual(['a given back unexpected']);
    await worker.stop();
  });

  it('settles each by itself when one item makes the whole call fail', async () => {
    const { worker, queue, clock, add, told } = setUp({ concurrency: 3 });
    for (const id of ['a', 'b', 'c']) add(id);
    const gate = Promise.withResolvers<void>();
    queue.gate = gate.promise;
    worker.start();
    await settled();
    expect(queue.settleCalls).toEqual([['a']]);
    queue.failures.settle.push(new ScanError('unexpected', 'it answered 400'), new ScanError('unexpected', 'it answered 400'));
    gate.resolve();
    await clock.advance(1000);
    expect(queue.settleCalls).toEqual([['a'], ['b', 'c', 'a'], ['b'], ['c'], ['a']]);
    expect(told).toEqual(['b judged clean', 'c judged clean', 'a given back unexpected']);
    await worker.stop();
  });

  it('claims nothing while no engine is ready', async () => {
    const { worker, queue, clock, scanner, add } = setUp();
    scanner.unready();
    add('a');
    worker.start();
    worker.notify();
    await clock.advance(LEASE_MS);
    expect(queue.claims).toEqual([]);
    scanner.becomeReady();
    await settled();
    expect(outcomes(queue)).toEqual(['a clean']);
    await worker.stop();
  });

  it('gives back what it claimed ahead when the engine goes away, and pauses', async () => {
    const { worker, queue, clock, scanner, store, add } = setUp({ concurrency: 1 });
    for (const id of ['a', 'b', 'c']) add(id);
    scanner.answer = () => Promise.reject(new ScanError('engine-unavailable', 'refused'));
    worker.start();
    await settled();
    await clock.advance(30);
    expect(outcomes(queue).toSorted()).toEqual(['a engine-unavailable', 'b engine-unavailable', 'c engine-unavailable']);
    expect(store.opened).not.toContain('c-0');
    add('d');
    worker.notify();
    await clock.advance(500);
    expect(queue.statusOf('d')).toBe('pending');
    scanner.answer = async () => ({ kind: 'clean' });
    await clock.advance(POLL_MS);
    expect(queue.settlementOf('d')?.outcome.kind).toBe('verdict');
    await worker.stop();
  });

  it('retries a failing claim with growing pauses that notifications do not shorten', async () => {
    const { worker, queue, clock, told } = setUp();
    queue.failures.claim.push(...Array.from({ length: 3 }, () => new ScanError('store-unavailable', 'refused')));
    worker.start();
    await settled();
    expect(worker.state()).toMatchObject({ ready: false, why: 'the last claim failed: refused' });
    worker.notify();
    await clock.advance(999);
    expect(queue.claims).toHaveLength(1);
    await clock.advance(1 + 2000 + 4000);
    expect(queue.claims).toHaveLength(4);
    expect(worker.state().ready).toBe(true);
    expect(told).toHaveLength(3);
    await worker.stop();
  });

  it('gives a check back uncounted when PocketBase cannot be reached for its files', async () => {
    const { worker, queue, store, add, told } = setUp();
    add('a');
    store.files.set('a-0', new ScanError('store-unavailable', 'refused'));
    worker.start();
    await settled();
    expect(told).toEqual(['a given back store-unavailable']);
    expect(outcomes(queue)).toEqual(['a store-unavailable']);
    await worker.stop();
  });
});

describe('stopping', () => {
  it('lets a running scan end and gives back at once what has not begun', async () => {
    const { worker, queue, clock, scanner, add } = setUp({ concurrency: 1 });
    add('a');
    add('b');
    const gate = held(scanner);
    worker.start();
    await settled();
    const stopped = worker.stop(20_000);
    expect(worker.stop()).toBe(stopped);
    await clock.advance(30);
    expect(outcomes(queue)).toEqual(['b interrupted']);
    gate.resolve({ kind: 'clean' });
    await clock.advance(30);
    await stopped;
    expect(outcomes(queue)).toEqual(['b interrupted', 'a clean']);
  });

  it('gives back a scan that needs longer than the drain time', async () => {
    const { worker, queue, clock, scanner, add } = setUp();
    add('a');
    held(scanner);
    worker.start();
    await settled();
    const stopped = worker.stop(20_000);
    await clock.advance(19_999);
    expect(queue.settlements).toEqual([]);
    await clock.advance(1);
    await stopped;
    expect(outcomes(queue)).toEqual(['a interrupted']);
  });

  it('gives everything back at once when told again', async () => {
    const { worker, queue, scanner, add } = setUp();
    add('a');
    held(scanner);
    worker.start();
    await settled();
    const stopped = worker.stop(20_000);
    await settled();
    expect(queue.settlements).toEqual([]);
    await worker.kill();
    await stopped;
    expect(outcomes(queue)).toEqual(['a interrupted']);
  });

  it('gives back what a claim in flight still brings', async () => {
    const { worker, queue, add } = setUp();
    add('a');
    worker.start();
    await worker.stop();
    expect(outcomes(queue)).toEqual(queue.claims.length > 0 ? ['a interrupted'] : []);
  });

  it('ends even when PocketBase takes nothing any more', async () => {
    const { worker, queue, clock, scanner, add } = setUp();
    add('a');
    held(scanner);
    worker.start();
    await settled();
    queue.failures.settle.push(...Array.from({ length: 100 }, () => new ScanError('store-unavailable', 'refused')));
    const stopped = worker.stop(1000);
    await clock.advance(1000 + 3000);
    await stopped;
    expect(worker.state().held).toBe(0);
  });

  it('does nothing before a start, and nothing starts after it', async () => {
    const { worker, queue, add } = setUp();
    add('a');
    await worker.stop();
    worker.start();
    await settled();
    expect(queue.claims).toEqual([]);
    expect(worker.state()).toMatchObject({ ready: false, why: 'it is stopping' });
  });
});
