import { expect, it } from 'vitest';
import { ScanError } from './errors.ts';
import { FakeVoids, ManualClock, settled } from './fakes.ts';
import type { Lie } from './model.ts';
import { Voider } from './voider.ts';

const lie = (engine: string): Lie => ({ engine, since: '2026-01-02T00:00:00.000Z', reason: 'it misses EICAR' });

function setUp() {
  const clock = new ManualClock();
  const voids = new FakeVoids();
  const told: string[] = [];
  const voider = new Voider({
    voids,
    clock,
    events: {
      voided: ({ engine }, { closed, rescanned }) => told.push(`${engine}: ${closed} closed, ${rescanned} rescanned`),
      voidFailed: ({ engine }, error) => told.push(`${engine}: ${error.message}`),
    },
  });
  const stop = new AbortController();
  return { clock, voids, told, voider, stop, running: voider.run(stop.signal) };
}

it('tells of a lie at once, and once', async () => {
  const { clock, voids, told, voider } = setUp();
  voids.judged('a', '2026-01-02T00:00:10.000Z', 'clean');
  voider.report(lie('a'));
  await settled();
  expect(told).toEqual(['a: 1 closed, 0 rescanned']);
  expect(voider.waiting).toEqual([]);
  await clock.advance(3_600_000);
  expect(voids.calls).toEqual([lie('a')]);
});

it('repeats it with growing pauses until PocketBase has taken it', async () => {
  const { clock, voids, told, voider } = setUp();
  voids.failures.push(...Array.from({ length: 8 }, () => new ScanError('store-unavailable', 'away')));
  voider.report(lie('a'));
  await settled();
  expect(voider.waiting).toEqual([lie('a')]);
  await clock.advance(7_000);
  expect(voids.calls.length).toBe(3);
  await clock.advance(600_000);
  expect(told.slice(-2)).toEqual(['a: away', 'a: 0 closed, 0 rescanned']);
  expect(voids.calls.length).toBe(9);
  expect(voider.waiting).toEqual([]);
});

it('lets no lie wait for another that is refused', async () => {
  const { clock, voids, told, voider } = setUp();
  voids.failures.push(new ScanError('unexpected', 'refused'));
  voider.report(lie('a'));
  voider.report(lie('b'));
  await settled();
  expect(told).toEqual(['a: refused', 'b: 0 closed, 0 rescanned']);
  await clock.advance(60_000);
  expect(told.at(-1)).toBe('a: 0 closed, 0 rescanned');
});

it('stops when it is told to, with what still waits', async () => {
  const { voids, voider, stop, running } = setUp();
  voids.failures.push(new ScanError('store-unavailable', 'away'));
  voider.report(lie('a'));
  await settled();
  stop.abort(new Error('enough'));
  await running;
  expect(voider.waiting).toEqual([lie('a')]);
});
