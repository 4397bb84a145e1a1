/** When a build that was judged is looked at again, should there be newer signatures by then. Pure: times are milliseconds. */

const DAY_MS = 24 * 3_600_000;
/** With the jitter on top of it, 30 days. */
const LONGEST_MS = 24 * DAY_MS;
/** Of the interval, how much jitter may add to it. */
const SPREAD = 1 / 4;

/**
 * The end of the interval that begins now: half the time since the present files of the build were first judged, at least a day, and up
 * to a quarter longer so that builds of one hour do not come back in one hour; never beyond 30 days. New signatures find what is new,
 * so the younger a file the likelier. `jitter` is from 0 to 1.
 */
export function nextRescanAt(firstJudgedAt: number, now: number, jitter: number): number {
  const interval = Math.min(LONGEST_MS, Math.max(DAY_MS, (now - firstJudgedAt) / 2));
  return Math.round(now + interval * (1 + jitter * SPREAD));
}
