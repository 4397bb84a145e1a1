/** Counts of what ended, by span of time. Rows of the history never change, so each is read once while PocketBase runs. */
import { HISTORY } from './checks.ts';
import { dateMs } from './dates.ts';
import { READABLE_ENTRY } from './history.ts';

/** Rows that one call reads, newest first; what is older then stays uncounted. */
const MAX_ROWS = 250_000;
const LONG_GAP = 1_000;
const KINDS = ['clean', 'infected', 'unscannable', 'failed'] as const;
export type EndKind = (typeof KINDS)[number];

/** Checks that ended in one span, having begun to wait in another; spans are numbered from the epoch. */
export interface Ended {
  span: number;
  /** Null for rescans, which nobody waited for; one number stands for all that lie before what is counted. */
  arrived: number | null;
  kind: EndKind;
  /** Found in what could be downloaded until then. */
  later: boolean;
  count: number;
}

interface Counted {
  /** The last row that is counted. */
  seq: number;
  /** The first span of which every row is counted. */
  completeFrom: number;
  groups: Ended[];
}

/** What ended in the last `spans` spans of `width` seconds up to `now`, and the first of them that is counted whole. */
export function endedChecks(app: CoreApp, width: number, spans: number, now: number): { groups: Ended[]; completeFrom: number } {
  const first = Math.floor(now / 1000 / width) - spans + 1;
  const key = `av.ended.${width}`;
  const kept = app.store().get(key) as string | undefined;
  const head = headOf(app);
  const before: Counted = kept ? JSON.parse(kept) : { seq: firstSeq(app, head, first * width * 1000) - 1, completeFrom: first, groups: [] };
  // Nobody may have asked for a long time, and what ended in between is out of sight already.
  const skipped = head - before.seq > LONG_GAP ? firstSeq(app, head, first * width * 1000) - 1 : 0;
  const known = Math.max(before.seq, skipped);
  const from = Math.max(known, head - MAX_ROWS);
  const completeFrom = from === known ? before.completeFrom : Math.floor(createdAt(app, from + 1) / 1000 / width) + 1;
  const groups = merged([...before.groups, ...countRows(app, width, first, from, head)].filter(({ span }) => span >= first));
  app.store().set(key, JSON.stringify({ seq: Math.max(head, before.seq), completeFrom, groups } satisfies Counted));
  return { groups, completeFrom };
}

function merged(groups: readonly Ended[]): Ended[] {
  const sums = new Map<string, Ended>();
  for (const group of groups) {
    const { span, arrived, kind, later, count } = group;
    const name = `${span} ${arrived} ${kind} ${later}`;
    sums.set(name, { ...group, count: count + (sums.get(name)?.count ?? 0) });
  }
  return [...sums.values()];
}

function countRows(app: CoreApp, width: number, first: number, after: number, to: number): Ended[] {
  const rows = arrayOf(new DynamicModel({ span: 0, arrived: 0, kind: '', later: 0, count: 0 }));
  app
    .db()
    .newQuery(
      `SELECT CAST(at / {:width} AS INTEGER) AS span, COALESCE(MAX(CAST((at - waited) / {:width} AS INTEGER), {:first} - 1), 0) AS arrived, kind, later, COUNT(*) AS count
       FROM (SELECT unixepoch(created, 'subsec') AS at, json_extract(entry, '$.waited') AS waited, COALESCE(json_extract(entry, '$.wasOpen') AND NOT json_extract(entry, '$.open'), 0) AS later,
                    CASE json_extract(entry, '$.event') WHEN 'failed' THEN 'failed' WHEN 'settled' THEN json_extract(entry, '$.status') END AS kind
             FROM (SELECT created, ${READABLE_ENTRY} AS entry FROM ${HISTORY} WHERE seq > {:after} AND seq <= {:to}))
       WHERE kind IS NOT NULL AND at IS NOT NULL GROUP BY 1, 2, 3, 4`,
    )
    .bind({ width, first, after, to })
    .all(rows);
  return rows.map((row) => ({
    span: Number(row['span']),
    arrived: Number(row['arrived']) || null,
    // A verdict that cannot judge is stored as the status `error`.
    kind: KINDS.find((kind) => kind === row['kind']) ?? 'unscannable',
    later: Number(row['later']) === 1,
    count: Number(row['count']),
  }));
}

function headOf(app: CoreApp): number {
  const row = new DynamicModel({ seq: 0 });
  app.db().newQuery(`SELECT CAST(COALESCE(MAX(seq), 0) AS INTEGER) AS seq FROM ${HISTORY}`).one(row);
  return Number(row['seq']);
}

/** The number of the first row at or after this moment: rows are written in the order of time, and only `seq` has an index. */
function firstSeq(app: CoreApp, head: number, since: number): number {
  let [low, high] = [1, head + 1];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (createdAt(app, middle) < since) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Of the first row from this one on that has a time: raw SQL may have written anything there. */
function createdAt(app: CoreApp, seq: number): number {
  const rows = arrayOf(new DynamicModel({ created: '' }));
  app
    .db()
    .newQuery(`SELECT created FROM ${HISTORY} WHERE seq >= {:seq} AND unixepoch(created) IS NOT NULL ORDER BY seq LIMIT 1`)
    .bind({ seq })
    .all(rows);
  return rows[0] ? dateMs(String(rows[0]['created'])) : Number.POSITIVE_INFINITY;
}
