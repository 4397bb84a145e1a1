/**
 * What is to be delivered, kept in PocketBase. The outbox proper is the scan history: its rows are written in the same transaction as what
 * they tell, so that a cursor over it misses nothing and costs a verdict nothing. What is found there becomes one delivery an endpoint.
 */
import PocketBase, { BaseAuthStore } from 'pocketbase';
import { z } from 'zod';
import { dateText } from '../../../pb_hooks/lib/dates.ts';
import type { Session } from '../../pocketbase/session.ts';
import { ScanError } from '../../scan/errors.ts';

export interface HistoryRow {
  readonly seq: number;
  readonly entry: string;
}

export interface NewDelivery {
  readonly event: string;
  readonly kind: string;
  readonly endpoint: string;
  readonly body: string;
}

export interface Delivery extends NewDelivery {
  readonly id: string;
  readonly attempts: number;
  /** ISO 8601, UTC; null where it has not happened. */
  readonly createdAt: string;
  readonly nextAt: string | null;
  readonly giveUpAt: string;
  readonly deliveredAt: string | null;
  readonly givenUpAt: string | null;
  readonly lastError: string;
}

/** What changes of a delivery; times in milliseconds since the epoch, null to clear. */
export interface DeliveryChange {
  readonly attempts?: number;
  readonly next_at?: number | null;
  readonly give_up_at?: number;
  readonly delivered_at?: number;
  readonly given_up_at?: number | null;
  readonly last_error?: string;
}

/** A record of PocketBase has 15 characters of this alphabet. */
const CURSOR_ID = 'cursor000000000';
const DELIVERIES = '/api/collections/av_deliveries/records';
const CURSOR = '/api/collections/av_delivery_cursor/records';
const HISTORY = '/api/collections/av_scan_history/records';
const TIMEOUT_MS = 10_000;
/** Before any date, and after '' where there is none. A comparison with '' itself would become an OR, which no index serves. */
const NO_DATE = '0';
/** A delivery that has ended has no `next_at`. */
const DUE = 'next_at > {:no} && next_at <= {:now}';
const BAD_REQUEST = 400;
/** Only for its quoting in filters. */
const sdk = new PocketBase('http://unused.invalid', new BaseAuthStore());

const rows = z.object({ items: z.array(z.object({ seq: z.number(), entry: z.string() })) });
const cursorAnswer = z.object({ seq: z.number() });
const optionalDate = z.string().transform((text) => (text === '' ? null : new Date(text.replace(' ', 'T')).toISOString()));
const date = optionalDate.transform((text) => text ?? new Date(0).toISOString());
const delivery = z
  .object({
    id: z.string(),
    event: z.string(),
    kind: z.string(),
    endpoint: z.string(),
    body: z.string(),
    attempts: z.number(),
    created: date,
    next_at: optionalDate,
    give_up_at: date,
    delivered_at: optionalDate,
    given_up_at: optionalDate,
    last_error: z.string(),
  })
  .transform(
    ({ created, next_at, give_up_at, delivered_at, given_up_at, last_error, ...rest }): Delivery => ({
      ...rest,
      createdAt: created,
      nextAt: next_at,
      giveUpAt: give_up_at,
      deliveredAt: delivered_at,
      givenUpAt: given_up_at,
      lastError: last_error,
    }),
  );
const page = z.object({ items: z.array(delivery) });
const refusal = z.object({ status: z.number(), response: z.object({ data: z.record(z.string(), z.unknown()) }) });
const counted = z.object({ totalItems: z.number() });

export class Outbox {
  readonly #session: Pick<Session, 'send'>;

  constructor(session: Pick<Session, 'send'>) {
    this.#session = session;
  }

