/** How many checks there are in which state. The scanner and each open page ask every few seconds, however little happens. */
import { CHECKS } from './checks.ts';
import { forget, rememberedUntilWritten } from './memo.ts';
import { type Status, statuses } from './rules.ts';
import type { HealthAnswer } from './wire.ts';

const FINISHED = 'av.finished';
/** Counting reads every finished check: 9 ms for 100,000 of them (two slow cores). */
const FINISHED_MS = 5_000;

interface Counts {
  byStatus: HealthAnswer['counts'];
  /** Of the checks in `error`. */
  byReason: HealthAnswer['reasons'];
}

/**
 * What waits or is being scanned is counted each time. What is finished is counted again once something was written, and may be five
 * seconds old where raw SQL or the dashboard changed it.
 */
export function countChecks(app: CoreApp): Counts {
  const finished = rememberedUntilWritten(app, FINISHED, FINISHED_MS, () => ({
    byStatus: countBy(app, 'status', "status IN ('clean', 'infected', 'error')"),
    byReason: countBy(app, 'reason', "status = 'error'"),
  }));
  const none = Object.fromEntries(statuses.map((status) => [status, 0])) as Record<Status, number>;
  const unfinished = countBy(app, 'status', "status IN ('pending', 'scanning')");
  return { byStatus: { ...none, ...finished.byStatus, ...unfinished }, byReason: finished.byReason };
}

/** To be called once the transaction is committed in which a check was finished, begun anew or deleted. */
export function forgetFinished(app: CoreApp): void {
  forget(app, FINISHED);
}

function countBy(app: CoreApp, column: 'status' | 'reason', where: string): { [value: string]: number } {
  const rows = arrayOf(new DynamicModel({ value: '', count: 0 }));
  app.db().newQuery(`SELECT ${column} AS value, COUNT(*) AS count FROM ${CHECKS} WHERE ${where} GROUP BY ${column}`).all(rows);
  return Object.fromEntries(rows.map((row) => [String(row['value']), Number(row['count'])]));
}
