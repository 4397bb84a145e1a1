/** Runs the programs of a build: their lines go to its log, and whoever comes after a kill -9 finds their process group. */
import { readFileSync, writeFileSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { BuildFailure, BuildStopped } from './build-error.ts';
import { childEnvironment } from './child-environment.ts';
import { processStat } from './process-identity.ts';
import { runProgram } from './run-program.ts';

export interface ProgramOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** A file that it reads from its standard input; nothing by default. */
  readonly input?: string;
  /** Sees each line first: the log gets what it returns, or nothing for null. */
  readonly onLine?: (text: string, from: 'stdout' | 'stderr') => string | null;
  /** What to do when it fails, as a sentence. */
  readonly advice: string;
}

/** Rejects with a BuildFailure that quotes the last line, or with the reason of the signal. */
export type Run = (name: string, program: string, args: readonly string[], options: ProgramOptions) => Promise<void>;

const GRACE_MS = 5000;
const MAX_QUOTE_CHARS = 300;

export function programsOf(childFile: string, line: (text: string, cutBytes: number) => void, signal: AbortSignal): Run {
  return async (name, program, args, { cwd, env, input, onLine, advice }) => {
    signal.throwIfAborted();
    let said = '';
    const take = (raw: string, from: 'stdout' | 'stderr', cutBytes: number) => {
      const kept = onLine === undefined ? raw : onLine(raw, from);
      if (kept === null) return;
      const text = withoutPasswords(kept);
      if (text.trim() !== '') said = told(said, text);
      line(text, cutBytes);
    };
    const ended = await runProgram(program, [...args], {
      cwd,
      env: childEnvironment(env),
      ...(input !== undefined && { input }),
      signal,
      graceMs: GRACE_MS,
      onLine: take,
      onStart: (pid: number) => noteChild(childFile, pid),
    }).catch((thrown: unknown) => {
      signal.throwIfAborted();
      const why = thrown instanceof Error ? thrown.message : `${name} could not be started.`;
      // The log is open to whoever reaches the port, and where our programs are is not for them.
      throw new BuildFailure(`${why.replaceAll(program, name)} ${advice}`);
    });
    await rm(childFile, { force: true });
    if (signal.reason instanceof BuildStopped) throw signal.reason.after(ended);
    signal.throwIfAborted();
    if (ended.exitCode === 0) return;
    const how = ended.exitCode === null ? `was ended by ${ended.signal}` : `ended with exit code ${ended.exitCode}`;
    throw new BuildFailure(`${name} ${how}${said === '' ? '' : `: ${said.slice(0, MAX_QUOTE_CHARS)}`}. ${advice}`, ended);
  };
}

/** The line that tells why: the first one that says error, else the last one. Go and git both follow it with details. */
function told(before: string, text: string): string {
  const isError = /\b(ERROR|fatal|error):?\s/;
  return isError.test(before) ? before : text.trim();
}

/** git quotes the address of a repository when it fails. */
function withoutPasswords(text: string): string {
  return text.replaceAll(/:\/\/[^/\s@]+@/g, '://***@');
}

export interface Child {
  readonly host: string;
  readonly pid: number;
  readonly started: string;
}

/** Written at once and not through a queue: a kill -9 may come at any moment. */
function noteChild(file: string, pid: number): void {
  try {
    const child: Child = { host: hostname(), pid, started: startedAt(readFileSync(`/proc/${pid}/stat`, 'utf8')) };
    writeFileSync(file, JSON.stringify(child));
  } catch {
    // Without /proc, or already ended: then nobody will look for it.
  }
}

/**
 * The process group that a builder noted as working for it; null when it has ended or ran elsewhere. The guard of run-program.ts ends it
 * too, but leaves it five seconds for that, and the next build must not begin beside it.
 */
export async function leftBehind(file: string): Promise<Child | null> {
  try {
    const { host, pid, started } = JSON.parse(await readFile(file, 'utf8')) as Partial<Child>;
    if (host !== hostname() || !Number.isSafeInteger(pid) || pid === undefined || pid <= 1 || started === undefined) return null;
    // The pid alone proves nothing: it may be another's by now.
    return (await startOf(pid)) === started ? { host, pid, started } : null;
  } catch {
    return null;
  }
}

async function startOf(pid: number): Promise<string | null> {
  const stat = await processStat(pid);
  return stat === null || stat.isZombie ? null : stat.startedAt;
}

/** The start of the process, as processStat reads it. */
function startedAt(stat: string): string {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}
