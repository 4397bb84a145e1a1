/** Closing what a database holds open that is older than a finding. */
import { applyToAll, CHECKS } from './checks.ts';
import { forgetFinished } from './counts.ts';
import { appendHistory, type HistoryRow } from './history.ts';
import type { HistoryEvent } from './history-entry.ts';
import type { Anchor } from './journal-lines.ts';
import { outdated } from './rules.ts';

interface Open {
  readonly id: string;
  readonly build: string;
  readonly revision: number;
}

/**
 * Closes these builds, or all where `builds` is null, as far as they are open, and queues them, all in one transaction with a row of the
 * history for each and one before them that is written in any case. `row`: the one that the history should have. Answers how many were
 * closed and the last row that was written.
 */
export function closeOutdated(app: CoreApp, builds: readonly string[] | null, row: number): { count: number; last: Anchor } {
  let written: HistoryRow[] = [];
  app.runInTransaction((tx) => {
    const checks = openChecks(tx, builds);
    const patch = outdated(Date.now());
    const line = 'The database is older than a finding in this build, or may be; it is closed and scanned again.';
    applyToAll(
      tx,
      checks.map(({ id }) => id),
      patch,
      line,
    );
    const note = `Row ${row} of the history is known and not there: the database is older than that, or was cut.`;
    const closed = { event: 'restored', status: patch.status!, open: patch.open!, wasOpen: true, note } as const;
    const events = checks.map(({ id, build, revision }): HistoryEvent => ({ ...closed, check: id, build, revision }));
    written = appendHistory(tx, [{ event: 'restored', check: '', build: '', note }, ...events]);
  });
  forgetFinished(app);
  const { seq, hash } = written[written.length - 1]!;
  return { count: written.length - 1, last: { seq, hash } };
}

function openChecks(tx: CoreApp, builds: readonly string[] | null): Open[] {
  const rows = arrayOf(new DynamicModel({ id: '', build: '', revision: 0 }));
  const among = builds === null ? '' : ' AND build IN (SELECT value FROM json_each({:builds}))';
  tx.db()
    .newQuery(`SELECT id, build, revision FROM ${CHECKS} WHERE open = TRUE${among}`)
    .bind(builds === null ? {} : { builds: JSON.stringify(builds) })
    .all(rows);
  return rows.map((row) => ({ id: String(row['id']), build: String(row['build']), revision: Number(row['revision']) }));
}
