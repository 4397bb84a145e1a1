/** What the kernel says of a process. Linux alone. */
import { readFileSync } from 'node:fs';

/** Of /proc, whatever the kernel's own tick is. */
const TICKS_PER_SECOND = 100;

/** CPU milliseconds of all its threads, those included that have ended. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name stands in brackets and may hold spaces; utime and stime are the 14th and 15th fields.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

/** Resident memory now, in MB of a million bytes. */
export function residentMb(pid: number): number {
  return status(pid, 'VmRSS');
}

/** The most it ever had resident, in MB of a million bytes. */
export function peakResidentMb(pid: number): number {
  return status(pid, 'VmHWM');
}

function status(pid: number, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  if (found === null) throw new Error(`/proc/${pid}/status has no ${name}`);
  return (Number(found[1]) * 1024) / 1e6;
}
