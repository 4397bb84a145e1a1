import { ScanError } from './errors.ts';
import type { ScanEvents } from './events.ts';
import type { HeldCheck, HeldChecks } from './held-checks.ts';
import type { CheckQueue, Clock } from './ports.ts';

/** Renewals a lease gets before it runs out: two may fail. */
const RENEWALS_PER_LEASE = 3;
/** How finely our own clock watches for leases that could not be renewed. */
const LOOKS_PER_LEASE = 20;
const MAX_LEASES_PER_CALL = 100;
const RETRY_MS = 1000;

/** Keeps every held lease alive in one call for all, and ends the scans of those that cannot be kept. */
export class Keeper {
  readonly #queue: CheckQueue;
  readonly #held: HeldChecks;
  readonly #clock: Clock;
  readonly #events: ScanEvents;
  readonly #leaseMs: number;

  constructor(parts: { queue: CheckQueue; held: HeldChecks; clock: Clock; events: ScanEvents; leaseMs: number }) {
    this.#queue = parts.queue;
    this.#held = parts.held;
    this.#clock = parts.clock;
    this.#events = parts.events;
    this.#leaseMs = parts.leaseMs;
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#renewAlways(signal), this.#watchAlways(signal)]);
  }

  async #renewAlways(signal: AbortSignal): Promise<void> {
    const everyMs = this.#leaseMs / RENEWALS_PER_LEASE;
    let nextMs = everyMs;
    while (await this.#slept(nextMs, signal)) {
      try {
        await this.#renewAll(signal);
        nextMs = everyMs;
      } catch (thrown) {
        if (signal.aborted) return;
        this.#events.callFailed('renew', ScanError.from(thrown));
        nextMs = Math.min(RETRY_MS, everyMs);
      }
    }
  }

  async #renewAll(signal: AbortSignal): Promise<void> {
    const all = this.#held.all();
    for (let from = 0; from < all.length; from += MAX_LEASES_PER_CALL)
      await this.#renew(all.slice(from, from + MAX_LEASES_PER_CALL), signal);
  }

  async #renew(batch: readonly HeldCheck[], signal: AbortSignal): Promise<void> {
    const since = this.#clock.now();
    const { lost } = await this.#queue.renew(
      batch.map((held) => held.lease),
      signal,
    );
    for (const held of batch) {
      if (!lost.has(held.check.id)) held.leaseEndsAt = since + this.#leaseMs;
      else held.lose(new ScanError('lease-lost', 'PocketBase gave the check to somebody else, or its build changed'));
    }
  }

  /** Fails closed where PocketBase cannot be asked: what may belong to another worker is not scanned any further. */
  async #watchAlways(signal: AbortSignal): Promise<void> {
    while (await this.#slept(this.#leaseMs / LOOKS_PER_LEASE, signal)) {
      const now = this.#clock.now();
      for (const held of this.#held.all()) {
        if (now >= held.leaseEndsAt && !held.isLost) held.lose(new ScanError('lease-lost', 'the lease could not be renewed in time'));
      }
    }
  }

  async #slept(ms: number, signal: AbortSignal): Promise<boolean> {
    await this.#clock.sleep(ms, signal).catch(() => {});
    return !signal.aborted;
  }
}
