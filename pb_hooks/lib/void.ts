/**
 * POST /api/av/void: an engine answered a canary wrongly, so nothing counts that it has said since it last answered it right. All gates
 * that its word has opened are shut in one transaction; what follows for each check comes after that, a few at a time.
 */
import { appendLog, apply, CHECKS, forgetVerdict, stateOf } from './checks.ts';
import { forgetFinished } from './counts.ts';
import { dateMs, dateText } from './dates.ts';
import { exposureOf } from './downloads.ts';
import { appendHistory, type HistoryRow, historyProblem } from './history.ts';
import type { HistoryEvent } from './history-entry.ts';
import { bodyOf, refusal } from './http.ts';
import { keepClosings } from './journal.ts';
import { recordsOf } from './leases.ts';
import { notifyQuietly } from './notify.ts';
import { isUnprintable } from './people.ts';
import { voided } from './rules.ts';
import { momentOf, text } from './text.ts';
import { noteVoid, VOIDS } from './void-record.ts';
import type { VoidAnswer } from './wire.ts';

/** Few enough that one transaction does not hold up other writers. */
const BATCH = 100;
/** Of work on the checks, once every gate is shut; the sweep does the rest. */
const ROUTE_MS = 5_000;
const SWEEP_MS = 30_000;
const MIN_REASON = 3;
const MAX_REASON = 500;

interface Void {
  id: string;
  engine: string;
  /** Milliseconds. */
  since: number;
  reason: string;
  by: string;
}

interface Touched {
  id: string;
  build: string;
  /** It is open on the word of the engine alone. */
  shuts: boolean;
  /** It stays closed, or open by a person's release, and is to be looked at again. */
  waits: boolean;
}

/** Throws 503 where the decision cannot be put on record; then nothing is changed. */
export function voidVerdicts(e: core.RequestEvent): void {
  const body = bodyOf(e);
  const engine = text(body['engine'], 500);
  if (engine === '') throw refusal(400, 'engine must be the name of an engine.', 'engine', 'invalid');
  const reason = shownReason(body['reason']);
  if (reason === '') throw refusal(400, `reason must be a text of at least ${MIN_REASON} characters.`, 'reason', 'invalid');
  const since = body['since'] === undefined ? null : momentOf(body['since']);
  if (since !== null && Number.isNaN(since)) throw refusal(400, 'since must be an ISO 8601 moment in UTC.', 'since', 'invalid');
  const problem = historyProblem();
  if (problem) throw refusal(503, problem, 'history', 'history_key_missing');
  const { answer, entry } = shutAll(e.app, { engine, since, reason, by: e.auth!.email() });
  try {
    finish(e.app, entry, Date.now() + ROUTE_MS);
  } catch (error) {
    // The gates are shut; the sweep tries again.
    e.app.logger().error('av: what follows from a void could not be stored', 'engine', engine, 'error', String(error));
  }
  e.app.logger().warn('av: what an engine said is void', 'engine', engine, 'since', dateText(entry.since), 'closed', answer.closed);
  e.json(200, answer);
}

/** Voids whose checks are not all dealt with yet. */
export function finishVoids(app: CoreApp): void {
  const rows = arrayOf(new DynamicModel({ id: '', engine: '', since: '', reason: '', voided_by: '' }));
  app
    .db()
    .newQuery(`SELECT id, engine, since, reason, voided_by FROM ${VOIDS} INDEXED BY idx_av_voids_unfinished WHERE done = FALSE`)
    .all(rows);
  const until = Date.now() + SWEEP_MS;
  for (const row of rows) {
    const cell = (name: string) => String(row[name]);
    finish(
      app,
      { id: cell('id'), engine: cell('engine'), since: dateMs(cell('since')), reason: cell('reason'), by: cell('voided_by') },
      until,
    );
  }
}

/** It holds what the engine answered, and a lying engine may choose that: nothing in it keeps a void from being taken. */
function shownReason(raw: unknown): string {
  const characters = Array.from(text(raw, 2 * MAX_REASON)).map((character) => (isUnprintable(character) ? ' ' : character));
  return characters.length < MIN_REASON ? '' : characters.slice(0, MAX_REASON).join('');
}

