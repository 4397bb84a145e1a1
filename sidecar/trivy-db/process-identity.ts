/** Which process it was, so that nobody takes another with the same number for it; and whether it is still there. */
import { execFile } from 'node:child_process';
import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { kill, pid } from 'node:process';
import { promisify } from 'node:util';

/** Null is what this system cannot tell. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Of the process: clock ticks since boot (field 22 of /proc/<pid>/stat), or the date that ps prints. */
  readonly startedAt: string | null;
  readonly host: string;
  /** One number for each start of a kernel; all containers on it see the same. */
  readonly boot: string | null;
  /** Process numbers mean something only within it. */
  readonly pidNamespace: string | null;
  /** /etc/machine-id; containers mostly have none. */
  readonly machine: string | null;
}

export interface ProcessStat {
  readonly group: number;
  readonly startedAt: string;
  /** It has ended; only its number is kept until its parent asks. It holds nothing any more. */
  readonly isZombie: boolean;
}

let own: Promise<ProcessIdentity> | undefined;

export function ownIdentity(): Promise<ProcessIdentity> {
  own ??= describeSelf();
  return own;
}

async function describeSelf(): Promise<ProcessIdentity> {
  const [startedAt, boot, pidNamespace, machine] = await Promise.all([
    startOf(pid),
    textOf('/proc/sys/kernel/random/boot_id'),
    readlink('/proc/self/ns/pid').catch(() => null),
    textOf('/etc/machine-id'),
  ]);
  return { pid, startedAt, host: hostname(), boot, pidNamespace, machine };
}

async function textOf(path: string): Promise<string | null> {
  const text = await readFile(path, 'latin1').catch(() => '');
  return text.trim() === '' ? null : text.trim();
}

/** Null where there is no such process, or no /proc. */
export async function processStat(of: number): Promise<ProcessStat | null> {
  const text = await readFile(`/proc/${of}/stat`, 'latin1').catch(() => null);
  // The second field is the name of the program in brackets, and may hold spaces and brackets.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ');
  const startedAt = fields?.[19];
  if (fields === undefined || startedAt === undefined) return null;
  return { group: Number(fields[2]), startedAt, isZombie: fields[0] === 'Z' || fields[0] === 'X' };
}

async function startOf(of: number): Promise<string | null> {
  return (await processStat(of))?.startedAt ?? startByPs(of);
}

/** For systems without /proc. */
export async function startByPs(of: number): Promise<string | null> {
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };
  const { stdout } = await promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(of)], { env }).catch(() => ({ stdout: '' }));
  return stdout.trim() === '' ? null : stdout.trim();
}

/**
 * Whether the process that had this number in our own namespace at `startedAt` still runs; with null, whether any has the number.
 * A process that may not be signalled lives: kill(2) answers EPERM only for one that exists.
 */
export async function isAliveHere(of: number, startedAt: string | null): Promise<boolean> {
  try {
    kill(of, 0);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const stat = await processStat(of);
  if (stat?.isZombie) return false;
  const since = stat?.startedAt ?? (startedAt === null ? null : await startByPs(of));
  return startedAt === null || since === null || since === startedAt;
}

/** `elsewhere`: on the same kernel but in another pid namespace, so that its number says nothing here. */
export type Fate = 'alive' | 'dead' | 'elsewhere' | 'unknown';

/**
 * What can be proved about a process by its identity alone. `isLocal`: what it left lies on a file system that only one kernel can have
 * mounted; one that ran under another boot is then dead, because this kernel has the file system now. Elsewhere the same host name
 * proves nothing (two machines may share it), so that the machine-id must be the same too.
 */
export async function fateOf(who: ProcessIdentity, isLocal: boolean, us?: ProcessIdentity): Promise<Fate> {
  const here = us ?? (await ownIdentity());
  if (who.boot !== here.boot) {
    if (who.boot === null || here.boot === null) return 'unknown';
    const isSameMachine = isLocal || (who.machine !== null && who.machine === here.machine && who.host === here.host);
    return isSameMachine ? 'dead' : 'unknown';
  }
  if (who.boot === null && who.host !== here.host) return 'unknown';
  if (who.pidNamespace !== here.pidNamespace) return 'elsewhere';
  return (await isAliveHere(who.pid, who.startedAt)) ? 'alive' : 'dead';
}
