import { describe, expect, it, onTestFinished } from 'vitest';
import { eventually } from '../../../test/harness/eventually.ts';
import { systemClock } from '../../clock.ts';
import { Deliverer, type DelivererParts } from './deliverer.ts';
import { GIVE_UP_MS } from './endpoint-queue.ts';
import type { Delivery, HistoryRow } from './outbox.ts';

const never = new AbortController().signal;
const day = Date.parse('2026-11-21T16:00:00Z');
const iso = (ms: number) => new Date(ms).toISOString();
const good = { id: 'good', url: new URL('http://good.example/') };
const dead = { id: 'dead', url: new URL('http://dead.example/') };
const released = (seq: number, at = iso(day)): HistoryRow => ({ seq, entry: JSON.stringify({ at, event: 'released', build: `b${seq}` }) });

type Stored = { -readonly [K in keyof Delivery]: Delivery[K] };
type Change = Parameters<DelivererParts['outbox']['change']>[1];

/** What PocketBase keeps, in memory; `refuse` may answer for an insert. */
function memory(history: HistoryRow[], refuse: (event: string) => string | null = () => null) {
  const stored: Stored[] = [];
  const state = { cursor: 0, isHistoryAway: false };
  const dueOf = (now: number, isWanted: (endpoint: string) => boolean) =>
    stored.filter(({ nextAt, endpoint }) => nextAt !== null && Date.parse(nextAt) <= now && isWanted(endpoint)).slice(0, 100);
  const dates = { next_at: 'nextAt', give_up_at: 'giveUpAt', delivered_at: 'deliveredAt', given_up_at: 'givenUpAt' } as const;
  const outbox: DelivererParts['outbox'] = {
    cursor: async () => {
      if (state.isHistoryAway) throw new Error('PocketBase answered 503');
      return state.cursor;
    },
    moveCursor: async (seq) => {
      state.cursor = seq;
    },
    historyAfter: async (after, limit) => history.filter(({ seq }) => seq > after).slice(0, limit),
    add: async (delivery, now, giveUpAt) => {
      const why = refuse(delivery.event);
      if (why !== null || stored.some(({ event, endpoint }) => event === delivery.event && endpoint === delivery.endpoint)) return why;
      const ended = { deliveredAt: null, givenUpAt: null, lastError: '' };
      const id = String(stored.length);
      stored.push({ ...delivery, ...ended, id, attempts: 0, createdAt: iso(now), nextAt: iso(now), giveUpAt: iso(giveUpAt) });
      return null;
    },
    due: async (endpoint, now) => dueOf(now, (each) => each === endpoint),
    dueElsewhere: async (endpoints, now) => dueOf(now, (each) => !endpoints.includes(each)),
    change: async (id, change: Change) => {
      const row = stored[Number(id)]!;
      if (change.attempts !== undefined) row.attempts = change.attempts;
      if (change.last_error !== undefined) row.lastError = change.last_error;
      for (const [name, key] of Object.entries(dates) as [keyof typeof dates, 'nextAt'][]) {
        const ms = change[name];
        if (ms !== undefined) row[key] = ms === null ? null : iso(ms);
      }
    },
    prune: async () => 0,
  };
  return { outbox, stored, state };
}

function setUp(change: Partial<DelivererParts> & Pick<DelivererParts, 'outbox'>) {
  const clock = { now: day };
  const told: string[] = [];
  const sent: string[] = [];
  const deliverer = new Deliverer({
    endpoints: [good],
    send: async (url, id) => {
      sent.push(`${url.hostname} ${id}`);
      return url.hostname.startsWith('dead') ? 'no answer within 10 s' : null;
    },
    clock: { now: () => clock.now, sleep: (ms, signal) => systemClock.sleep(Math.min(ms, 5), signal) },
    events: {
      delivered: ({ event }) => told.push(`delivered ${event}`),
      failed: ({ event }, why, givenUp) => told.push(`${givenUp ? 'given up' : 'failed'} ${event}: ${why}`),
      unreadable: (seq) => told.push(`unreadable ${seq}`),
      refused: (event, endpoint, why) => told.push(`refused ${event} for ${endpoint}: ${why}`),
      outdated: (count, seq) => told.push(`outdated ${count} up to ${seq}`),
      callFailed: (why) => told.push(why),
    },
    wallClock: () => clock.now,
    random: () => 0.5,
    ...change,
  });
  return { deliverer, clock, told, sent };
}

/** Runs until the test has ended. */
function running(deliverer: Deliverer): void {
  const stop = new AbortController();
  const ended = deliverer.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await ended;
  });
}

