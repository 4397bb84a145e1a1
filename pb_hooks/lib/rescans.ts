/** Rescans that nobody asked for: newer signatures may find what older ones did not. They change nothing but the order of waiting. */
import { inBatches } from './batches.ts';
import { appendLog, apply, CHECKS, stateOf } from './checks.ts';
import { dateText } from './dates.ts';
import { idsOf, recordsOf } from './leases.ts';
import { revisited } from './rules.ts';

const KNOWN = 'av.signatures';
/** The set for which all young builds wait for their rescan already. */
const SPREAD = 'av.signatures.spread';
/** First judged this long ago or less: scanned again at every change of signatures. What is malware mostly becomes known within days. */
const YOUNG_MS = 7 * 24 * 3_600_000;
/** No more wait at once: one that is asked for by hand then stands behind a few minutes of work, not behind all builds. */
const MAX_WAITING = 1_000;

/**
 * The lowest number among the engines of a worker. Kept in memory: the first claim after a restart tells it again, and what was judged
 * by this or a newer set is left alone. A worker whose engines have only test signatures names none.
 */
export function noteSignatures(app: CoreApp, signatures: number | null): void {
  if (signatures !== null && signatures > (knownSignatures(app) ?? 0)) app.store().set(KNOWN, String(signatures));
}

/** The newest set that a worker has named; null where none has. */
function knownSignatures(app: CoreApp): number | null {
  const known = app.store().get(KNOWN) as string | undefined;
  return known ? Number(known) : null;
}

/**
 * Of the sweep: makes young builds due after a change of signatures, and older ones whose interval has ended, as far as there is room.
 * A verdict by the older set that is stored after that, since its scan was under way, waits for the end of its first interval, a day.
 */
export function scheduleRescans(app: CoreApp): void {
  const known = knownSignatures(app);
  if (known === null) return;
  const now = Date.now();
  const room = MAX_WAITING - waitingRescans(app, now);
  if (room <= 0) return;
  const isSpread = app.store().get(SPREAD) === String(known);
  const young = isSpread ? [] : youngBuilds(app, known, now, room);
  const due = idsOf(
    app,
    `SELECT id FROM ${CHECKS} INDEXED BY idx_av_build_checks_revisit WHERE revisit_at != '' AND revisit_at <= {:now} ORDER BY revisit_at LIMIT {:room}`,
    { now: dateText(now), room: room - young.length },
  );
  inBatches(app, [...young, ...due], (tx, id) => revisit(tx, id, known));
  if (young.length < room) app.store().set(SPREAD, String(known));
}

/** The youngest first. */
function youngBuilds(app: CoreApp, known: number, now: number, limit: number): string[] {
  return idsOf(
    app,
    `SELECT id FROM ${CHECKS} INDEXED BY idx_av_build_checks_judged WHERE judged_at != '' AND judged_at > {:since} AND signatures < {:known}
     AND rescan_at = '' AND lease_until = '' ORDER BY judged_at DESC LIMIT {:limit}`,
    { since: dateText(now - YOUNG_MS), known, limit },
  );
}

function revisit(tx: CoreApp, id: string, known: number): void {
  const check = recordsOf(tx, [id])[0];
  if (!check) return;
  const now = Date.now();
  const judgedBy = check.getInt('signatures');
  const patch = revisited(stateOf(check), judgedBy < known, now, Math.random());
  if (patch.rescanAt === undefined) {
    // Plain SQL, since nothing has happened to the check that anybody follows.
    const at = dateText(patch.revisitAt!);
    tx.db().newQuery(`UPDATE ${CHECKS} SET revisit_at = {:at} WHERE id = {:id}`).bind({ at, id }).execute();
    return;
  }
  apply(check, patch);
  appendLog(check, now, `Signatures ${known} are newer than ${judgedBy || 'the test set'}, which judged it; it is scanned again.`);
  tx.saveNoValidate(check);
}

function waitingRescans(app: CoreApp, now: number): number {
  const row = new DynamicModel({ count: 0 });
  app
    .db()
    .newQuery(
      `SELECT COUNT(*) AS count FROM (SELECT 1 FROM ${CHECKS} INDEXED BY idx_av_build_checks_rescan
       WHERE rescan_at != '' AND rescan_at <= {:now} LIMIT ${MAX_WAITING})`,
    )
    .bind({ now: dateText(now) })
    .one(row);
  return Number(row['count']);
}
