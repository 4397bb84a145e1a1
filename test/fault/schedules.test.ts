/** The real worker and the real rules on a simulated clock, through schedules that no test against real parts would ever meet. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { play, schedules } from '../chaos/simulation/schedule.ts';

const BUDGET_MS = 15_000;

it('brings every check to its right end, once, whatever dies, sleeps, changes or gets lost meanwhile', async () => {
  let played = 0;
  const property = fc.asyncProperty(schedules, async (schedule) => {
    await play(schedule);
    played++;
  });
  await fc.assert(property, { numRuns: Number.MAX_SAFE_INTEGER, interruptAfterTimeLimit: BUDGET_MS, markInterruptAsFailure: false });
  expect(played).toBeGreaterThan(100);
}, 60_000);
