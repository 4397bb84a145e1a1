/** The compiled sidecar as a process of its own, with a real environment. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { sidecarFlags } from '../../scripts/sidecar-flags.ts';
import { eventually } from './eventually.ts';
import { freePort, superuser } from './pocketbase.ts';

const main = fileURLToPath(new URL('../../build/sidecar/main.js', import.meta.url));
export const notifySecret = 'a notify secret of the tests';

export interface SidecarOptions {
  readonly pocketbase: { readonly url: string };
  readonly clamd: { readonly address: string };
  /** Wins over what is set here. */
  readonly env?: Readonly<Record<string, string>>;
  /** Default: a free one. Give it when PocketBase's AV_SIDECAR_URL must be known before. */
  readonly port?: number;
  /** Flags of node, beside those that production has. */
  readonly nodeFlags?: readonly string[];
  /** What the start waits for: `ready` (default) to do its job, or only that it is `listening`. */
  readonly until?: 'ready' | 'listening';
}

export interface RunningSidecar extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Everything it has written so far, over all starts. */
  log(): string;
  /** Its JSON log lines, optionally of one event alone. */
  events(event?: string): Record<string, unknown>[];
  /** Sends the signal; resolves with the exit code when the process has ended. */
  kill(signal?: NodeJS.Signals): Promise<number | null>;
  /** Kills it if it runs, and starts it again on the same port. */
  restart(): Promise<void>;
  /** Ends it without waiting for running scans. */
  stop(): Promise<void>;
}

/** Resolves when it is what `until` asks for; rejects with its log when it ends before. */
export async function startSidecar(options: SidecarOptions): Promise<RunningSidecar> {
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-sidecar-'));
  const logFile = join(folder, 'log');
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  const log = () => readFileSync(logFile, 'utf8');
  const start = async () => {
    const started = await launch(options, port, logFile);
    const path = options.until === 'listening' ? '/healthz' : '/readyz';
    const answers = async () => {
      const answer = await fetch(`${url}${path}`);
      return answer.ok || Promise.reject(new Error(await answer.text()));
    };
    await eventually(`the sidecar answers ${path}`, () => hasEnded(started) || answers(), 30_000).catch(async (thrown) => {
      await end(started, 'SIGKILL');
      throw thrown;
    });
    if (hasEnded(started)) throw new Error(`the sidecar ended with ${started.exitCode}:\n${log()}`);
    return started;
  };
  let child = await start();
  const kill = (signal: NodeJS.Signals = 'SIGKILL') => end(child, signal);
  const stop = () => stopAtOnce(child);
  return {
    url,
    port,
    get pid() {
      return child.pid!;
    },
    log,
    events: (event) => parsed(log()).filter((line) => event === undefined || line.event === event),
    kill,
    async restart() {
      await kill();
      child = await start();
    },
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Output goes to a file: a pipe would make this process pay for reading it, and lose what comes while it is busy. */
async function launch(options: SidecarOptions, port: number, logFile: string): Promise<ChildProcess> {
  const output = await open(logFile, 'a');
  try {
    return spawn(process.execPath, [...sidecarFlags, ...(options.nodeFlags ?? []), main], {
      env: {
        PATH: process.env.PATH,
        POCKETBASE_URL: options.pocketbase.url,
        POCKETBASE_SUPERUSER_EMAIL: superuser.email,
        POCKETBASE_SUPERUSER_PASSWORD: superuser.password,
        CLAMD_ADDRESSES: options.clamd.address,
        ALLOW_TEST_SIGNATURES: 'true',
        // A test counts its builds.
        GATE_PROBE_BUILD: 'false',
        AV_NOTIFY_SECRET: notifySecret,
        PORT: String(port),
        ...options.env,
      },
      stdio: ['ignore', output.fd, output.fd],
    });
  } finally {
    await output.close();
  }
}

/** The first signal starts a graceful stop, the second ends it. */
async function stopAtOnce(child: ChildProcess): Promise<void> {
  const patience = new AbortController();
  const insist = async () => {
    await sleep(200, undefined, { signal: patience.signal });
    child.kill('SIGTERM');
    await sleep(5_000, undefined, { signal: patience.signal });
    child.kill('SIGKILL');
  };
  insist().catch(() => {});
  await end(child, 'SIGTERM');
  patience.abort();
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (hasEnded(child)) return child.exitCode;
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
  return child.exitCode;
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function parsed(log: string): Record<string, unknown>[] {
  return log.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as Record<string, unknown>];
    } catch {
      return [];
    }
  });
}
