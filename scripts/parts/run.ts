import { type ChildProcess, spawn } from 'node:child_process';
import { constants, existsSync } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { boundToParent } from './bound-to-parent.ts';

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Milliseconds until the program is killed; it then counts as failed. Default: none. */
  readonly timeoutMs?: number;
  /**
   * Ends the program, and whatever it has started: it then runs in a process group of its own, which gets SIGINT, and SIGKILL two seconds
   * later. It counts as failed.
   */
  readonly signal?: AbortSignal;
}

export interface RunResult {
  /** Null when it could not be started or was killed. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end without a shell and without input. Never rejects: a program that cannot be started has code null. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return new Promise((resolve) => {
    if (!existsSync(command) && command.includes('/')) return resolve({ code: null, stdout: '', stderr: `${command} does not exist` });
    const { signal } = options;
    if (signal?.aborted) return resolve({ code: null, stdout: '', stderr: `${command} was not started: it is not wanted any more` });
    const child = spawn(...boundToParent(command, args), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: options.env ?? process.env,
      detached: signal !== undefined,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs, killSignal: 'SIGKILL' as const }),
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    const result = (code: number | null, extra = '') =>
      resolve({ code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() + extra });
    const ended = signal === undefined ? () => {} : endedBy(signal, child);
    child.on('error', (error) => {
      ended();
      result(null, error.message);
    });
    child.on('close', (code) => {
      ended();
      result(signal?.aborted ? null : code);
    });
  });
}

const KILL_MS = 2000;

/** To be called when the program has ended. */
function endedBy(signal: AbortSignal, { pid }: ChildProcess): () => void {
  let timer: NodeJS.Timeout | undefined;
  const send = (name: NodeJS.Signals) => {
    try {
      if (pid !== undefined) process.kill(-pid, name);
    } catch {
      // Nobody is left in the group.
    }
  };
  // Go removes its temporary folders at SIGINT alone.
  const end = () => {
    send('SIGINT');
    timer = setTimeout(send, KILL_MS, 'SIGKILL');
  };
  signal.addEventListener('abort', end, { once: true });
  return () => {
    signal.removeEventListener('abort', end);
    clearTimeout(timer);
    if (signal.aborted) send('SIGKILL');
  };
}

/** As `run`, but anything else than exit code 0 is thrown, with the last lines of what the program said. */
export async function runOrThrow(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(command, args, options);
  if (result.code === 0) return result.stdout;
  const said = lastLines(`${result.stdout}\n${result.stderr}`, 8);
  throw new Error(
    `${[command, ...args.slice(0, 3)].join(' ')} ${result.code === null ? 'did not finish' : `ended with ${result.code}`}: ${said}`,
  );
}

/** Where a program is on PATH or in one of the extra folders; null when nowhere. */
export async function findProgram(name: string, extraFolders: readonly string[] = []): Promise<string | null> {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...extraFolders].filter((folder) => folder !== '');
  for (const folder of folders) {
    const path = join(folder, name);
    if (await isProgram(path)) return path;
  }
  return null;
}

export async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

function lastLines(text: string, count: number): string {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-count)
    .join(' | ');
}
