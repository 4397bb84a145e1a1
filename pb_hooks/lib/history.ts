/**
 * The append-only record of what was decided. Each row carries HMAC-SHA256(hash of the row before + its own entry, AV_HISTORY_KEY),
 * so that a changed, missing or inserted row is found by whoever holds the key.
 */
import { HISTORY } from './checks.ts';
import { dateText } from './dates.ts';
import { chainText } from './history-chain.ts';
import { entryText, type HistoryEvent, waitedSeconds } from './history-entry.ts';
import { type CheckState, isRescan } from './rules.ts';
import { secret } from './settings.ts';

/** What PocketBase makes its own ids of. */
const ID_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** Why no entry can be written, or null. Without a key nothing is ever settled, so the gate stays shut. */
export function historyProblem(): string | null {
  return secret('AV_HISTORY_KEY') === ''
    ? 'AV_HISTORY_KEY is not set: no verdict can be recorded, so nothing is let through. Set it to a long random text.'
    : null;
}

/** An event as it was written down. */
export interface HistoryRow {
  readonly seq: number;
  readonly hash: string;
  readonly event: HistoryEvent;
}

/**
 * Appends the events in their order, within the caller's transaction, and answers the rows: hand them to `keepClosings` once it is
 * committed. Throws without a key.
 */
export function appendHistory(tx: CoreApp, events: readonly HistoryEvent[]): HistoryRow[] {
  if (events.length === 0) return [];
  const problem = historyProblem();
  if (problem) throw new Error(problem);
  const key = secret('AV_HISTORY_KEY');
  let { seq, hash } = lastRow(tx);
  const created = dateText(Date.now());
  // Plain SQL, since nobody follows the history live: a fifth of the cost of a record, paid for every verdict.
  const insert = tx
    .db()
    .newQuery(`INSERT INTO ${HISTORY} (id, seq, entry, hash, created) VALUES ({:id}, {:seq}, {:entry}, {:hash}, {:created})`);
  return events.map((event) => {
    const entry = entryText(event, created);
    seq += 1;
    hash = $security.hs256(chainText(hash, entry), key);
    insert.bind({ id: $security.randomStringWithAlphabet(15, ID_ALPHABET), seq, entry, hash, created }).execute();
    return { seq, hash, event };
  });
}

/** Whether rows that were appended can be read back; false where there are none. */
export function areStored(app: CoreApp, rows: readonly HistoryRow[]): boolean {
  const written = rows[rows.length - 1];
  const last = lastRow(app, written?.seq);
  return written !== undefined && last.seq === written.seq && last.hash === written.hash;
}

/**
 * SQL for an entry that JSON functions can look into, whatever was written over it: one that is no JSON would make the whole query fail,
 * and with it the pages of people whose builds it is not about.
 */
export const READABLE_ENTRY = `CASE WHEN json_valid(entry) THEN entry ELSE '{}' END`;

/** The end of all retries: of a check, or of a rescan, which leaves the check as it stands. `before`: its state until then. */
export function failedEvent(check: core.Record, before: CheckState, reason: string, now: number): Omit<HistoryEvent, 'check' | 'build'> {
  return {
    event: 'failed',
    status: check.getString('status'),
    open: check.getBool('open'),
    reason,
    rescan: isRescan(before),
    revision: before.revision,
    waited: waitedSeconds(before, now),
    worker: before.worker,
  };
}

/** The highest revision on record of each of these builds that has any. Reads the whole history: for the rare check that is missing. */
export function lastRevisions(app: CoreApp, builds: readonly string[]): Map<string, number> {
  const rows = arrayOf(new DynamicModel({ build: '', revision: 0 }));
  app
    .db()
    .newQuery(
      `SELECT json_extract(entry, '$.build') AS build, MAX(json_extract(entry, '$.revision')) AS revision
       FROM (SELECT ${READABLE_ENTRY} AS entry FROM ${HISTORY})
       WHERE json_type(entry, '$.revision') = 'integer' AND json_extract(entry, '$.build') IN (SELECT value FROM json_each({:builds}))
       GROUP BY 1`,
    )
    .bind({ builds: JSON.stringify(builds) })
    .all(rows);
  return new Map(rows.map((row) => [String(row['build']), Number(row['revision'])]));
}

function lastRow(tx: CoreApp, upTo = Number.MAX_SAFE_INTEGER): { seq: number; hash: string } {
  const rows = arrayOf(new DynamicModel({ seq: 0, hash: '' }));
  tx.db().newQuery(`SELECT seq, hash FROM ${HISTORY} WHERE seq <= {:upTo} ORDER BY seq DESC LIMIT 1`).bind({ upTo }).all(rows);
  const last = rows[0];
  return last ? { seq: Number(last['seq']), hash: String(last['hash']) } : { seq: 0, hash: '' };
}
