/** What a lock file says, read from a file that anybody may have written. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { z } from 'zod';
import { codeOf } from '../durable.ts';
import type { LockHolder } from './model.ts';

const MAX_BYTES = 4096;
const optional = z.string().min(1).max(255).nullable();
const processNumber = z
  .int()
  .min(1)
  .max(2 ** 31 - 1);

const lockRecord = z.strictObject({
  pid: processNumber,
  startedAt: optional,
  host: z.string().max(255),
  boot: optional,
  pidNamespace: optional,
  machine: optional,
  /** Of this one holding: no other ever has it. */
  token: z.string().regex(/^[0-9a-f]{32}$/),
  /** Null while somebody clears or releases the lock. */
  buildId: z.string().max(64).nullable(),
  since: z.iso.datetime(),
  /** Whether its holder listens on the socket beside it. */
  hasPulse: z.boolean(),
});

export type LockRecord = z.infer<typeof lockRecord>;

export interface LockEntry {
  /** Names this very content in this very file: the token, or what stands for it in a file that has none. */
  readonly key: string;
  /** By the clock of the file system; its holder moves it on every few seconds. */
  readonly touchedAtMs: number;
  /** `script`: a bare process number, as the old shell script writes it. */
  readonly says:
    | { readonly kind: 'record'; readonly record: LockRecord }
    | { readonly kind: 'script'; readonly pid: number }
    /** `isFile`: it can be replaced like a lock. */
    | { readonly kind: 'unreadable'; readonly why: string; readonly isFile: boolean };
}

/** Null where nothing is. A symbolic link is not followed, a pipe not waited for. */
export async function readEntry(path: string): Promise<LockEntry | null> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (thrown) {
    const code = codeOf(thrown);
    if (code === 'ENOENT') return null;
    if (code === 'ELOOP') return noFile('a symbolic link');
    if (code === 'ENXIO') return noFile('a socket or a device');
    if (code === 'EACCES') return { key: 'unreadable', touchedAtMs: Date.now(), says: unreadable('may not be read by this user', false) };
    throw thrown;
  }
  try {
    const stat = await file.stat({ bigint: true });
    if (!stat.isFile()) return noFile('no regular file');
    const buffer = Buffer.alloc(MAX_BYTES + 1);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    const bytes = buffer.subarray(0, bytesRead);
    const says = meaningOf(bytes);
    const touchedAtMs = Number(stat.mtimeNs / 1_000_000n);
    if (says.kind === 'record') return { key: says.record.token, touchedAtMs, says };
    const print = createHash('sha256').update(`${stat.ino} ${stat.mtimeNs} ${stat.size} `).update(bytes).digest('hex');
    return { key: print.slice(0, 32), touchedAtMs, says };
  } finally {
    await file.close();
  }
}

function meaningOf(bytes: Buffer): LockEntry['says'] {
  const text = bytes.toString('utf8').trim();
  if (text === '') return unreadable('is empty', true);
  if (bytes.length > MAX_BYTES) return unreadable('is too long for a lock', true);
  if (/^\d{1,10}$/.test(text)) {
    const pid = processNumber.safeParse(Number(text));
    return pid.success ? { kind: 'script', pid: pid.data } : unreadable('holds a number that no process can have', true);
  }
  try {
    const read = lockRecord.safeParse(JSON.parse(text));
    if (read.success) return { kind: 'record', record: read.data };
  } catch {
    // Says no more than that it is none of ours.
  }
  return unreadable('is neither a lock of Pocketwarden nor a process number', true);
}

function unreadable(why: string, isFile: boolean): LockEntry['says'] {
  return { kind: 'unreadable', why, isFile };
}

function noFile(what: string): LockEntry {
  return { key: 'unreadable', touchedAtMs: Date.now(), says: unreadable(`is ${what}`, false) };
}

/** For people: who holds it, by what it says. */
export function holderOf(says: Exclude<LockEntry['says'], { readonly kind: 'unreadable' }>, touchedAtMs: number): LockHolder {
  if (says.kind === 'script') return { pid: says.pid, host: hostname(), buildId: null, since: new Date(touchedAtMs).toISOString() };
  const { pid, host, buildId, since } = says.record;
  return { pid, host, buildId, since };
}
