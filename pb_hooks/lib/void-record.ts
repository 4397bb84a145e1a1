/** Which engines lied and when: kept in rows of their own, so that a verdict in flight is recognised after a restart too. */
import { dateText } from './dates.ts';
import type { EngineInfo, SettleItem, SettleResult } from './wire.ts';

export const VOIDS = 'av_voids';

/** Known to every runtime while no engine has ever lied, which spares each settle a question to the database. */
const NONE = 'av.voids.none';

/** To be called in the transaction that writes one, before it ends: a settle that comes next asks the database. */
export function noteVoid(tx: CoreApp): void {
  tx.store().remove(NONE);
}

/**
 * Ids of the items whose verdict, or that of one of their files, comes from an engine within the time that was voided. Within the
 * transaction that settles them, since only there no void can come in between.
 */
export function voidedAmong(tx: CoreApp, items: readonly (SettleItem | SettleResult)[]): Set<string> {
  const known = new Map<string, boolean>();
  const ids = new Set<string>();
  if (hasNone(tx)) return ids;
  for (const item of items) {
    if (!('verdict' in item)) continue;
    for (const { name, canaryAt } of enginesOf(item)) {
      const key = JSON.stringify([name, canaryAt]);
      const isVoid = known.get(key) ?? isVoided(tx, name, canaryAt);
      known.set(key, isVoid);
      if (isVoid) ids.add(item.id);
    }
  }
  return ids;
}

function hasNone(tx: CoreApp): boolean {
  if (tx.store().get(NONE) === '1') return true;
  const row = new DynamicModel({ count: 0 });
  tx.db().newQuery(`SELECT COUNT(*) AS count FROM (SELECT 1 FROM ${VOIDS} LIMIT 1)`).one(row);
  if (Number(row['count']) > 0) return false;
  tx.store().set(NONE, '1');
  return true;
}

/**
 * Whether what an engine said on the strength of this canary was voided. `storedAt`: since when its word is in the database, in
 * milliseconds; a void takes in whatever was there, also where the clock of the canary was ahead.
 */
export function isVoided(app: CoreApp, engine: string, canaryAt: string, storedAt = Number.POSITIVE_INFINITY): boolean {
  const rows = arrayOf(new DynamicModel({ id: '' }));
  const at = Date.parse(canaryAt);
  app
    .db()
    .newQuery(
      `SELECT id FROM ${VOIDS} INDEXED BY idx_av_voids_until WHERE engine = {:engine} AND until >= {:earliest} AND since <= {:at} LIMIT 1`,
    )
    .bind({ engine, at: dateText(at), earliest: dateText(Math.min(at, storedAt)) })
    .all(rows);
  return rows.length > 0;
}

/** Every engine that took part. */
export function enginesOf({ engine, files }: Pick<Extract<SettleItem, { verdict: string }>, 'engine' | 'files'>): EngineInfo[] {
  return [engine, ...files.flatMap((file) => file.engine ?? [])];
}