/** From the end of its transaction on nothing leaves that the engine has let out, nor does a verdict of its count that is under way. */
function shutAll(
  app: CoreApp,
  asked: { engine: string; since: number | null; reason: string; by: string },
): { answer: VoidAnswer; entry: Void } {
  let answer: VoidAnswer = { closed: 0, rescanned: 0 };
  let entry: Void | undefined;
  app.runInTransaction((tx) => {
    entry = { ...asked, id: '', since: asked.since ?? lastGood(tx, asked.engine) };
    const touched = touchedBy(tx, entry);
    const shut = touched.filter(({ shuts }) => shuts).map(({ id }) => id);
    tx.db()
      .newQuery(`UPDATE ${CHECKS} SET open = FALSE WHERE id IN (SELECT value FROM json_each({:ids}))`)
      .bind({ ids: JSON.stringify(shut) })
      .execute();
    entry.id = remember(tx, entry, touched.length === 0);
    answer = { closed: shut.length, rescanned: touched.filter(({ waits }) => waits).length };
  });
  return { answer, entry: entry! };
}

/** One row for an engine and its last good canary, however often that is told. */
function remember(tx: CoreApp, { engine, since, reason, by }: Void, done: boolean): string {
  const row =
    tx.findRecordsByFilter(VOIDS, 'engine = {:engine} && since = {:since}', '', 1, 0, { engine, since: dateText(since) })[0] ??
    new Record(tx.findCachedCollectionByNameOrId(VOIDS));
  row.set('engine', engine);
  row.set('since', dateText(since));
  // By which of the two clocks is not known, and one of them may be behind.
  row.set('until', dateText(Math.max(since, Date.now())));
  row.set('reason', reason);
  row.set('voided_by', by);
  row.set('done', done);
  noteVoid(tx);
  tx.saveNoValidate(row);
  return row.id;
}

/** Deals with the checks, newest first. What is left at `until` is left to the sweep. */
function finish(app: CoreApp, entry: Void, until: number): void {
  const touched = touchedBy(app, entry);
  let failed = 0;
  for (let from = 0; from < touched.length; from += BATCH) {
    if (Date.now() > until) return;
    const batch = touched.slice(from, from + BATCH);
    const missed = finishBatch(app, entry, batch);
    // Then it is no single row, but the disk or the history.
    if (missed === batch.length) return;
    failed += missed;
  }
  // The sweep tries those again.
  if (failed > 0) return;
  app.db().newQuery(`UPDATE ${VOIDS} SET done = TRUE WHERE id = {:id}`).bind({ id: entry.id }).execute();
  if (touched[0]) notifyQuietly(app, touched[0].build);
}

/** All in one transaction; where that fails, each in its own, so that one bad row does not keep the others from their turn. Answers how many failed. */
function finishBatch(app: CoreApp, entry: Void, batch: readonly Touched[]): number {
  let rows: HistoryRow[] = [];
  try {
    app.runInTransaction((tx) => {
      rows = voidBatch(tx, entry, batch);
    });
  } catch (error) {
    if (batch.length > 1) return batch.reduce((failed, one) => failed + finishBatch(app, entry, [one]), 0);
    app.logger().error('av: what follows from a void could not be stored', 'check', batch[0]!.id, 'error', String(error));
    return 1;
  }
  keepClosings(app, rows);
  forgetFinished(app);
  return 0;
}

function voidBatch(tx: CoreApp, entry: Void, batch: readonly Touched[]): HistoryRow[] {
  const now = Date.now();
  // Another engine may have judged some of them meanwhile.
  const still = touchedBy(
    tx,
    entry,
    batch.map(({ id }) => id),
  ).map(({ id }) => id);
  const events: HistoryEvent[] = [];
  for (const check of recordsOf(tx, still)) {
    const state = stateOf(check);
    const patch = voided(state, now);
    if (patch === null) continue;
    const { status, reason, virusName, revision } = state;
    const about = {
      check: check.id,
      build: check.getString('build'),
      reason: reason || undefined,
      virusName: virusName || undefined,
      revision,
    };
    const exposure = patch.open === false ? { wasOpen: true, ...exposureOf(tx, check, now) } : {};
    apply(check, patch, state);
    if (status === 'clean') forgetVerdict(check);
    appendLog(check, now, `What ${entry.engine} said since ${dateText(entry.since)} does not count: ${entry.reason}`);
    tx.saveNoValidate(check);
    const after = { status: check.getString('status'), open: check.getBool('open') };
    events.push({ event: 'voided', ...about, ...after, ...exposure, engine: { name: entry.engine }, by: entry.by, note: entry.reason });
  }
  return appendHistory(tx, events);
}

