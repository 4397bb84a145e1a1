import { ScanError } from './errors.ts';
import type { ScanEvents } from './events.ts';
import type { HeldCheck, HeldChecks } from './held-checks.ts';
import type { Settlement } from './model.ts';
import type { CheckQueue, Clock } from './ports.ts';

/** What the routes take in one call, and what keeps its body well below their limit of 2 MB. */
const MAX_ITEMS = 100;
const MAX_FILES = 1000;
/** While a backlog waits nobody misses these milliseconds, and one call then serves many builds. */
const GATHER_MS = 25;
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5000;

/** `refused` is an item that PocketBase calls invalid; `lost` and `dropped` mean that nothing was stored by us. */
export type SettleEnd =
  | { readonly kind: 'stored' }
  | { readonly kind: 'lost' }
  | { readonly kind: 'refused' | 'dropped'; readonly error: ScanError };

interface Item {
  readonly held: HeldCheck;
  readonly settlement: Settlement;
  end(how: SettleEnd): void;
}

/** Ends leases in as few calls as possible: at once when none is in flight, otherwise what is ready goes into the next one. */
export class Settler {
  readonly #queue: CheckQueue;
  readonly #held: HeldChecks;
  readonly #clock: Clock;
  readonly #events: ScanEvents;
  readonly #signal: AbortSignal;
  #ready: Item[] = [];
  #isSending = false;

  constructor(parts: { queue: CheckQueue; held: HeldChecks; clock: Clock; events: ScanEvents }, signal: AbortSignal) {
    this.#queue = parts.queue;
    this.#held = parts.held;
    this.#clock = parts.clock;
    this.#events = parts.events;
    this.#signal = signal;
  }

  /** Resolves when the item has come to its end; never rejects. Repeated while PocketBase is unreachable and the lease may still live. */
  settle(held: HeldCheck, settlement: Settlement): Promise<SettleEnd> {
    return new Promise((resolve) => {
      this.#ready.push({ held, settlement, end: resolve });
      if (!this.#isSending) void this.#sendAll();
    });
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    try {
      while (this.#ready.length > 0) {
        const since = this.#clock.now();
        await this.#send(this.#take());
        await this.#gather(GATHER_MS - (this.#clock.now() - since));
      }
    } finally {
      this.#isSending = false;
    }
  }

  async #gather(ms: number): Promise<void> {
    if (ms <= 0 || this.#held.count('waiting') === 0) return;
    await this.#clock.sleep(ms, this.#signal).catch(() => {});
  }

  #take(): Item[] {
    let files = 0;
    let count = 0;
    for (const { settlement } of this.#ready) {
      files += settlement.check.files.length;
      if (count === MAX_ITEMS || (count > 0 && files > MAX_FILES)) break;
      count++;
    }
    return this.#ready.splice(0, count);
  }

  async #send(items: readonly Item[]): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    for (let open = keepOwned(items); open.length > 0; open = keepOwned(open)) {
      try {
        return await this.#call(open);
      } catch (thrown) {
        const error = ScanError.from(this.#signal.aborted ? this.#signal.reason : thrown);
        if (this.#signal.aborted) return endAll(open, { kind: 'dropped', error });
        if (error.code !== 'store-unavailable') return await this.#sendOneByOne(open, error);
        this.#events.callFailed('settle', error);
        await this.#clock.sleep(retryMs, this.#signal).catch(() => {});
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      }
    }
  }

  async #call(items: readonly Item[]): Promise<void> {
    const answer = await this.#queue.settle(
      items.map((item) => item.settlement),
      this.#signal,
    );
    for (const { held, end } of items) {
      const refusal = answer.refused.get(held.check.id);
      if (refusal !== undefined) end({ kind: 'refused', error: new ScanError('unexpected', `PocketBase refused the outcome: ${refusal}`) });
      else end({ kind: answer.lost.has(held.check.id) ? 'lost' : 'stored' });
    }
  }

  /** One item that makes the whole call fail must not take the others with it. */
  async #sendOneByOne(items: readonly Item[], error: ScanError): Promise<void> {
    if (items.length === 1) return endAll(items, { kind: 'refused', error });
    for (const item of items) await this.#send([item]);
  }
}

function keepOwned(items: readonly Item[]): readonly Item[] {
  for (const item of items) if (item.held.isLost) item.end({ kind: 'lost' });
  return items.filter((item) => !item.held.isLost);
}

function endAll(items: readonly Item[], how: SettleEnd): void {
  for (const item of items) item.end(how);
}
