/** GET /api/av/history/verify: walks the chain of the history, so much in one call, and says where it does not hold. */
import { HISTORY } from './checks.ts';
import { historyProblem } from './history.ts';
import { chainText, hasItsTime, misplaced } from './history-chain.ts';
import { queryInteger, refusal } from './http.ts';
import { secret } from './settings.ts';
import type { VerifyAnswer } from './wire.ts';

/** Of one call; whichever is reached first. */
const MAX_ROWS = 5_000;
const MAX_BYTES = 33_554_432;
/** Of what is held at once. */
const BATCH_ROWS = 500;
const BATCH_BYTES = 2_097_152;
/** Below any number that a forger could have taken: the first call sees rows before the first. */
const BEFORE_ALL = -1e300;

interface Row {
  seq: number;
  entry: string;
  hash: string;
  created: string;
}

type Last = VerifyAnswer['last'];
type Broken = VerifyAnswer['broken'];

/**
 * `after`: the last row that is known to be good, 0 at first; with `hash`, that row must still have it. Rows cut off at the end can be
 * noticed only so: by whoever kept the last answer.
 */
export function verifyHistory(e: core.RequestEvent): void {
  const problem = historyProblem();
  if (problem) throw refusal(503, problem, 'history', 'history_key_missing');
  const after = queryInteger(e, 'after', 0, Number.MAX_SAFE_INTEGER, 0);
  const known = e.request!.url!.query().get('hash');
  if (known !== '' && !/^[0-9a-f]{64}$/.test(known)) throw new BadRequestError('hash must be 64 hexadecimal digits.');
  e.json(200, verify(e.app, after, known, secret('AV_HISTORY_KEY')));
}

function verify(app: CoreApp, after: number, known: string, key: string): VerifyAnswer {
  const anchor = anchorOf(app, after, known);
  let last: Last = anchor.last;
  let broken: Broken = anchor.broken;
  let [rows, bytes, more] = [0, 0, true];
  while (!broken && more && rows < MAX_ROWS && bytes < MAX_BYTES) {
    const batch = nextRows(app, last.seq, Math.min(BATCH_ROWS, MAX_ROWS - rows));
    for (const row of batch) {
      broken = faultOf(row, last, key);
      if (broken) break;
      last = { seq: row.seq, hash: row.hash };
      rows += 1;
      bytes += row.entry.length;
    }
    more = batch.length > 0;
  }
  // Two rows under one number are possible once the unique index is gone; the walk itself would step over the second.
  broken ??= last.seq > after && countBetween(app, after, last.seq) !== last.seq - after ? { seq: last.seq, why: 'inserted' } : null;
  more = broken === null && more && nextSizes(app, last.seq, 1).length > 0;
  return { ok: broken === null, from: after + 1, to: last.seq, last, more, broken };
}

function anchorOf(app: CoreApp, after: number, known: string): { last: Last; broken: Broken } {
  const none = { seq: 0, hash: '' };
  if (after === 0) return { last: none, broken: null };
  const rows = arrayOf(new DynamicModel({ hash: '' }));
  app.db().newQuery(`SELECT hash FROM ${HISTORY} WHERE seq = {:after}`).bind({ after }).all(rows);
  if (!rows[0]) return { last: none, broken: { seq: after, why: 'missing' } };
  const hash = String(rows[0]['hash']);
  return { last: { seq: after, hash }, broken: known !== '' && known !== hash ? { seq: after, why: 'changed' } : null };
}

function faultOf(row: Row, last: Last, key: string): Broken {
  const follows = () => $security.hs256(chainText(last.hash, row.entry), key) === row.hash && hasItsTime(row.entry, row.created);
  return misplaced(row.seq, last.seq) ?? (follows() ? null : { seq: row.seq, why: 'changed' });
}

/** As many as fit into a batch, one at least: an entry may be of two megabytes. */
function nextRows(app: CoreApp, after: number, limit: number): Row[] {
  let [count, bytes] = [0, 0];
  for (const size of nextSizes(app, after, limit)) {
    bytes += size;
    if (count > 0 && bytes > BATCH_BYTES) break;
    count += 1;
  }
  if (count === 0) return [];
  const rows = arrayOf(new DynamicModel({ seq: '', entry: '', hash: '', created: '' }));
  // As text, since SQLite keeps whatever a forger puts into a number.
  app
    .db()
    .newQuery(
      `SELECT CAST(seq AS TEXT) AS seq, entry, hash, created FROM ${HISTORY} WHERE seq > {:after} ORDER BY ${HISTORY}.seq LIMIT {:count}`,
    )
    .bind({ after: after === 0 ? BEFORE_ALL : after, count })
    .all(rows);
  return rows.map((row) => ({
    seq: Number(row['seq']),
    entry: String(row['entry']),
    hash: String(row['hash']),
    created: String(row['created']),
  }));
}

function nextSizes(app: CoreApp, after: number, limit: number): number[] {
  const rows = arrayOf(new DynamicModel({ size: 0 }));
  app
    .db()
    .newQuery(`SELECT octet_length(entry) AS size FROM ${HISTORY} WHERE seq > {:after} ORDER BY seq LIMIT {:limit}`)
    .bind({ after: after === 0 ? BEFORE_ALL : after, limit })
    .all(rows);
  return rows.map((row) => Number(row['size']));
}

function countBetween(app: CoreApp, after: number, to: number): number {
  const row = new DynamicModel({ count: 0 });
  app.db().newQuery(`SELECT COUNT(*) AS count FROM ${HISTORY} WHERE seq > {:after} AND seq <= {:to}`).bind({ after, to }).one(row);
  return Number(row['count']);
}
