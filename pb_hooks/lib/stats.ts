/** GET /api/av/stats: throughput, findings and the length of the queue over time. */
import { CHECKS } from './checks.ts';
import { endedChecks } from './ended-checks.ts';
import { queryInteger } from './http.ts';
import { remembered } from './memo.ts';
import type { StatsAnswer, StatsBucket } from './wire.ts';

const MAX_HOURS = 720;
const MAX_BUCKETS = 120;
/** Widths of a bucket in seconds that read well under a chart. */
const WIDTHS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600];
const KEEP_MS = 10_000;

export function stats(e: core.RequestEvent): void {
  const hours = queryInteger(e, 'hours', 1, MAX_HOURS, 24);
  e.json(
    200,
    remembered(e.app, `av.stats.${hours}`, KEEP_MS, () => collect(e.app, hours, Date.now())),
  );
}

/** Buckets begin at multiples of their width, so that each holds the same moments whenever it is asked for. */
function collect(app: CoreApp, hours: number, now: number): StatsAnswer {
  const width = WIDTHS.find((candidate) => (hours * 3600) / candidate <= MAX_BUCKETS)!;
  const count = Math.ceil((hours * 3600) / width);
  const first = Math.floor(now / 1000 / width) - count + 1;
  const buckets = Array.from({ length: count }, (_, i) => emptyBucket((first + i) * width));
  const { groups, completeFrom } = endedChecks(app, width, MAX_BUCKETS, now);
  for (const { span, arrived, kind, later, count: ended } of groups) {
    const bucket = buckets[span - first];
    if (!bucket) continue;
    bucket[kind] += ended;
    if (kind === 'infected' && later) bucket.foundLater += ended;
    if (arrived === null) continue;
    bucket.waiting -= ended;
    arrive(buckets, arrived - first, ended);
  }
  for (const { arrived, count: waiting } of waitingChecks(app, width)) arrive(buckets, arrived - first, waiting);
  // What arrives and ends moves the queue by one each; until here `waiting` holds only these steps.
  for (let i = 1; i < count; i++) buckets[i]!.waiting += buckets[i - 1]!.waiting;
  return { hours, bucketSeconds: width, from: buckets[0]!.at, complete: completeFrom <= first, buckets };
}

function emptyBucket(seconds: number): StatsBucket {
  const at = new Date(seconds * 1000).toISOString();
  return { at, arrivals: 0, clean: 0, infected: 0, unscannable: 0, failed: 0, foundLater: 0, waiting: 0 };
}

/** What arrived before the first bucket waits in it already. */
function arrive(buckets: StatsBucket[], at: number, count: number): void {
  const bucket = buckets[Math.max(0, at)];
  if (!bucket) return;
  bucket.waiting += count;
  if (at >= 0) bucket.arrivals += count;
}

/** What waits at this moment, by the span of its arrival. */
function waitingChecks(app: CoreApp, width: number): { arrived: number; count: number }[] {
  const rows = arrayOf(new DynamicModel({ arrived: 0, count: 0 }));
  app
    .db()
    .newQuery(
      `SELECT CAST(unixepoch(pending_since) / {:width} AS INTEGER) AS arrived, COUNT(*) AS count
       FROM (SELECT pending_since FROM ${CHECKS} INDEXED BY idx_av_build_checks_pending WHERE status = 'pending'
             UNION ALL SELECT pending_since FROM ${CHECKS} WHERE status = 'scanning')
       WHERE pending_since != '' GROUP BY 1`,
    )
    .bind({ width })
    .all(rows);
  return rows.map((row) => ({ arrived: Number(row['arrived']), count: Number(row['count']) }));
}
