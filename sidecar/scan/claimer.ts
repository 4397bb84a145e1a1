import { Bell } from './bell.ts';
import { ScanError } from './errors.ts';
import type { ScanEvents } from './events.ts';
import type { HeldChecks } from './held-checks.ts';
import type { Check } from './model.ts';
import type { CheckQueue, Clock, Scanner } from './ports.ts';

const CLAIM_BELOW_WAITING = 16;
const CLAIM_AT_MOST = 32;
/** Checks that wait for a permit for large files do not stop claims, or they would hold up the small ones; but leases cost renewals. */
const MAX_HELD = 256;
/** Of two uploads at the same moment PocketBase announces only one: after a find the queue is asked again soon. */
const FOLLOW_UP_MS = 25;
/** While every stream is busy and more waits, a storm of notifications must not become a storm of claims. */
const PACE_MS = 20;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;

export interface ClaimerParts {
  readonly queue: CheckQueue;
  readonly scanner: Scanner;
  readonly held: HeldChecks;
  readonly clock: Clock;
  readonly events: ScanEvents;
  readonly pollMs: number;
  /** Takes over what was claimed; `askedAt` is when the call began, which is never later than the start of the lease. */
  readonly take: (checks: readonly Check[], askedAt: number) => void;
}

/** Asks the queue for work: when told of some, every `pollMs` at the latest, and while there is more at once. One call in flight. */
export class Claimer {
  readonly #parts: ClaimerParts;
  readonly #bell: Bell;
  #dueAt = 0;
  /** After a failure, not before. */
  #retryAt = 0;
  #lastAt = Number.NEGATIVE_INFINITY;
  #isNoticed = false;
  #isDraining = false;
  #retryMs = FIRST_RETRY_MS;
  #engineRetryMs = FIRST_RETRY_MS;
  #engineGone = false;
  #failure: ScanError | null = null;
  #hasClaimed = false;

  constructor(parts: ClaimerParts) {
    this.#parts = parts;
    this.#bell = new Bell(parts.clock);
  }

  /** There may be work: a hint, never relied upon. */
  notify(): void {
    this.#isNoticed = true;
    this.#bell.ring();
  }

  /** There may be room in memory. */
  roomChanged(): void {
    if (this.#isDraining && this.#parts.held.size === 0) this.#dueAt = this.#parts.clock.now();
    if (this.#hasRoom()) this.#bell.ring();
  }

  /** No claims until an engine is ready again, and not at once even then: one that says so may refuse the next scan too. */
  engineGone(): void {
    this.#engineGone = true;
  }

  engineWorks(): void {
    this.#engineRetryMs = FIRST_RETRY_MS;
  }

  /** Why the last claim failed; null when it did not. */
  get failure(): ScanError | null {
    return this.#failure;
  }

  get hasClaimed(): boolean {
    return this.#hasClaimed;
  }

  /** Runs until `stopping` aborts. A claim in flight then is finished, since its leases are ours; `killing` cuts it off. */
  async run(stopping: AbortSignal, killing: AbortSignal): Promise<void> {
    this.#dueAt = this.#parts.clock.now();
    while (!stopping.aborted) {
      try {
        await this.#untilDue(stopping);
        await this.#untilEngineReady(stopping);
      } catch (thrown) {
        if (stopping.aborted) return;
        this.#failed(thrown);
        continue;
      }
      if (this.#hasRoom()) await this.#claim(killing);
    }
  }

  #hasRoom(): boolean {
    const { held } = this.#parts;
    if (held.hasSuspect) return false;
    return this.#isDraining ? held.size === 0 : held.count('waiting') < CLAIM_BELOW_WAITING && held.size < MAX_HELD;
  }

  async #untilDue(signal: AbortSignal): Promise<void> {
    const { clock, held, pollMs } = this.#parts;
    for (;;) {
      signal.throwIfAborted();
      const now = clock.now();
      const paceMs = held.count('waiting') > 0 ? this.#lastAt + PACE_MS - now : 0;
      const dueMs = Math.max(paceMs, (this.#isNoticed ? this.#retryAt : this.#dueAt) - now);
      const hasRoom = this.#hasRoom();
      if (hasRoom && dueMs <= 0) return;
      await this.#bell.wait(hasRoom ? dueMs : pollMs, signal);
    }
  }

  async #untilEngineReady(signal: AbortSignal): Promise<void> {
    const { clock, scanner } = this.#parts;
    while (this.#engineGone) {
      this.#engineGone = false;
      await clock.sleep(this.#engineRetryMs, signal);
      this.#engineRetryMs = Math.min(this.#engineRetryMs * 2, LAST_RETRY_MS);
    }
    await scanner.ready(signal);
    signal.throwIfAborted();
  }

  async #claim(signal: AbortSignal): Promise<void> {
    const { queue, held, clock, events, take, pollMs } = this.#parts;
    const askedAt = clock.now();
    this.#lastAt = askedAt;
    this.#isNoticed = false;
    try {
      const { checks, drain } = await queue.claim({ max: CLAIM_AT_MOST, alone: held.size === 0 }, signal);
      this.#failure = null;
      this.#hasClaimed = true;
      this.#retryMs = FIRST_RETRY_MS;
      this.#isDraining = drain;
      this.#dueAt = clock.now() + (checks.length === 0 ? pollMs : checks.length < CLAIM_AT_MOST ? Math.min(FOLLOW_UP_MS, pollMs) : 0);
      if (checks.length > 0) events.claimed(checks);
      take(checks, askedAt);
    } catch (thrown) {
      if (!signal.aborted) this.#failed(thrown);
    }
  }

  #failed(thrown: unknown): void {
    this.#failure = ScanError.from(thrown);
    this.#parts.events.callFailed('claim', this.#failure);
    // A notification does not shorten the wait: PocketBase may be alive enough to send them and too weak to answer.
    this.#isNoticed = false;
    this.#retryAt = this.#parts.clock.now() + this.#retryMs;
    this.#dueAt = this.#retryAt;
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }
}
