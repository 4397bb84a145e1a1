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

it('parks what kills the engine while more is uploaded than can be scanned', async () => {
  const uploads = Array.from({ length: 1_800 }, (_, at) => ({ at: at * 1_000, files: [{ nature: 'clean' as const, ms: 8_000 }] }));
  const poison = { at: 1, files: [{ nature: 'kills engine' as const, ms: 10 }] };
  const rows = await play({ seed: 1, builds: [poison, ...uploads], events: [] });
  const parked = rows.find((row) => row.id === 'b0');
  expect(parked).toMatchObject({ status: 'error', reason: 'engine-reply' });
  // Three times five minutes of patience, long before the last upload.
  expect(parked!.scanTime).toBeLessThan(20 * 60_000);
  expect(Math.max(...rows.map((row) => row.scanTime))).toBeGreaterThan(30 * 60_000);
}, 60_000);
