/**
 * AV_GATE=monitor: everything leaves, and what would have been refused goes on record, once for each build and code
 * while PocketBase runs.
 */
import { CHECKS } from './checks.ts';
import type { Refused } from './gate.ts';
import { appendHistory } from './history.ts';
import { formatOf, policyLine, readPolicy } from './policy.ts';
import { allowUnscannable } from './settings.ts';
import type { HealthAnswer, WireFileVerdict } from './wire.ts';

const COUNTS = 'av.gate.wouldRefuse';

interface Counts {
  byCode: { [code: string]: number };
  byReason: { [reason: string]: number };
  /** Formats that a policy would have to name. */
  formats: string[];
}

interface Judged {
  check: string;
  formats: string[];
}

/** Downloads that would have been refused since PocketBase started, and the policy that would have let through what no engine can judge. */
export function wouldRefuse(app: CoreApp): HealthAnswer['wouldRefuse'] {
  const { byCode, byReason, formats } = countsIn(app.store().get(COUNTS));
  const total = Object.values(byCode).reduce((sum, count) => sum + count, 0);
  const policy = formats.length === 0 ? '' : policyLine([...readPolicy(allowUnscannable()).allowed, ...formats]);
  return { total, byCode, byReason, policy };
}

/** Never throws: the record is missing then, and the log says so. */
export function recordWouldRefuse(app: CoreApp, build: string, { code, reason }: Refused): void {
  try {
    const judged = judgedOf(app, build);
    app.store().setFunc(COUNTS, (kept: unknown) => JSON.stringify(added(countsIn(kept), code, reason, judged.formats)));
    // Without this an anonymous visitor could fill the history.
    const noted = `av.gate.noted.${build}.${code}`;
    if (app.store().has(noted)) return;
    app.runInTransaction((tx) => {
      appendHistory(tx, [{ event: 'would-refuse', check: judged.check, build, code, reason: reason || undefined }]);
    });
    app.store().set(noted, '1');
  } catch (error) {
    app
      .logger()
      .error('av: a download that would have been refused could not be recorded', 'build', build, 'code', code, 'error', String(error));
  }
}

function added(counts: Counts, code: string, reason: string, formats: readonly string[]): Counts {
  const { byCode, byReason } = counts;
  byCode[code] = (byCode[code] ?? 0) + 1;
  if (reason !== '') byReason[reason] = (byReason[reason] ?? 0) + 1;
  return { byCode, byReason, formats: [...new Set([...counts.formats, ...formats])] };
}

function countsIn(kept: unknown): Counts {
  return kept ? (JSON.parse(String(kept)) as Counts) : { byCode: {}, byReason: {}, formats: [] };
}

/** Its check, and the formats for which it could not be judged: of all its files, since a policy must name every one. */
function judgedOf(app: CoreApp, build: string): Judged {
  const rows = arrayOf(new DynamicModel({ id: '', files: '' }));
  app
    .db()
    .newQuery(
      `SELECT id, CASE WHEN status = 'error' AND reason LIKE 'unscannable:%' AND json_valid(files) THEN files ELSE '[]' END AS files
       FROM ${CHECKS} WHERE build = {:build} LIMIT 1`,
    )
    .bind({ build })
    .all(rows);
  const row = rows[0];
  if (!row) return { check: '', formats: [] };
  const files = (JSON.parse(String(row['files'])) ?? []) as WireFileVerdict[];
  return { check: String(row['id']), formats: files.map(({ reason }) => formatOf(reason ?? '')).filter((format) => format !== '') };
}