describe('reading the history', () => {
  it.each([
    ['a date that is none', released(2, 'never').entry],
    ['no JSON', 'nonsense'],
    ['something else', '[]'],
  ])('goes past an entry with %s', async (_name, entry) => {
    const { outbox, state } = memory([released(1), { seq: 2, entry }, released(3)]);
    const { deliverer, told } = setUp({ outbox });
    await deliverer.round(never);
    expect(told).toEqual(['unreadable 2', 'delivered history-1', 'delivered history-3']);
    expect(state.cursor).toBe(3);
  });

  it('goes past an event that PocketBase does not take, and says so', async () => {
    const refuse = (event: string) => (event === 'history-2' ? 'body: too long' : null);
    const { outbox } = memory([released(1), released(2), released(3)], refuse);
    const { deliverer, told } = setUp({ outbox });
    await deliverer.round(never);
    expect(told).toEqual(['refused history-2 for good: body: too long', 'delivered history-1', 'delivered history-3']);
  });

  it('that fails keeps nothing back that is due', async () => {
    const { outbox, state } = memory([]);
    const { deliverer, told } = setUp({ outbox });
    await deliverer.announce({ id: 'history-broken-2', type: 'history.broken', timestamp: iso(day), data: {} }, never);
    state.isHistoryAway = true;
    await expect(deliverer.round(never)).rejects.toThrow('PocketBase answered 503');
    expect(told).toEqual(['delivered history-broken-2']);
    running(deliverer);
    await deliverer.announce({ id: 'history-broken-3', type: 'history.broken', timestamp: iso(day), data: {} }, never);
    await eventually('the next one is delivered too', () => told.includes('delivered history-broken-3'));
  });

  it('tells nobody of what is older than a delivery may become, however much that is', async () => {
    const old = Array.from({ length: 250 }, (_, index) => released(index + 1, iso(day - GIVE_UP_MS - 1000)));
    const { outbox, state } = memory([...old, released(251, iso(day - GIVE_UP_MS + 1000))]);
    const { deliverer, told } = setUp({ outbox });
    await deliverer.round(never);
    expect(told).toEqual(['outdated 100 up to 100', 'outdated 100 up to 200', 'outdated 50 up to 251', 'delivered history-251']);
    expect(state.cursor).toBe(251);
  });
});

describe('a receiver that is dead', () => {
  it('keeps no other waiting', async () => {
    const { outbox } = memory(Array.from({ length: 30 }, (_, index) => released(index + 1)));
    const hangs = Promise.withResolvers<string>();
    const sent: string[] = [];
    const send: DelivererParts['send'] = (url, id) => {
      if (url.hostname.startsWith('dead')) return hangs.promise;
      sent.push(id);
      return Promise.resolve(null);
    };
    running(setUp({ outbox, endpoints: [dead, good], send }).deliverer);
    // Before the run is waited for: such hooks are called in reverse order.
    onTestFinished(() => hangs.resolve('the test is over'));
    await eventually('all 30 are with the good receiver', () => sent.length === 30);
  });

  it('is left alone longer and longer, and served at once when it lives', async () => {
    const { outbox, stored } = memory(Array.from({ length: 60 }, (_, index) => released(index + 1)));
    let isDead = true;
    let asked = 0;
    const send = async () => {
      asked++;
      return isDead ? 'no answer within 10 s' : null;
    };
    const { deliverer, clock } = setUp({ outbox, send });
    await deliverer.round(never);
    expect(asked).toBe(8);
    await deliverer.round(never);
    expect(asked).toBe(8);
    const times: number[] = [];
    for (const until = clock.now + 400_000; clock.now < until; clock.now += 1000) {
      const before = asked;
      await deliverer.round(never);
      if (asked > before) times.push((clock.now - day) / 1000);
      expect(asked - before).toBeLessThanOrEqual(1);
    }
    expect(times).toEqual([5, 15, 35, 75, 135, 195, 255, 315, 375]);
    isDead = false;
    clock.now += 3_600_000;
    await deliverer.round(never);
    expect(stored.every(({ deliveredAt, nextAt }) => deliveredAt !== null && nextAt === null)).toBe(true);
  });

  it('is given up for every event in its time, asked for each or not', async () => {
    const { outbox, stored } = memory(Array.from({ length: 60 }, (_, index) => released(index + 1)));
    const { deliverer, clock, sent } = setUp({ outbox, endpoints: [dead] });
    await deliverer.round(never);
    clock.now += GIVE_UP_MS;
    await deliverer.round(never);
    expect(sent.length).toBeLessThan(12);
    expect(stored.every(({ givenUpAt, nextAt, lastError }) => givenUpAt !== null && nextAt === null && lastError !== '')).toBe(true);
  });

  it('that refuses one event is given the next all the same', async () => {
    const { outbox } = memory(Array.from({ length: 20 }, (_, index) => released(index + 1)));
    const send = async (_url: URL, id: string) => (id === 'history-3' ? 'it answered 400' : null);
    const { deliverer, told } = setUp({ outbox, send });
    await deliverer.round(never);
    expect(told.filter((each) => each.startsWith('delivered'))).toHaveLength(19);
    expect(told).toContain('failed history-3: it answered 400');
  });
});

describe('stopping', () => {
  it('waits for no receiver, and takes nothing for failed', async () => {
    const { outbox, stored } = memory([released(1)]);
    const asked = Promise.withResolvers<void>();
    const send: DelivererParts['send'] = async (_url, _id, _body, stop) => {
      asked.resolve();
      await new Promise<void>((resolve) => stop.addEventListener('abort', () => resolve()));
      return 'ABORT_ERR';
    };
    const { deliverer, told } = setUp({ outbox, send });
    const stop = new AbortController();
    const ended = deliverer.run(stop.signal);
    await asked.promise;
    stop.abort();
    await ended;
    expect(told).toEqual([]);
    expect(stored[0]).toMatchObject({ attempts: 0 });
  });
});

describe('a receiver that is no longer named', () => {
  it('is given up as any other: after a day', async () => {
    const { outbox, stored } = memory([released(1)]);
    await setUp({ outbox, endpoints: [dead] }).deliverer.round(never);
    const { deliverer, clock, told, sent } = setUp({ outbox });
    clock.now += 15_000;
    await deliverer.round(never);
    expect(told).toEqual(['failed history-1: it is no longer in RESULT_WEBHOOK_URLS']);
    expect(stored[0]).toMatchObject({ attempts: 2, givenUpAt: null });
    clock.now += GIVE_UP_MS;
    await deliverer.round(never);
    expect(told.at(-1)).toBe('given up history-1: it is no longer in RESULT_WEBHOOK_URLS');
    expect(stored[0]).toMatchObject({ attempts: 3, nextAt: null });
    expect(sent).toEqual([]);
  });
});
