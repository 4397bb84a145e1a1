/** Closing what a database holds open that is older than a finding. */
import { appendLog, apply, CHECKS, forgetVerdict, stateOf } from './checks.ts';
import { forgetFinished } from './counts.ts';
import { appendHistory, type HistoryRow } from './history.ts';
import type { HistoryEvent } from './history-entry.ts';
import type { Anchor } from './journal-lines.ts';
import { idsOf, recordsOf } from './leases.ts';
import { outdated } from './rules.ts';

const BATCH = 200;

/**
 * Closes these builds, or all where `builds` is null, as far as they are open, and queues them, all in one transaction with a row of the
 * history for each and one before them that is written in any case. `row`: the one that the history should have. Answers how many were
 * closed and the last row that was written.
 */
export function closeOutdated(app: CoreApp, builds: readonly string[] | null, row: number): { count: number; last: Anchor } {
  let written: HistoryRow[] = [];
  app.runInTransaction((tx) => {
    const note = `Row ${row} of the history is known and not there: the database is older than that, or was cut.`;
    const events: HistoryEvent[] = [{ event: 'restored', check: '', build: '', note }];
    const ids = openChecks(tx, builds);
    for (let from = 0; from < ids.length; from += BATCH) {
      for (const check of recordsOf(tx, ids.slice(from, from + BATCH))) events.push(closed(tx, check, note));
    }
    written = appendHistory(tx, events);
  });
  forgetFinished(app);
  const { seq, hash } = written[written.length - 1]!;
  return { count: written.length - 1, last: { seq, hash } };
}

function openChecks(tx: CoreApp, builds: readonly string[] | null): string[] {
  if (builds === null) return idsOf(tx, `SELECT id FROM ${CHECKS} WHERE open = TRUE`, {});
  const sql = `SELECT id FROM ${CHECKS} WHERE open = TRUE AND build IN (SELECT value FROM json_each({:builds}))`;
  return idsOf(tx, sql, { builds: JSON.stringify(builds) });
}

function closed(tx: CoreApp, check: core.Record, note: string): HistoryEvent {
  const now = Date.now();
  const state = stateOf(check);
  apply(check, outdated(state, now));
  forgetVerdict(check);
  appendLog(check, now, 'The database is older than a finding in this build; it is closed and scanned again.');
  tx.saveNoValidate(check);
  const open = check.getBool('open');
  return {
    event: 'restored',
    check: check.id,
    build: check.getString('build'),
    status: check.getString('status'),
    open,
    wasOpen: true,
    revision: state.revision,
    note,
  };
}