  /** Up to where the history has been read. The first time: its end, so that nobody is told of what is long over. */
  async cursor(signal: AbortSignal): Promise<number> {
    try {
      return cursorAnswer.parse(await this.#get(`${CURSOR}/${CURSOR_ID}`, signal)).seq;
    } catch (thrown) {
      if (statusOf(thrown) !== 404) throw thrown;
    }
    const newest = rows.parse(await this.#get(`${HISTORY}?sort=-seq&perPage=1&skipTotal=1`, signal)).items[0]?.seq ?? 0;
    await this.#insert(CURSOR, { id: CURSOR_ID, seq: newest }, signal);
    return newest;
  }

  async moveCursor(seq: number, signal: AbortSignal): Promise<void> {
    await this.#send('PATCH', `${CURSOR}/${CURSOR_ID}`, { seq }, signal);
  }

  /** The rows after `seq`, oldest first. */
  async historyAfter(seq: number, limit: number, signal: AbortSignal): Promise<readonly HistoryRow[]> {
    const query = new URLSearchParams({ filter: `seq > ${seq}`, sort: 'seq', perPage: String(limit), skipTotal: '1', fields: 'seq,entry' });
    return rows.parse(await this.#get(`${HISTORY}?${query}`, signal)).items;
  }

  /** Null once it is kept; repeating it changes nothing. A sentence where PocketBase refuses what stands in it, and always will. */
  async add(delivery: NewDelivery, now: number, giveUpAt: number, signal: AbortSignal): Promise<string | null> {
    const body = { ...delivery, attempts: 0, next_at: dateText(now), give_up_at: dateText(giveUpAt) };
    return await this.#insert(DELIVERIES, body, signal);
  }

  /** What is to be sent to this endpoint now, the longest due first. */
  async due(endpoint: string, now: number, limit: number, signal: AbortSignal): Promise<readonly Delivery[]> {
    return await this.#page(`endpoint = {:endpoint} && ${DUE}`, { endpoint, now: dateText(now) }, 'next_at', limit, signal);
  }

  /** What is due for endpoints that are none of these. */
  async dueElsewhere(endpoints: readonly string[], now: number, limit: number, signal: AbortSignal): Promise<readonly Delivery[]> {
    const others = endpoints.map((_, index) => ` && endpoint != {:e${index}}`).join('');
    const values = Object.fromEntries(endpoints.map((endpoint, index) => [`e${index}`, endpoint]));
    return await this.#page(`${DUE}${others}`, { ...values, now: dateText(now) }, 'next_at', limit, signal);
  }

  /** Deliveries of events whose id begins with `<word>-`, newest first. */
  async newestOf(word: string, limit: number, signal: AbortSignal): Promise<readonly Delivery[]> {
    // A range, which the index on events serves: a dot follows a hyphen.
    return await this.#page('event > {:from} && event < {:to}', { from: `${word}-`, to: `${word}.` }, '-created', limit, signal);
  }

  async change(id: string, change: DeliveryChange, signal: AbortSignal): Promise<void> {
    const body = Object.fromEntries(
      Object.entries(change).map(([name, value]) => [name, name.endsWith('_at') ? dateText((value as number | null) ?? 0) : value]),
    );
    await this.#send('PATCH', `${DELIVERIES}/${id}`, body, signal);
  }

  /** Newest first. */
  async newest(limit: number, signal: AbortSignal): Promise<readonly Delivery[]> {
    const query = new URLSearchParams({ sort: '-created', perPage: String(limit), skipTotal: '1' });
    return page.parse(await this.#get(`${DELIVERIES}?${query}`, signal)).items;
  }

  async get(id: string, signal: AbortSignal): Promise<Delivery | null> {
    try {
      return delivery.parse(await this.#get(`${DELIVERIES}/${encodeURIComponent(id)}`, signal));
    } catch (thrown) {
      if (statusOf(thrown) === 404) return null;
      throw thrown;
    }
  }

  /** Deliveries that still wait although they have failed, and those that were given up. */
  async troubled(signal: AbortSignal): Promise<{ readonly failing: number; readonly givenUp: number }> {
    const count = async (filter: string) => {
      const query = new URLSearchParams({ filter: sdk.filter(filter, { no: NO_DATE }), perPage: '1', fields: 'id' });
      return counted.parse(await this.#get(`${DELIVERIES}?${query}`, signal)).totalItems;
    };
    const failing = await count('next_at > {:no} && attempts > 0');
    return { failing, givenUp: await count('given_up_at > {:no}') };
  }

  /** Removes one page of what ended before `before`; answers how many it removed. */
  async prune(before: number, signal: AbortSignal): Promise<number> {
    const filter = `created < '${dateText(before)}' && (delivered_at != '' || given_up_at != '')`;
    const query = new URLSearchParams({ filter, sort: 'created', perPage: '200', skipTotal: '1' });
    const { items } = page.parse(await this.#get(`${DELIVERIES}?${query}`, signal));
    for (const { id } of items) await this.#send('DELETE', `${DELIVERIES}/${id}`, undefined, signal);
    return items.length;
  }

  /** Two consoles that see the same event make one delivery of it: that the other was first is no refusal. */
  async #insert(path: string, body: object, signal: AbortSignal): Promise<string | null> {
    try {
      await this.#send('POST', path, body, signal);
      return null;
    } catch (thrown) {
      const refused = JSON.stringify(refusedFieldsOf(thrown));
      if (refused === '{}') throw thrown;
      return /not_unique|already/.test(refused) ? null : refused.slice(0, 300);
    }
  }

  async #page(filter: string, values: Record<string, string>, sort: string, limit: number, signal: AbortSignal): Promise<Delivery[]> {
    const text = sdk.filter(filter, { no: NO_DATE, ...values });
    const query = new URLSearchParams({ filter: text, sort, perPage: String(limit), skipTotal: '1' });
    return page.parse(await this.#get(`${DELIVERIES}?${query}`, signal)).items;
  }

  #get(path: string, signal: AbortSignal): Promise<unknown> {
    return this.#send('GET', path, undefined, signal);
  }

  #send(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body: object | undefined, signal: AbortSignal): Promise<unknown> {
    return this.#session.send({ method, path, timeoutMs: TIMEOUT_MS, ...(body === undefined ? {} : { body }) }, signal);
  }
}

function statusOf(thrown: unknown): number | null {
  const { cause } = ScanError.from(thrown);
  return typeof cause === 'object' && cause !== null && 'status' in cause ? Number(cause.status) : null;
}

/** What PocketBase finds wrong with single fields. It answers 400 without any also when it cannot write at all. */
function refusedFieldsOf(thrown: unknown): object {
  const { cause } = ScanError.from(thrown);
  const parsed = refusal.safeParse(cause);
  return parsed.success && parsed.data.status === BAD_REQUEST ? parsed.data.response.data : {};
}
