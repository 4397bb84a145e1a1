/** Moves events from the history to whoever is told of them: at least once each, over restarts, until it is given up for all to see. */
import type { Clock } from '../../scan/ports.ts';
import type { Endpoint } from './endpoint.ts';
import { type DeliveryEvents, type DeliveryParts, EndpointQueue, GIVE_UP_MS, noteFailure } from './endpoint-queue.ts';
import { eventOf, type WebhookEvent } from './event.ts';
import type { HistoryRow, Outbox } from './outbox.ts';
import { rounds } from './rounds.ts';

export interface DelivererEvents extends DeliveryEvents {
  /** An entry of the history is none that we wrote. */
  unreadable(seq: number, why: string): void;
  /** PocketBase does not take the delivery of this event, whenever it is asked. */
  refused(event: string, endpoint: string, why: string): void;
  /** So many entries up to `seq` became too old before they were read; nobody is told of them. */
  outdated(count: number, seq: number): void;
  callFailed(why: string): void;
}

export interface DelivererParts extends DeliveryParts {
  readonly outbox: Pick<Outbox, 'cursor' | 'moveCursor' | 'historyAfter' | 'add' | 'due' | 'dueElsewhere' | 'change' | 'prune'>;
  readonly endpoints: readonly Endpoint[];
  readonly clock: Clock;
  readonly events: DelivererEvents;
}

const EVERY_MS = 2000;
const TIDY_EVERY_MS = 60_000;
const PAGE = 100;
const PRUNE_EVERY_MS = 3_600_000;
const KEEP_MS = 14 * 24 * 3_600_000;

export class Deliverer {
  readonly #parts: DelivererParts;
  readonly #queues: readonly EndpointQueue[];
  #prunedAt = 0;

  constructor(parts: DelivererParts) {
    this.#parts = parts;
    this.#queues = parts.endpoints.map((endpoint) => new EndpointQueue(parts, endpoint));
  }

  /** Reading, each receiver and tidying up in loops of their own, until `signal` aborts; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, events } = this.#parts;
    const told = { clock, failed: (why: string) => events.callFailed(why) };
    await Promise.all([
      rounds(EVERY_MS, told, signal, () => this.#readHistory(signal)),
      ...this.#queues.map((queue) => rounds(EVERY_MS, told, signal, () => queue.deliver(signal))),
      rounds(TIDY_EVERY_MS, told, signal, () => this.#tidy(signal)),
    ]);
  }

  /** Everything that `run` does, once. Rejects after the last step where one of them failed. */
  async round(signal: AbortSignal): Promise<void> {
    const [reading] = await Promise.allSettled([this.#readHistory(signal)]);
    const rest = await Promise.allSettled([...this.#queues.map((queue) => queue.deliver(signal)), this.#tidy(signal)]);
    for (const each of [reading, ...rest]) if (each.status === 'rejected') throw each.reason;
  }

  /** Tells of something that is in no history. Rejects where it is not kept for every receiver; repeating it then is safe. */
  async announce(event: WebhookEvent, signal: AbortSignal): Promise<void> {
    const { endpoints, outbox, events, wallClock } = this.#parts;
    const now = wallClock();
    const body = JSON.stringify(event);
    for (const { id } of endpoints) {
      const why = await outbox.add({ event: event.id, kind: event.type, endpoint: id, body }, now, now + GIVE_UP_MS, signal);
      if (why !== null) events.refused(event.id, id, why);
    }
  }

  /** The cursor moves only after everything before it is in the outbox, so that a crash repeats rather than skips. */
  async #readHistory(signal: AbortSignal): Promise<void> {
    const { outbox, events, wallClock } = this.#parts;
    for (;;) {
      const rows = await outbox.historyAfter(await outbox.cursor(signal), PAGE, signal);
      const last = rows.at(-1);
      if (last === undefined) return;
      let outdated = 0;
      for (const event of rows.map((row) => this.#eventOf(row)).filter((each) => each !== null)) {
        if (Date.parse(event.timestamp) < wallClock() - GIVE_UP_MS) outdated += 1;
        else await this.announce(event, signal);
      }
      await outbox.moveCursor(last.seq, signal);
      if (outdated > 0) events.outdated(outdated, last.seq);
      if (rows.length < PAGE) return;
    }
  }

  #eventOf({ seq, entry }: HistoryRow): WebhookEvent | null {
    try {
      return eventOf(seq, entry);
    } catch (thrown) {
      this.#parts.events.unreadable(seq, (thrown instanceof Error ? thrown.message : String(thrown)).slice(0, 200));
      return null;
    }
  }

  /** A receiver that is named again within a day loses nothing, so what is due for others is put off like any failure. */
  async #tidy(signal: AbortSignal): Promise<void> {
    const { outbox, endpoints, wallClock } = this.#parts;
    const ids = endpoints.map(({ id }) => id);
    for (const delivery of await outbox.dueElsewhere(ids, wallClock(), PAGE, signal)) {
      await noteFailure(this.#parts, delivery, 'it is no longer in RESULT_WEBHOOK_URLS', signal);
    }
    await this.#prune(signal);
  }

  async #prune(signal: AbortSignal): Promise<void> {
    const now = this.#parts.wallClock();
    if (now - this.#prunedAt < PRUNE_EVERY_MS) return;
    while ((await this.#parts.outbox.prune(now - KEEP_MS, signal)) > 0) signal.throwIfAborted();
    this.#prunedAt = now;
  }
}
