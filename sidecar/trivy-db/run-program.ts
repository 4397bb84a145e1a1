import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { MAX_LINE_BYTES } from './build-log-format.ts';
import { LineSplitter } from './lines.ts';
import { endGroup, type Guard, guardGroup, type RunningGroup } from './process-group.ts';

export interface ProgramEnd {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ProgramOptions {
  readonly cwd?: string;
  /** All that the program gets; nothing of ours is added. */
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  /** A file for its standard input; without one there is nothing to read. */
  readonly input?: string;
  /** From SIGTERM to SIGKILL; default 10 s. */
  readonly graceMs?: number;
  /**
   * Without its line break; a carriage return ends a line too, so that progress is heard of as it is drawn. Bytes that are no UTF-8 come
   * as U+FFFD. `cutBytes`: what a line had beyond MAX_LINE_BYTES. Must not throw.
   */
  onLine(text: string, from: 'stdout' | 'stderr', cutBytes: number): void;
  onStart?(pid: number): void;
}

const GRACE_MS = 10_000;
/** What has left the group may hold the output open for ever. */
const DRAIN_MS = 5000;

/**
 * Runs a program without a shell, in a process group of its own. When the signal aborts, the whole group gets SIGTERM, and SIGKILL after
 * `graceMs`. Whatever the program leaves running in its group when it ends is ended in the same way. Resolves when none of the group runs any more and every line was given; with `SIGTERM`, and nothing started, when the signal had
 * aborted before. Rejects with a sentence when the program could not be started, and only then.
 * When this process dies, even by kill -9, a guard ends the group; see guardGroup(). A program that makes itself a group of its own
 * (setsid, as daemons do) is out of reach of all this.
 */
export async function runProgram(program: string, args: readonly string[], options: ProgramOptions): Promise<ProgramEnd> {
  const { signal, graceMs = GRACE_MS } = options;
  if (signal.aborted) return { exitCode: null, signal: 'SIGTERM' };
  const guard = guardGroup();
  try {
    const child = await start(program, args, options, guard);
    const group: RunningGroup = { id: child.pid!, hasLeader: true };
    const closed = once(child, 'close');
    const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    let ending: Promise<void> | null = null;
    const end = () => {
      ending ??= endGroup(group, graceMs);
    };
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    const [exitCode, by] = await exited;
    group.hasLeader = false;
    end();
    await ending;
    signal.removeEventListener('abort', end);
    await drained(child, closed);
    return { exitCode, signal: by };
  } finally {
    guard.dismiss();
  }
}

async function start(program: string, args: readonly string[], options: ProgramOptions, guard: Guard): Promise<ChildProcess> {
  const { cwd, env, input, onLine, onStart } = options;
  let given: FileHandle | null = null;
  try {
    if (input !== undefined) given = await open(input);
    const stdio: StdioOptions = [given?.fd ?? 'ignore', 'pipe', 'pipe'];
    const child = spawn(program, args, { ...(cwd !== undefined && { cwd }), env, detached: true, stdio });
    // In the same turn: a kill -9 may come before the next one, and a program that runs by then must be known.
    if (child.pid !== undefined) {
      guard.protect(child.pid);
      onStart?.(child.pid);
    }
    await once(child, 'spawn');
    for (const from of ['stdout', 'stderr'] as const) {
      const splitter = new LineSplitter({
        maxBytes: MAX_LINE_BYTES,
        returns: true,
        onLine: (bytes, cutBytes) => onLine(bytes.toString('utf8'), from, cutBytes),
      });
      child[from]!.on('data', (chunk: Buffer) => splitter.push(chunk));
      child[from]!.once('close', () => splitter.end());
    }
    return child;
  } catch (thrown) {
    throw new Error(`${program} could not be started: ${await whyNot(thrown, cwd)}.`, { cause: thrown });
  } finally {
    await given?.close();
  }
}

async function whyNot(thrown: unknown, cwd: string | undefined): Promise<string> {
  const { code, message } = thrown as NodeJS.ErrnoException;
  // The system reports a missing folder as if the program were missing.
  if (cwd !== undefined && !(await stat(cwd).catch(() => null))?.isDirectory()) return 'the folder that it should run in does not exist';
  if (code === 'ENOENT') return 'it was not found. Give its whole path, or install it';
  if (code === 'EACCES') return 'it may not be executed. Check its permissions, and whether its disk is mounted noexec';
  if (code === 'ENOEXEC') return 'it is no program for this machine';
  return message;
}

async function drained(child: ChildProcess, closed: Promise<unknown>): Promise<void> {
  const late = new AbortController();
  await Promise.race([closed, sleep(DRAIN_MS, undefined, { signal: late.signal }).catch(() => {})]);
  late.abort();
  child.stdout?.destroy();
  child.stderr?.destroy();
  await closed;
}
