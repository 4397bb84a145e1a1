import { readFileSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { isAlive } from '../parts/lock.ts';
import { run } from '../parts/run.ts';

/** What a running group leaves in its data folder, for the demo and for the next start. */
const groupSchema = z.object({
  pid: z.int().positive(),
  pocketbaseUrl: z.string(),
  sidecarUrl: z.string(),
  email: z.string(),
  passwordFile: z.string(),
  /** By name. `mark` is on the command line of that process and of no stranger's. */
  parts: z.record(z.string(), z.object({ pid: z.int().positive(), mark: z.string().min(1) })),
});

export type GroupRecord = z.infer<typeof groupSchema>;

/** The group file, or null when there is none or it is not one. */
export function readGroup(path: string): GroupRecord | null {
  try {
    return groupSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return null;
  }
}

export async function writeGroup(path: string, group: GroupRecord): Promise<void> {
  await writeFile(`${path}.new`, JSON.stringify(group, null, 2), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

export async function removeGroup(path: string): Promise<void> {
  await rm(path, { force: true });
}

/**
 * Deals with what an earlier group on the same data folder left: throws when it still runs; stops parts that outlived it. A part is
 * recognised by its pid *and* by its mark on the command line, since pids are used again.
 */
export async function settleWithPrevious(path: string, report: (line: string) => void): Promise<void> {
  const previous = readGroup(path);
  if (previous === null) return;
  if (previous.pid !== process.pid && isAlive(previous.pid) && (await commandLine(previous.pid)).includes('start.ts'))
    throw new Error(
      `Pocketwarden already runs on this data folder (process ${previous.pid}, ${previous.pocketbaseUrl}): stop it with Ctrl-C there or with kill ${previous.pid}, or choose another DATA_DIR.`,
    );
  for (const [name, { pid, mark }] of Object.entries(previous.parts)) {
    if (!isAlive(pid) || !(await commandLine(pid)).includes(mark)) continue;
    report(`stopping ${name} (process ${pid}), which outlived a killed npm start`);
    await end(pid);
  }
  await removeGroup(path);
}

async function end(pid: number): Promise<void> {
  for (const [signal, waitMs] of [
    ['SIGTERM', 8_000],
    ['SIGKILL', 2_000],
  ] as const) {
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    for (const deadline = Date.now() + waitMs; Date.now() < deadline && isAlive(pid); ) await sleep(50);
    if (!isAlive(pid)) return;
  }
}

async function commandLine(pid: number): Promise<string> {
  const fromProc = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => null);
  if (fromProc !== null) return fromProc.replaceAll('\0', ' ');
  return (await run('ps', ['-p', String(pid), '-o', 'args='], { timeoutMs: 5_000 })).stdout;
}
