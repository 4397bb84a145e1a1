/**
 * AV_GATE=monitor: everything leaves, and what would have been refused goes on record, once for each build and code
 * while PocketBase runs.
 */
import { CHECKS } from './checks.ts';
import { appendHistory } from './history.ts';

const COUNT = 'av.gate.wouldRefuse';

/** Downloads that would have been refused since PocketBase started. */
export function wouldRefuseCount(app: CoreApp): number {
  return Number(app.store().get(COUNT) ?? 0);
}

/** Never throws: the record is missing then, and the log says so. */
export function recordWouldRefuse(app: CoreApp, build: string, code: string): void {
  try {
    app.store().setFunc(COUNT, (count: unknown) => String(Number(count ?? 0) + 1));
    // Without this an anonymous visitor could fill the history.
    const noted = `av.gate.noted.${build}.${code}`;
    if (app.store().has(noted)) return;
    app.runInTransaction((tx) => {
      appendHistory(tx, [{ event: 'would-refuse', check: checkOf(tx, build), build, code }]);
    });
    app.store().set(noted, '1');
  } catch (error) {
    app
      .logger()
      .error('av: a download that would have been refused could not be recorded', 'build', build, 'code', code, 'error', String(error));
  }
}

function checkOf(app: CoreApp, build: string): string {
  const rows = arrayOf(new DynamicModel({ id: '' }));
  app.db().newQuery(`SELECT id FROM ${CHECKS} WHERE build = {:build} LIMIT 1`).bind({ build }).all(rows);
  return rows[0] ? String(rows[0]['id']) : '';
}
