/** The queue of checks, seen and set back by SQL: past every hook, and with PocketBase's own clock. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningPocketBase } from '../../test/harness/pocketbase.ts';

/** Everything that a scan has left, so that the next one does the same work as the first. */
const asNew = `status = 'pending', open = FALSE, reason = '', virus_name = '', scan_time = '', log = '', files = NULL, engine = NULL,
  attempts = 0, lapses = 0, suspect = FALSE, not_before = '', rescan_at = '', lease_token = '', lease_until = '', worker = '',
  pending_since = strftime('%Y-%m-%d %H:%M:%fZ', 'now')`;

/** Makes finished checks pending again, all at one moment. `where` is SQL. */
export async function requeue(pb: RunningPocketBase, where = 'TRUE'): Promise<void> {
  await pb.sql(`UPDATE av_build_checks SET ${asNew} WHERE status NOT IN ('pending', 'scanning') AND (${where})`);
}

/** Opens every build without a scan. */
export async function openAll(pb: RunningPocketBase): Promise<void> {
  await pb.sql("UPDATE av_build_checks SET status = 'clean', open = TRUE, pending_since = ''");
}

export async function selectOne(pb: RunningPocketBase, query: string): Promise<string[]> {
  const { rows } = (await pb.sql(query)) as { rows: string[][] };
  return rows[0] ?? [];
}

/** Resolves with the moment of the first claim, by PocketBase's clock, within 10 ms of it. */
export async function untilClaimed(pb: RunningPocketBase): Promise<number> {
  for (;;) {
    const [claimed] = await selectOne(pb, "SELECT MIN(updated) FROM av_build_checks WHERE status = 'scanning'");
    if (claimed) return Date.parse(claimed);
    await sleep(10);
  }
}

/** Resolves with the moment of the last settle, by PocketBase's clock. Throws when a check has ended as anything but clean. */
export async function untilSettled(pb: RunningPocketBase, pauseMs = 100): Promise<number> {
  for (;;) {
    const [waiting] = await selectOne(pb, "SELECT COUNT(*) FROM av_build_checks WHERE status IN ('pending', 'scanning')");
    if (waiting === '0') break;
    await sleep(pauseMs);
  }
  const [others, last] = await selectOne(pb, "SELECT COALESCE(SUM(status != 'clean'), 0), MAX(scan_time) FROM av_build_checks");
  if (others !== '0' || !last)
    throw new Error(
      `${others} builds were not found clean: ${await selectOne(pb, "SELECT status, reason, log FROM av_build_checks WHERE status != 'clean'")}`,
    );
  return Date.parse(last);
}
