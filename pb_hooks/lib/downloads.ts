/**
 * Roughly how often a build was downloaded since it was opened: counted in memory, added to its check once a minute. A PocketBase that is
 * killed loses the last minute.
 */
import { CHECKS } from './checks.ts';
import { dateMs } from './dates.ts';

/** Builds that were downloaded since the last flush, each followed by a line break: what a store can hold for all runtimes is text. */
const LIST = 'av.downloads';
/** Few enough that one transaction does not hold up other writers. */
const BATCH = 500;

/** Notes one download. A thumbnail, a question about the size and the rest of a broken download are none. */
export function countDownload(app: CoreApp, build: string, request: http.Request, servedPath: string): void {
  if (request.method !== 'GET' || !beginsAtZero(request.header.get('Range')) || servedPath.includes('/thumbs_')) return;
  let isFirst = false;
  app.store().setFunc(keyOf(build), (count: unknown) => {
    isFirst = !count;
    return String(Number(count ?? 0) + 1);
  });
  if (isFirst) app.store().setFunc(LIST, (list: unknown) => `${list ?? ''}${build}\n`);
}

/** Adds what was counted to the checks, one write for each build. Past the record, since nobody is to be told of it. */
export function flushDownloads(app: CoreApp): void {
  let list = '';
  app.store().setFunc(LIST, (all: unknown) => {
    list = String(all ?? '');
    return '';
  });
  const builds = list.split('\n').filter((build) => build !== '');
  for (let from = 0; from < builds.length; from += BATCH) flushBatch(app, builds.slice(from, from + BATCH));
}

/** How often, and for how many seconds, it could be and was downloaded until now; to be asked before it is shut. */
export function exposureOf(app: CoreApp, check: core.Record, now: number): { openSeconds: number; downloads: number } {
  const since = dateMs(check.getString('opened_at'));
  const downloads = check.getInt('downloads') + uncountedDownloads(app, check.getString('build'));
  return { openSeconds: since === 0 ? 0 : Math.max(0, now - since) / 1000, downloads };
}

/** Those not yet added to its check. */
export function uncountedDownloads(app: CoreApp, build: string): number {
  return Number(app.store().get(keyOf(build)) ?? 0);
}

function flushBatch(app: CoreApp, builds: readonly string[]): void {
  const counts = Object.fromEntries(builds.map((build) => [build, uncountedDownloads(app, build)]));
  for (const build of builds) app.store().remove(keyOf(build));
  try {
    app
      .db()
      .newQuery(
        `UPDATE ${CHECKS} SET downloads = downloads + (SELECT CAST(value AS INTEGER) FROM json_each({:counts}) WHERE key = build)
         WHERE build IN (SELECT key FROM json_each({:counts}))`,
      )
      .bind({ counts: JSON.stringify(counts) })
      .execute();
  } catch (error) {
    app.logger().error('av: downloads could not be counted', 'builds', builds.length, 'error', String(error));
  }
}

/** A range that begins later continues a download that was counted when it began. */
function beginsAtZero(range: string): boolean {
  return range === '' || /^\s*bytes\s*=\s*0+\s*-/i.test(range);
}

function keyOf(build: string): string {
  return `av.downloads.${build}`;
}
