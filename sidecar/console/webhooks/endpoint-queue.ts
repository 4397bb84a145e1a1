/** What is due for one receiver, delivered without regard to any other. */
import type { Endpoint } from './endpoint.ts';
import type { Delivery, Outbox } from './outbox.ts';

export interface DeliveryEvents {
  delivered(delivery: Delivery): void;
  failed(delivery: Delivery, why: string, givenUp: boolean): void;
}

export interface DeliveryParts {
  readonly outbox: Pick<Outbox, 'due' | 'change'>;
  /** As of createSender. */
  send(url: URL, id: string, body: string, stop: AbortSignal): Promise<string | null>;
  readonly events: DeliveryEvents;
  /** Unix milliseconds. */
  wallClock(): number;
  /** From 0 to 1, for the jitter of pauses. */
  random(): number;
}

export const GIVE_UP_MS = 24 * 3_600_000;
const PAGE = 100;
const AT_ONCE = 8;
const FIRST_PAUSE_MS = 10_000;
const LAST_PAUSE_MS = 3_600_000;
/** Of a receiver that accepts nothing: each attempt may take ten seconds, so that its queue is not tried row by row. */
const FIRST_REST_MS = 5_000;
const LAST_REST_MS = 60_000;

export class EndpointQueue {
  readonly #parts: DeliveryParts;
  readonly #endpoint: Endpoint;
  #failures = 0;
  #restUntil = 0;

  constructor(parts: DeliveryParts, endpoint: Endpoint) {
    this.#parts = parts;
    this.#endpoint = endpoint;
  }

  /** Delivers one page of what is due. After a failure the receiver is asked with one delivery at a time until it accepts one. */
  async deliver(signal: AbortSignal): Promise<void> {
    const { outbox, wallClock } = this.#parts;
    if (this.#isResting(wallClock())) return;
    const due = await outbox.due(this.#endpoint.id, wallClock(), PAGE, signal);
    let at = 0;
    while (at < due.length && !signal.aborted) {
      const some = due.slice(at, at + (this.#failures === 0 ? AT_ONCE : 1));
      at += some.length;
      const problems = await allEnded(some.map((delivery) => this.#attempt(delivery, signal)));
      const [why] = problems;
      if (problems.includes(null)) this.#failures = 0;
      else if (typeof why === 'string') return await this.#rest(why, due.slice(at), signal);
    }
  }

  /** A clock that was put back must not make a rest of it. */
  #isResting(now: number): boolean {
    const left = this.#restUntil - now;
    return left > 0 && left <= LAST_REST_MS;
  }

  /** Those that were not reached and have had their time end here, since the next attempt may be one alone again. */
  async #rest(why: string, untried: readonly Delivery[], signal: AbortSignal): Promise<void> {
    const now = this.#parts.wallClock();
    this.#restUntil = now + Math.min(LAST_REST_MS, FIRST_REST_MS * 2 ** this.#failures);
    this.#failures += 1;
    for (const delivery of untried.filter(({ giveUpAt }) => now >= Date.parse(giveUpAt))) {
      await noteFailure(this.#parts, delivery, why, signal);
    }
  }

  async #attempt(delivery: Delivery, signal: AbortSignal): Promise<string | null> {
    const { outbox, send, events, wallClock } = this.#parts;
    const why = await send(this.#endpoint.url, delivery.event, delivery.body, signal);
    if (why !== null) {
      // Stopped, which is no failure of the receiver.
      signal.throwIfAborted();
      await noteFailure(this.#parts, delivery, why, signal);
      return why;
    }
    const change = { attempts: delivery.attempts + 1, delivered_at: wallClock(), next_at: null, last_error: '' };
    await outbox.change(delivery.id, change, signal);
    events.delivered(delivery);
    return null;
  }
}

/** Puts the next attempt off, or gives the delivery up when its time is over. */
export async function noteFailure(
  { outbox, events, wallClock, random }: Omit<DeliveryParts, 'send'>,
  delivery: Delivery,
  why: string,
  signal: AbortSignal,
): Promise<void> {
  const attempts = delivery.attempts + 1;
  const now = wallClock();
  const givenUp = now >= Date.parse(delivery.giveUpAt);
  const pause = Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (attempts - 1)) * (0.75 + random() / 2);
  const outcome = givenUp ? { given_up_at: now, next_at: null } : { next_at: now + pause };
  await outbox.change(delivery.id, { attempts, last_error: why, ...outcome }, signal);
  events.failed(delivery, why, givenUp);
}

/** As Promise.all, but rejects only when nothing is under way any more, so that nothing is begun a second time beside it. */
async function allEnded<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return await Promise.all(promises);
}
