/** What is in a bbolt database, asked of the bbolt program. A killed build leaves one that Trivy accepts and that finds nothing. */
import { basename, dirname } from 'node:path';
import { BuildFailure } from './build-error.ts';
import type { BuildRecord } from './model.ts';
import type { Run } from './programs.ts';

export type Rows = NonNullable<BuildRecord['rows']>;

/** Buckets that trivy-db deletes as its last step (`cleanup` in its pkg/vulndb/db.go). */
const unfinished = ['vulnerability-id', 'vulnerability-detail', 'advisory-detail'];
const always = ['vulnerability', 'data-source'];

const ADVICE = 'Start the build again; if it repeats, look at the log.';

/** Throws a BuildFailure unless trivy-db went through to its end and there are rows; counts them by bucket of the first level. */
export async function inspectDatabase(bbolt: string, database: string, run: Run, progress: (share: number) => void): Promise<Rows> {
  const buckets = await listing(bbolt, ['buckets', basename(database)], database, run);
  const left = unfinished.filter((name) => buckets.includes(name));
  if (left.length > 0)
    throw new BuildFailure(`The database is not finished: ${left.join(', ')} is still in it. It is not published. ${ADVICE}`);
  const missing = always.filter((name) => !buckets.includes(name));
  if (missing.length > 0)
    throw new BuildFailure(
      `The database has no ${missing.join(' and no ')}. It is not published. Check that the lists in TRIVY_DB_CACHE_DIR are whole.`,
    );
  return countRows(bbolt, database, buckets, run, progress);
}

/** Rows are keys that are not buckets themselves. */
export async function countAll(bbolt: string, database: string, run: Run): Promise<number> {
  return count(bbolt, database, '', run);
}

/**
 * `bbolt stats` counts all buckets whose name begins with what it is given; so the longest names are counted first, and what was
 * counted for `alpine 3.20` is taken off `alpine 3.2`.
 */
async function countRows(
  bbolt: string,
  database: string,
  buckets: readonly string[],
  run: Run,
  progress: (share: number) => void,
): Promise<Rows> {
  const counted = new Map<string, number>();
  for (const name of buckets.toSorted((a, b) => b.length - a.length)) {
    const withLonger = await count(bbolt, database, name, run);
    const longer = [...counted].filter(([each]) => each.startsWith(name)).reduce((sum, [, rows]) => sum + rows, 0);
    counted.set(name, withLonger - longer);
    progress(counted.size / buckets.length);
  }
  const bySource = Object.fromEntries([...counted].sort(([a], [b]) => (a < b ? -1 : 1)));
  return { total: [...counted.values()].reduce((sum, rows) => sum + rows, 0), bySource };
}

async function count(bbolt: string, database: string, prefix: string, run: Run): Promise<number> {
  const lines = await listing(bbolt, ['stats', basename(database), ...(prefix === '' ? [] : [prefix])], database, run);
  const number = (label: RegExp) => Number(lines.map((line) => label.exec(line)?.[1]).find((found) => found !== undefined) ?? Number.NaN);
  const first = number(/^Aggregate statistics for (\d+) buckets/);
  const keys = number(/^\s*Number of keys\/value pairs: (\d+)/);
  const all = number(/^\s*Total number of buckets: (\d+)/);
  const rows = keys - (all - first);
  if (!Number.isSafeInteger(rows))
    throw new BuildFailure('bbolt says nothing that could be understood of the database. Use the pinned bbolt: unset BBOLT_BIN.');
  return rows;
}

async function listing(bbolt: string, args: readonly string[], database: string, run: Run): Promise<string[]> {
  const lines: string[] = [];
  const onLine = (text: string, from: 'stdout' | 'stderr') => {
    if (from === 'stderr') return text;
    lines.push(text);
    return null;
  };
  await run('bbolt', bbolt, args, { cwd: dirname(database), onLine, advice: `The database is damaged. It is not published. ${ADVICE}` });
  return lines;
}

/** Buckets of so few rows come and go; a larger one does not lose its rows without a fault. */
const MIN_BUCKET_ROWS = 1000;

/** A sentence with the next step when too many rows are gone since `before`; null when they are not. */
export function shrinkage(now: Rows, before: Rows, minPercent: number): string | null {
  const tooFew = (rows: number, rowsBefore: number) => rows * 100 < rowsBefore * minPercent;
  const advice =
    'The published one stays. Check that the lists were fetched whole; if it is right so, set TRIVY_DB_MIN_ROWS_PERCENT lower for one build.';
  if (tooFew(now.total, before.total))
    return `The database has ${now.total.toLocaleString('en')} rows, and the last one with these sources had ${before.total.toLocaleString('en')}. ${advice}`;
  const gone = Object.entries(before.bySource).filter(([name, rows]) => rows >= MIN_BUCKET_ROWS && tooFew(now.bySource[name] ?? 0, rows));
  if (gone.length === 0) return null;
  const shown = gone
    .slice(0, 5)
    .map(([name, rows]) => `${name}: ${(now.bySource[name] ?? 0).toLocaleString('en')} rows, before ${rows.toLocaleString('en')}`);
  return `Rows are gone from ${gone.length === 1 ? 'a source' : `${gone.length} sources`} (${shown.join('; ')}). ${advice}`;
}
