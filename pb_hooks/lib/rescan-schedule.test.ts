import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextRescanAt } from './rescan-schedule.ts';

const day = 24 * 3_600_000;
const first = Date.UTC(2026, 0, 1);
const interval = (age: number, jitter = 0) => (nextRescanAt(first, first + age * day, jitter) - first) / day - age;

describe('the next rescan', () => {
  it.each([
    [0, 1],
    [2, 1],
    [4, 2],
    [10, 5],
    [48, 24],
    [1_000, 24],
  ])('%s days after the first verdict is %s days away', (age, days) => {
    expect(interval(age)).toBeCloseTo(days, 6);
  });

  it('is between 1 and 30 days away, whatever the clock does, and never nearer for an older build', () => {
    const ages = fc.integer({ min: -100 * day, max: 10_000 * day });
    fc.assert(
      fc.property(ages, ages, fc.double({ min: 0, max: 1, noNaN: true }), (one, other, jitter) => {
        const [young, old] = [Math.min(one, other), Math.max(one, other)].map(
          (age) => nextRescanAt(first, first + age, jitter) - first - age,
        );
        expect(young).toBeGreaterThanOrEqual(day);
        expect(old).toBeLessThanOrEqual(30 * day);
        expect(young).toBeLessThanOrEqual(old! + 1);
      }),
    );
  });

  it('spreads by a quarter', () => {
    expect(interval(10, 1)).toBeCloseTo(6.25, 6);
    expect(interval(1_000, 1)).toBeCloseTo(30, 6);
  });
});
