/** Leases: who holds one, and what happens to those that ran out. */
import { appendLog, apply, CHECKS, stateOf } from './checks.ts';
import { forgetFinished } from './counts.ts';
import { dateText } from './dates.ts';
import { appendHistory, failedEvent } from './history.ts';
import { type CheckState, hasGivenUp, isRescan, lapsed } from './rules.ts';

/** Last MAX_RETRIES that a worker named, for leases that run out while no worker asks. */
const MAX_RETRIES_NOTE = 'av.maxRetries';
const DEFAULT_MAX_RETRIES = 3;
export const MAX_LEASE_SECONDS = 3_600;
/** Until the next try with a check that cannot be saved. */
const SET_ASIDE_MS = 300_000;

/** Notes in memory that the files of a lease were asked for: it costs no write, and a note lost with PocketBase counts as not begun. */
export function noteBegun(app: CoreApp, token: string): void {
  app.store().set(begunKey(token), '1');
}

export function forgetBegun(app: CoreApp, token: string): void {
  app.store().remove(begunKey(token));
}

/** Notes that these leases are being renewed, until their renewal is written: while a backup runs, nothing is. */
export function noteRenewing(app: CoreApp, tokens: readonly string[]): void {
  for (const token of tokens) app.store().set(renewingKey(token), '1');
}

export function forgetRenewing(app: CoreApp, tokens: readonly string[]): void {
  for (const token of tokens) app.store().remove(renewingKey(token));
}

export function noteMaxRetries(app: CoreApp, maxRetries: number): void {
  app.store().set(MAX_RETRIES_NOTE, String(maxRetries));
}

export function notedMaxRetries(app: CoreApp): number {
  return Number(app.store().get(MAX_RETRIES_NOTE) ?? DEFAULT_MAX_RETRIES);
}

/** Whether the token is the one of a lease that has not ended. An expired lease that nobody took over still holds. */
export function holds(check: core.Record, token: string): boolean {
  return token !== '' && check.getString('lease_until') !== '' && $security.equal(check.getString('lease_token'), token);
}

/** Whether the token is the one of the last lease, which its holder has ended. */
export function hasEnded(check: core.Record, token: string): boolean {
  return token !== '' && check.getString('lease_until') === '' && $security.equal(check.getString('lease_token'), token);
}

/** Ends every lease that has run out, or that a clock has granted which was ahead. Within the caller's transaction. */
export function endLapsedLeases(tx: CoreApp, maxRetries: number, now: number): void {
  const ids = idsOf(
    tx,
    `SELECT id FROM ${CHECKS} INDEXED BY idx_av_build_checks_lease WHERE lease_until != '' AND (lease_until < {:now} OR lease_until > {:latest}) LIMIT 500`,
    { now: dateText(now), latest: dateText(now + 2 * MAX_LEASE_SECONDS * 1000) },
  );
  for (const check of recordsOf(tx, ids)) {
    const state = stateOf(check);
    // Whoever asks for a renewal is alive: the lease ran out because PocketBase wrote nothing for so long.
    const begun = tx.store().has(begunKey(state.leaseToken)) && !tx.store().has(renewingKey(state.leaseToken));
    const patch = lapsed(state, begun, maxRetries, now, Math.random());
    forgetBegun(tx, state.leaseToken);
    apply(check, patch);
    appendLog(check, now, `The lease of ${state.worker} ran out${begun ? ' after it had asked for the files' : ' before it had begun'}.`);
    if (!savedOrSetAside(tx, check, state, now)) continue;
    if (hasGivenUp(patch)) {
      forgetFinished(tx);
      appendHistory(tx, [{ ...failedEvent(check, state, 'lease-expired', now), check: check.id, build: check.getString('build') }]);
    }
  }
}

/**
 * Saves it, within the caller's transaction. Where a hook of the host refuses that, it is as `before` and without a lease, by plain SQL,
 * and waits for a later turn: standing at the head of the queue it would keep all others from theirs.
 */
export function savedOrSetAside(tx: CoreApp, check: core.Record, before: CheckState, now: number): boolean {
  try {
    tx.saveNoValidate(check);
    return true;
  } catch (error) {
    tx.logger().error('av: a check could not be saved and waits for a later turn', 'check', check.id, 'error', String(error));
    const rescan = isRescan(before);
    tx.db()
      .newQuery(
        `UPDATE ${CHECKS} SET lease_token = '', lease_until = '', status = {:status}, pending_since = {:since}, ${rescan ? 'rescan_at' : 'not_before'} = {:later}
         WHERE id = {:id}`,
      )
      .bind({
        id: check.id,
        status: rescan ? before.status : 'pending',
        since: dateText(before.pendingSince),
        later: dateText(now + SET_ASIDE_MS),
      })
      .execute();
    return false;
  }
}

/** How many leases live, and whether one of them is a suspect's, which must be scanned alone. */
export function liveLeases(tx: CoreApp): { count: number; suspect: boolean } {
  const row = new DynamicModel({ count: 0, suspects: 0 });
  tx.db()
    .newQuery(
      `SELECT COUNT(*) AS count, COALESCE(SUM(suspect), 0) AS suspects FROM ${CHECKS} INDEXED BY idx_av_build_checks_lease WHERE lease_until != ''`,
    )
    .one(row);
  return { count: Number(row['count']), suspect: Number(row['suspects']) > 0 };
}

export function idsOf(app: CoreApp, sql: string, params: { [name: string]: unknown }): string[] {
  const rows = arrayOf(new DynamicModel({ id: '' }));
  app.db().newQuery(sql).bind(params).all(rows);
  return rows.map((row) => String(row['id']));
}

/** The checks with these ids, in their order. */
export function recordsOf(app: CoreApp, ids: readonly string[]): core.Record[] {
  if (ids.length === 0) return [];
  const byId = new Map(app.findRecordsByIds(CHECKS, [...ids]).map((record) => [record!.id, record!]));
  return ids.flatMap((id) => byId.get(id) ?? []);
}

function renewingKey(token: string): string {
  return `av.renewing.${token}`;
}

function begunKey(token: string): string {
  return `av.begun.${token}`;
}
