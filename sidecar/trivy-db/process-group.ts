import { spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { kill } from 'node:process';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { processStat } from './process-identity.ts';

export interface RunningGroup {
  readonly id: number;
  /** Whether the process that the group is named after has not been waited for. */
  hasLeader: boolean;
}

const FIRST_LOOK_MS = 10;
const MAX_LOOK_MS = 250;

/** SIGTERM to all of the group, SIGKILL after `graceMs` to what is left; resolves when none of it runs. */
export async function endGroup(group: RunningGroup, graceMs: number): Promise<void> {
  const deadline = performance.now() + graceMs;
  if (!(await isRunning(group))) return;
  send(group.id, 'SIGTERM');
  for (let pause = FIRST_LOOK_MS; await isRunning(group); pause = Math.min(MAX_LOOK_MS, pause * 1.5)) {
    // Again and again: what is killed may have started another one in the same moment.
    if (performance.now() >= deadline) send(group.id, 'SIGKILL');
    await sleep(pause);
  }
}

/** False when the group has nobody. One that may not be signalled, because it runs as another user, counts. */
function send(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return kill(-group, signal);
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

async function isRunning({ id, hasLeader }: RunningGroup): Promise<boolean> {
  if (hasLeader) return true;
  if (!send(id, 0)) return false;
  // In a container where we are process 1 nobody waits for orphans, and the zombie of one keeps the group there for ever.
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  if (pids.length === 0) return true;
  for (const pid of pids) {
    const stat = await processStat(Number(pid));
    if (stat !== null && stat.group === id && !stat.isZombie) return true;
  }
  return false;
}

export interface Guard {
  protect(group: number): void;
  dismiss(): void;
}

/** The first line is the group. No second line but the end of the input means that whoever should have written it is dead. */
const guardScript = `
read -r group || exit 0
read -r end && exit 0
kill -s TERM -- "-$group"
for second in 1 2 3 4 5; do sleep 1; kill -s 0 -- "-$group" || exit 0; done
kill -s KILL -- "-$group"`;

/**
 * A small process that outlives us: it waits for the end of a pipe that only we hold, which the kernel closes however we end, and then
 * ends the group, so that no program goes on for nobody and keeps what it has locked. PR_SET_PDEATHSIG would reach the program alone, not
 * what it has started. To be started before the program, so that no moment is without it; where there is no /bin/sh, nobody guards.
 */
export function guardGroup(): Guard {
  const env = { PATH: '/usr/bin:/bin' };
  const guard = spawn('/bin/sh', ['-c', guardScript], { cwd: '/', env, detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
  guard.on('error', () => {});
  // Without a free descriptor there is no pipe at all.
  const pipe: Writable | undefined = guard.stdin;
  pipe?.on('error', () => {});
  guard.unref();
  let isProtecting = false;
  return {
    protect(group) {
      isProtecting = true;
      pipe?.write(`${group}\n`);
    },
    dismiss() {
      pipe?.end(isProtecting ? 'end\n' : '');
    },
  };
}
