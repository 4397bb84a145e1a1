/** POST /api/av/rescan: a superuser wants many builds looked at again. */
import { BATCH, inBatch } from './batches.ts';
import { appendLog, apply, CHECKS, stateOf } from './checks.ts';
import { dateText } from './dates.ts';
import { appendHistory, historyProblem } from './history.ts';
import { bodyOf, refusal } from './http.ts';
import { idsOf, recordsOf } from './leases.ts';
import { notifyQuietly } from './notify.ts';
import { reasonOf } from './people.ts';
import { rescanAsked, statuses } from './rules.ts';
import { momentOf, text } from './text.ts';
import type { RescanManyAnswer } from './wire.ts';

const MAX_TEXT = 1_000;
const MAX_SIGNATURES = 1_000_000_000;

interface Selection {
  /** SQL conditions, of which all hold. */
  where: string;
  params: { [name: string]: unknown };
  /** For the history: what was asked for, as JSON text. */
  words: string;
}

type Condition = { sql: string; read(value: unknown): unknown };

/** The part of an engine, be it in the whole verdict or in that of one file, told from whatever raw SQL may have left there. */
const ENGINE = `(CASE WHEN json_valid(engine) THEN json_extract(engine, '$.name') END = {:engine}
  OR EXISTS (SELECT 1 FROM json_each(CASE WHEN instr(files, '"engine":') > 0 AND json_valid(files) THEN files ELSE '[]' END) f
             WHERE CASE f.type WHEN 'object' THEN json_extract(f.value, '$.engine.name') END = {:engine}))`;

const conditions: { [name: string]: Condition } = {
  status: { sql: 'status = {:status}', read: (value) => statuses.find((status) => status === value) },
  reason: { sql: 'reason = {:reason}', read: someText },
  virusName: { sql: 'virus_name = {:virusName}', read: someText },
  engine: { sql: ENGINE, read: someText },
  signaturesBelow: { sql: "judged_at != '' AND signatures < {:signaturesBelow}", read: someNumber },
  since: { sql: 'scan_time >= {:since}', read: someMoment },
  until: { sql: "scan_time != '' AND scan_time < {:until}", read: someMoment },
};

/**
 * The decision is one row of the history, written first: with 100,000 builds it says in one place who, why and which, and stays true if
 * PocketBase dies half-way. Each check says the same in its log. What arrives meanwhile gets its turn between the batches.
 */
export function rescanMany(e: core.RequestEvent): void {
  const body = bodyOf(e);
  const note = reasonOf(body);
  const selection = selectionOf(body);
  const problem = historyProblem();
  if (problem) throw refusal(503, problem, 'history', 'history_key_missing');
  const by = e.auth!.email();
  const count = countOf(e.app, selection);
  e.app.runInTransaction((tx) => {
    appendHistory(tx, [{ event: 'rescan-requested', check: '', build: '', by, note, filter: selection.words, count }]);
  });
  const { answer, build } = askAll(e.app, selection, `Scan asked for by ${by}, of ${count} builds: ${note}`);
  if (build !== null) notifyQuietly(e.app, build);
  e.json(200, answer);
}

function askAll(app: CoreApp, selection: Selection, line: string): { answer: RescanManyAnswer; build: string | null } {
  const answer: RescanManyAnswer = { asked: 0, waiting: 0 };
  let build: string | null = null;
  let after = '';
  for (;;) {
    // By the index of its key: with any other one SQLite would sort all that are left for every batch.
    const ids = idsOf(
      app,
      `SELECT id FROM ${CHECKS} INDEXED BY sqlite_autoindex_${CHECKS}_1 WHERE id > {:after} AND ${selection.where} ORDER BY id LIMIT ${BATCH}`,
      { ...selection.params, after },
    );
    // By id, since a batch that fails is tried again one by one.
    const done = { asked: new Set<string>(), waiting: new Set<string>() };
    inBatch(app, ids, (tx, id) => {
      for (const check of recordsOf(tx, [id])) {
        const now = Date.now();
        const patch = rescanAsked(stateOf(check), now);
        if (patch === 'already_waiting') done.waiting.add(id);
        if (typeof patch === 'string') continue;
        apply(check, patch);
        appendLog(check, now, line);
        tx.saveNoValidate(check);
        build = check.getString('build');
        done.asked.add(id);
      }
    });
    answer.asked += done.asked.size;
    answer.waiting += done.waiting.size;
    if (ids.length < BATCH) return { answer, build };
    after = ids[ids.length - 1]!;
  }
}

function countOf(app: CoreApp, { where, params }: Selection): number {
  const row = new DynamicModel({ count: 0 });
  app.db().newQuery(`SELECT COUNT(*) AS count FROM ${CHECKS} WHERE ${where}`).bind(params).one(row);
  return Number(row['count']);
}

/** Throws 400 for what selects nothing in particular without saying `all`, and for a name or value that is not known. */
function selectionOf(body: { [name: string]: unknown }): Selection {
  const { all, filter } = body;
  if (all === true && filter === undefined) return selectionBy({});
  const isFilter = typeof filter === 'object' && filter !== null && !Array.isArray(filter) && Object.keys(filter).length > 0;
  if (all !== undefined || !isFilter)
    throw refusal(400, 'Either filter must name at least one condition, or all must be true.', 'filter', 'invalid');
  return selectionBy(filter as { [name: string]: unknown });
}

function selectionBy(filter: { [name: string]: unknown }): Selection {
  const where = ["reason != 'no-files'"];
  const params: { [name: string]: unknown } = {};
  for (const name of Object.keys(filter)) {
    const condition = Object.keys(conditions).includes(name) ? conditions[name]! : null;
    const value = condition?.read(filter[name]);
    if (!condition || value === undefined)
      throw refusal(400, `filter.${name.slice(0, 40)} is not a condition that can be met.`, 'filter', 'invalid');
    where.push(condition.sql);
    params[name] = value;
  }
  return { where: where.join(' AND '), params, words: JSON.stringify(Object.keys(params).length > 0 ? params : { all: true }) };
}

function someText(value: unknown): string | undefined {
  const written = text(value, MAX_TEXT);
  return written === '' ? undefined : written;
}

function someNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_SIGNATURES ? value : undefined;
}

function someMoment(value: unknown): string | undefined {
  const ms = momentOf(value);
  return Number.isNaN(ms) ? undefined : dateText(ms);
}
