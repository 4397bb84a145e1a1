import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { boundToParent } from '../parts/bound-to-parent.ts';
import { lineSplitter } from './log.ts';

export interface PartOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** What it gets when this process is killed and can stop nothing any more. */
  readonly deathSignal: 'TERM' | 'KILL';
  /** Milliseconds between the request to stop and SIGKILL. */
  readonly patienceMs: number;
  readonly log: (line: string) => void;
  /** Lines that nobody needs to see; they still count among the last words of a program that fails. */
  readonly hidden?: RegExp;
  /** Runs before every start. */
  readonly prepare?: () => Promise<void>;
}

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
const STEADY_AFTER_MS = 60_000;

/** Milliseconds before the nth restart in a row (from 0): doubling, never more than 30 s. */
export function restartDelay(restarts: number): number {
  return Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** restarts);
}

/** One program of the group: kept running until it is stopped, in a process group of its own, so that Ctrl-C reaches only us. */
export class Part {
  readonly #options: PartOptions;
  readonly #stopping = new AbortController();
  #child: ChildProcess | null = null;
  #supervision: Promise<void> | null = null;
  #steady = false;
  #recent: string[] = [];
  #spawned: () => Promise<void> = async () => {};

  constructor(options: PartOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Starts the program and rejects when it ends before `ready` resolves, with its last lines: what cannot start once needs a
   * human, not a loop. From then on it is restarted whenever it ends.
   *
   * @param spawned told after every start, when `pid` is that of the new process
   */
  async start(ready: (signal: AbortSignal) => Promise<void>, spawned: () => Promise<void> = async () => {}): Promise<void> {
    this.#spawned = spawned;
    await this.#spawn();
    const child = this.#child;
    const failed = new AbortController();
    const ended = this.#ended().then((how) => {
      failed.abort();
      throw new Error(`${this.name} ${how} while starting:\n${this.#recent.map((line) => `  ${line}`).join('\n')}`);
    });
    this.#supervision = ended.catch(() => {}).then(() => (this.#steady ? this.#keepRunning(child) : undefined));
    await Promise.race([ended, ready(AbortSignal.any([failed.signal, this.#stopping.signal]))]);
    this.#steady = true;
  }

  /** Asks the program to end, kills it after its patience, and resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const child = this.#child;
    if (child !== null && !hasEnded(child)) {
      child.kill('SIGTERM');
      const impatience = setTimeout(() => this.kill(), this.#options.patienceMs);
      await once(child, 'exit').finally(() => clearTimeout(impatience));
    }
    await this.#supervision;
  }

  kill(): void {
    this.#child?.kill('SIGKILL');
  }

  async #keepRunning(first: ChildProcess | null): Promise<void> {
    let restarts = 0;
    for (let child = first; !this.#stopping.signal.aborted && child !== null; child = this.#child) {
      const delay = restartDelay(restarts);
      this.#options.log(`${this.name} ${howItEnded(child)}; starting it again in ${delay / 1000} s`);
      await sleep(delay, undefined, { signal: this.#stopping.signal }).catch(() => {});
      if (this.#stopping.signal.aborted) return;
      const began = Date.now();
      await this.#spawn();
      await this.#ended();
      restarts = Date.now() - began > STEADY_AFTER_MS ? 0 : restarts + 1;
    }
  }

  async #spawn(): Promise<void> {
    const { command, args, env, deathSignal, log, hidden } = this.#options;
    await this.#options.prepare?.();
    if (this.#stopping.signal.aborted) return;
    const child = spawn(...boundToParent(command, args, deathSignal), { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#child = child;
    child.on('error', (error) => log(`cannot start ${command}: ${error.message}`));
    for (const stream of [child.stdout, child.stderr]) {
      const lines = lineSplitter((line) => {
        this.#recent = [...this.#recent.slice(-19), line];
        if (hidden?.test(line) !== true) log(line);
      });
      stream.on('data', (chunk: Buffer) => lines.push(chunk));
      stream.on('end', () => lines.end());
    }
    await this.#spawned();
  }

  /** Resolves with the words for how the present program ended, after its last line was read. */
  async #ended(): Promise<string> {
    const child = this.#child;
    if (child === null) return 'was never started';
    if (!hasEnded(child) && child.pid !== undefined) await once(child, 'close');
    return howItEnded(child);
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function howItEnded(child: ChildProcess): string {
  if (child.pid === undefined) return 'could not be started';
  return child.signalCode === null ? `ended with code ${child.exitCode}` : `was ended by ${child.signalCode}`;
}
