/** One role of several: what keeps it from its work is its own trouble, and not that of its neighbours. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Readiness, roleReadiness } from '../http/readiness.ts';
import type { Role } from './role.ts';

export interface RoleRunnerEvents {
  roleFailed(role: string, why: string): void;
}

/** A start that takes longer goes on by itself: a folder on a dead file server must not hold up what else the process does. */
const START_MS = 5000;
const RETRY_MS = 10_000;

export class RoleRunner {
  readonly role: Role;
  readonly #events: RoleRunnerEvents;
  readonly #startMs: number;
  readonly #retryMs: number;
  readonly #stopping = new AbortController();
  #why: string | null = 'it has not started yet';
  #starting: Promise<void> = Promise.resolve();

  constructor(role: Role, events: RoleRunnerEvents, { startMs = START_MS, retryMs = RETRY_MS } = {}) {
    this.role = role;
    this.#events = events;
    this.#startMs = startMs;
    this.#retryMs = retryMs;
  }

  /** Until it has begun, its readiness is that it has not, and why. */
  readiness(): Readiness {
    return this.#why === null ? this.role.readiness() : roleReadiness({ [this.role.name]: { ready: false, why: this.#why } });
  }

  /** Resolves when it has begun, or could not at first; never rejects. */
  async start(): Promise<void> {
    const first = this.#begin();
    this.#starting = first.then((begun) => (begun ? undefined : this.#tryAgain()));
    await this.#within(first);
  }

  /** What is still beginning is left behind after a moment: it may never end. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#within(this.#starting);
    await this.role.stop();
  }

  async #begin(): Promise<boolean> {
    try {
      await this.role.start();
      this.#why = null;
      return true;
    } catch (thrown) {
      this.#why = thrown instanceof Error ? thrown.message : String(thrown);
      this.#events.roleFailed(this.role.name, this.#why);
      return false;
    }
  }

  async #tryAgain(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await sleep(this.#retryMs, undefined, { signal }).catch(() => {});
      if (signal.aborted || (await this.#begin())) return;
    }
  }

  async #within(work: Promise<unknown>): Promise<void> {
    const enough = new AbortController();
    await Promise.race([work, sleep(this.#startMs, undefined, { signal: enough.signal }).catch(() => {})]);
    enough.abort();
  }
}
