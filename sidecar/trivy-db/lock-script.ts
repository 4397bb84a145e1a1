/** The lock of the old script: a bare process number, of which only the time of the file tells more. */
import { readFile } from 'node:fs/promises';
import { isAliveHere, processStat, startByPs } from './process-identity.ts';

/** USER_HZ, in which Linux counts for programs on every machine (time(7)). */
const TICKS_PER_SECOND = 100;
/** The clock of the file system, and times that are rounded to seconds. */
const TOLERANCE_MS = 5000;

/**
 * Whether whoever wrote the number still runs here. A process that began after the file was written is not its writer but got its number
 * later. Where it cannot be told when it began, any process with the number counts.
 */
export async function fateOfScript(pid: number, writtenAtMs: number): Promise<'alive' | 'dead'> {
  if (!(await isAliveHere(pid, null))) return 'dead';
  const beganAtMs = await beganAt(pid);
  return beganAtMs !== null && beganAtMs > writtenAtMs + TOLERANCE_MS ? 'dead' : 'alive';
}

/** By our clock. */
async function beganAt(pid: number): Promise<number | null> {
  const [stat, uptime] = await Promise.all([processStat(pid), readFile('/proc/uptime', 'latin1').catch(() => null)]);
  const at =
    stat === null || uptime === null
      ? Date.parse(`${await startByPs(pid)} UTC`)
      : Date.now() - (Number.parseFloat(uptime) - Number(stat.startedAt) / TICKS_PER_SECOND) * 1000;
  return Number.isFinite(at) ? at : null;
}
