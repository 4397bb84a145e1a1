/** GET /api/av/builds/{id}: where a build stands, for whoever may view it. */
import { buildsCollectionId, CHECKS, HISTORY } from './checks.ts';
import { dateMs } from './dates.ts';
import { uncountedDownloads } from './downloads.ts';
import { READABLE_ENTRY } from './history.ts';
import { remembered } from './memo.ts';
import { isReason, reasons } from './reasons.ts';
import type { Status } from './rules.ts';
import type { BuildAnswer } from './wire.ts';

/** Counting stops here: further back in the queue the number says nothing to anybody. */
const MAX_POSITION = 1_000;
const USUAL_SAMPLES = 50;
/** Of the newest rows of the history, among which the samples are looked for. */
const USUAL_ROWS = 200;
const USUAL_MS = 10_000;

/** Throws 404 for a build that is not there and for one that the asker may not see. */
export function buildStatus(e: core.RequestEvent): void {
  const build = visibleBuild(e);
  e.response.header().set('Cache-Control', 'private, no-store');
  e.json(200, answerOf(e.app, build, e.hasSuperuserAuth()));
}

/** The rule of the builds collection decides, as it does for the record itself; without one superusers alone see it. */
function visibleBuild(e: core.RequestEvent): core.Record {
  const build = e.app.findRecordsByIds(buildsCollectionId(e.app), [e.request!.pathValue('id')])[0];
  const rule = build?.collection().viewRule ?? null;
  if (!build || !e.app.canAccessRecord(build, e.requestInfo()!, rule as string)) throw new NotFoundError();
  return build;
}

function answerOf(app: CoreApp, build: core.Record, superuser: boolean): BuildAnswer {
  const columns = {
    id: '',
    status: '',
    open: false,
    reason: '',
    virus_name: '',
    pending_since: '',
    scan_time: '',
    updated: '',
    downloads: 0,
  };
  const rows = arrayOf(new DynamicModel(columns));
  app
    .db()
    .newQuery(`SELECT ${Object.keys(columns).join()} FROM ${CHECKS} WHERE build = {:build}`)
    .bind({ build: build.id })
    .all(rows);
  const check = rows[0];
  const common = { build: build.id, collection: build.collection().name, usualSeconds: usualSeconds(app) };
  // The sweep makes the missing check within a minute.
  if (!check) return { ...common, check: null, status: 'pending', open: false, reason: '', position: null, since: null };
  const cell = (name: keyof typeof columns) => String(check[name]);
  const status = cell('status') as Status;
  const waits = status === 'pending' || status === 'scanning';
  const since = dateMs(cell(waits ? 'pending_since' : 'scan_time')) || dateMs(cell('updated'));
  return {
    ...common,
    check: cell('id'),
    status,
    open: check['open'] === true,
    reason: cell('reason'),
    ...wordsFor(cell('reason')),
    position: status === 'pending' ? positionOf(app, cell('id'), cell('pending_since')) : null,
    since: since === 0 ? null : new Date(since).toISOString(),
    ...(superuser && { virusName: cell('virus_name'), downloads: Number(check['downloads']) + uncountedDownloads(app, build.id) }),
  };
}

function wordsFor(reason: string): Pick<BuildAnswer, 'text'> {
  if (!isReason(reason) || !(reason === 'no-files' || reason.startsWith('unscannable:'))) return {};
  return { text: reasons[reason].join(' ') };
}

/** 1 for the one that comes next, were all equal: who is set apart or backs off is counted like the others. */
function positionOf(app: CoreApp, check: string, since: string): BuildAnswer['position'] {
  const row = new DynamicModel({ ahead: 0 });
  app
    .db()
    .newQuery(
      `SELECT COUNT(*) AS ahead FROM (SELECT 1 FROM ${CHECKS} INDEXED BY idx_av_build_checks_pending
       WHERE status = 'pending' AND (pending_since, id) < ({:since}, {:check}) LIMIT {:limit})`,
    )
    .bind({ since, check, limit: MAX_POSITION })
    .one(row);
  const ahead = Number(row['ahead']);
  return ahead < MAX_POSITION ? ahead + 1 : '>1000';
}

/** From upload to verdict, the median of the last verdicts; null before the first one. */
function usualSeconds(app: CoreApp): number | null {
  return remembered(app, 'av.usual', USUAL_MS, () => {
    const rows = arrayOf(new DynamicModel({ waited: -0 }));
    app
      .db()
      .newQuery(
        `SELECT json_extract(entry, '$.waited') AS waited
         FROM (SELECT seq, ${READABLE_ENTRY} AS entry FROM ${HISTORY} ORDER BY seq DESC LIMIT ${USUAL_ROWS})
         WHERE json_extract(entry, '$.event') = 'settled' AND json_type(entry, '$.waited') IN ('integer', 'real') ORDER BY seq DESC LIMIT ${USUAL_SAMPLES}`,
      )
      .all(rows);
    const waits = rows.map((row) => Number(row['waited'])).sort((a, b) => a - b);
    const median = waits[Math.floor(waits.length / 2)];
    return median === undefined ? null : Math.round(median * 10) / 10;
  });
}