const BY_ENGINE = `json_extract(c.engine, '$.name') = {:engine} AND COALESCE(json_extract(c.engine, '$.canaryAt'), c.scanned) >= {:since}`;
const BY_FILE = `EXISTS (SELECT 1 FROM json_each(c.files) f WHERE CASE f.type WHEN 'object' THEN json_extract(f.value, '$.engine.name') END = {:engine}
  AND COALESCE(json_extract(f.value, '$.engine.canaryAt'), c.scanned) >= {:since})`;

/** Checks whose last verdict the engine has had a part in since then, newest first. Reads every finished check. */
function touchedBy(app: CoreApp, { engine, since }: Pick<Void, 'engine' | 'since'>, among?: readonly string[]): Touched[] {
  const rows = arrayOf(new DynamicModel({ id: '', build: '', shuts: false, waits: false }));
  app
    .db()
    .newQuery(
      `SELECT id, build, open AND (status = 'clean' OR released_by LIKE 'policy:%') AS shuts,
              status != 'clean' AND (rescan_at = '' OR rescan_at > {:now}) AS waits
       FROM (${JUDGED} ${among ? 'AND id IN (SELECT value FROM json_each({:among}))' : ''}) c
       WHERE (${BY_ENGINE}) OR (${BY_FILE}) ORDER BY c.scanned DESC`,
    )
    .bind({ engine, since: new Date(since).toISOString(), now: dateText(Date.now()), among: JSON.stringify(among ?? []) })
    .all(rows);
  return rows.map((row) => ({
    id: String(row['id']),
    build: String(row['build']),
    shuts: row['shuts'] === true,
    waits: row['waits'] === true,
  }));
}

/** Finished checks with what can be read of their verdict. Files are looked into only where one names an engine of its own. */
const JUDGED = `SELECT id, build, status, open, released_by, rescan_at, replace(scan_time, ' ', 'T') AS scanned,
  CASE WHEN json_valid(engine) THEN engine ELSE '{}' END AS engine,
  CASE WHEN instr(files, '"engine":') > 0 AND json_valid(files) THEN files ELSE '[]' END AS files
  FROM ${CHECKS} WHERE status IN ('clean', 'infected', 'error')`;

/**
 * When this engine was last known to be good, by all that was ever settled: the newest canary among its verdicts, or that of an earlier
 * void, after which some of them are forgotten. A moment yet to come is of a clock that was ahead and says nothing. Now, where it has
 * never said anything.
 */
function lastGood(tx: CoreApp, engine: string): number {
  const now = Date.now();
  const row = new DynamicModel({ judged: '', told: '' });
  tx.db()
    .newQuery(
      `SELECT COALESCE(MAX(canary), '') AS judged,
              COALESCE((SELECT MAX(since) FROM ${VOIDS} WHERE engine = {:engine} AND since <= {:nowText}), '') AS told
       FROM (SELECT json_extract(c.engine, '$.canaryAt') AS canary FROM (${JUDGED}) c WHERE json_extract(c.engine, '$.name') = {:engine}
             UNION ALL SELECT json_extract(f.value, '$.engine.canaryAt') FROM (${JUDGED}) c, json_each(c.files) f
             WHERE CASE f.type WHEN 'object' THEN json_extract(f.value, '$.engine.name') END = {:engine})
       WHERE canary <= {:now}`,
    )
    .bind({ engine, now: new Date(now).toISOString(), nowText: dateText(now) })
    .one(row);
  return Math.max(Date.parse(String(row['judged'])) || 0, dateMs(String(row['told']))) || now;
}
