/** Which engines lied and when: kept in rows of their own, so that a verdict in flight is recognised after a restart too. */
import { dateText } from './dates.ts';
import type { EngineInfo, SettleItem, SettleResult } from './wire.ts';

export const VOIDS = 'av_voids';

/** Who does not say when its engine was good is taken to have asked it this long ago: the longest that a lease may last. */
const UNSAID_MS = 3_600_000;

/** Ids of the items whose verdict, or that of one of their files, comes from an engine within the time that was voided. */
export function voidedAmong(tx: CoreApp, items: readonly (SettleItem | SettleResult)[]): Set<string> {
  const known = new Map<string, boolean>();
  const ids = new Set<string>();
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

/** Whether what an engine said on the strength of this canary was voided. */
export function isVoided(app: CoreApp, engine: string, canaryAt: string | undefined): boolean {
  const rows = arrayOf(new DynamicModel({ id: '' }));
  const since = canaryAt === undefined ? '9999' : dateText(Date.parse(canaryAt));
  const until = canaryAt === undefined ? dateText(Date.now() - UNSAID_MS) : since;
  app
    .db()
    .newQuery(
      `SELECT id FROM ${VOIDS} INDEXED BY idx_av_voids_until WHERE engine = {:engine} AND until >= {:until} AND since <= {:since} LIMIT 1`,
    )
    .bind({ engine, since, until })
    .all(rows);
  return rows.length > 0;
}

/** Every engine that took part. */
export function enginesOf({ engine, files }: Pick<Extract<SettleItem, { verdict: string }>, 'engine' | 'files'>): EngineInfo[] {
  return [engine, ...files.flatMap((file) => file.engine ?? [])];
}
