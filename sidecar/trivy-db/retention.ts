/** How much of the past is kept. */
import { emptyRecord } from './build-records.ts';
import type { Stores } from './leftovers.ts';

export interface RetentionLimits {
  /** Good builds beside the published one. */
  readonly keepBuilds: number;
  /** Builds whose record and log are kept; those of kept builds always are. */
  readonly keepLogs: number;
}

/**
 * For the holder of the lock. Never removes the published build, the one whose place it took, nor the one that runs. Of the others those
 * stay that were published last: what was rolled back from is older than what was rolled back to. Rejects, before anything is removed,
 * where it cannot be told what is published.
 */
export async function removeOld(
  { records, publications }: Stores,
  { keepBuilds, keepLogs }: RetentionLimits,
  running: string | null,
  removeLog: (id: string) => Promise<void>,
): Promise<void> {
  const pointer = await publications.pointer();
  const all = await records.all();
  const publishedAt = new Map(all.map((record) => [record.id, record.publishedAt.at(-1)]));
  const timeOf = (id: string) => Date.parse(publishedAt.get(id) ?? emptyRecord(id).startedAt);
  const others = (await publications.ids())
    .filter((id) => id !== pointer?.buildId && id !== running)
    .toSorted((a, b) => Number(b === pointer?.replaced) - Number(a === pointer?.replaced) || timeOf(b) - timeOf(a));
  const kept = new Set(others.slice(0, Math.max(keepBuilds, others[0] === pointer?.replaced ? 1 : 0)));
  for (const id of others) if (!kept.has(id)) await publications.remove(id);
  for (const { id } of all.slice(keepLogs)) {
    if (kept.has(id) || id === pointer?.buildId || id === running) continue;
    await removeLog(id);
    await records.remove(id);
  }
}
