import { describe, expect, it } from 'vitest';
import type { ScannerAnswer } from './checks/scanner-api.ts';
import { EngineWatch } from './engine-watch.ts';
import type { WebhookEvent } from './webhooks/event.ts';

const never = new AbortController().signal;
const DAY_MS = 86_400_000;
const start = Date.parse('2026-11-21T16:00:00Z');

function setUp(toldBefore: Readonly<Record<string, number>> = {}) {
  const state = {
    now: start,
    status: 200,
    isListed: true,
    ready: true,
    signaturesAt: '2026-11-21T08:00:00Z' as string | null,
    refuses: false,
  };
  const told: WebhookEvent[] = [];
  const answer = (): ScannerAnswer => ({
    scans: [],
    queue: { scanning: 0, claimedAhead: 0 },
    engines: state.isListed
      ? [
          {
            name: 'main',
            ready: state.ready,
            why: state.ready ? null : 'refused',
            version: '1.4.3',
            signatures: 27_512,
            signaturesAt: state.signaturesAt,
          },
        ]
      : [],
  });
  const watch = new EngineWatch({
    scanner: async () => new Response(JSON.stringify(answer()), { status: state.status }),
    maxSignatureAgeMs: 7 * DAY_MS,
    announce: async (event) => {
      if (state.refuses) throw new Error('PocketBase is away');
      told.push(event);
    },
    downNow: async () => {
      if (state.refuses) throw new Error('PocketBase is away');
      return new Map(Object.entries(toldBefore));
    },
    now: () => state.now,
  });
  const later = async (seconds: number) => {
    state.now += seconds * 1000;
    await watch.look(never);
    return told.splice(0).map(({ type }) => type);
  };
  return { state, told, watch, later };
}

describe('the watch over the engines', () => {
  it('tells of an engine that stays down, once, and when it is up again', async () => {
    const { state, later } = setUp();
    expect(await later(0)).toEqual([]);
    state.ready = false;
    expect(await later(10)).toEqual([]);
    expect(await later(50)).toEqual([]);
    expect(await later(20)).toEqual(['engine.down']);
    expect(await later(600)).toEqual([]);
    state.ready = true;
    expect(await later(10)).toEqual(['engine.up']);
    expect(await later(10)).toEqual([]);
  });

  it('says nothing of a restart', async () => {
    const { state, later } = setUp();
    state.ready = false;
    await later(0);
    state.ready = true;
    expect(await later(30)).toEqual([]);
    state.ready = false;
    expect(await later(31)).toEqual([]);
  });

  it('takes a scanner that does not answer for an engine that is down', async () => {
    const { state, later, told, watch } = setUp();
    state.status = 502;
    await later(0);
    state.now += 61_000;
    await watch.look(never);
    expect(told[0]).toMatchObject({ type: 'engine.down', data: { engine: 'scanner', since: new Date(start).toISOString() } });
  });

  it('warns of signatures before they are too old to count', async () => {
    const { state, later } = setUp();
    state.signaturesAt = new Date(start - 5 * DAY_MS).toISOString();
    expect(await later(120)).toEqual([]);
    expect(await later(0.5 * 86_400)).toEqual([]);
    expect(await later(120)).toEqual(['signatures.old']);
    expect(await later(120)).toEqual([]);
  });

  it('tells later what it could not tell now, under the same id', async () => {
    const { state, later, told, watch } = setUp();
    state.ready = false;
    await later(0);
    state.refuses = true;
    await expect(later(61)).rejects.toThrow('PocketBase is away');
    state.refuses = false;
    await watch.look(never);
    expect(told.map(({ id }) => id)).toEqual([`engine-down-main-${start}`]);
  });

  it('does not take an engine for up that it cannot see, and tells of its fault once', async () => {
    const { state, later } = setUp();
    state.ready = false;
    await later(0);
    expect(await later(61)).toEqual(['engine.down']);
    state.status = 502;
    expect(await later(10)).toEqual([]);
    state.status = 200;
    expect(await later(10)).toEqual([]);
    state.isListed = false;
    expect(await later(10)).toEqual([]);
    state.isListed = true;
    expect(await later(100)).toEqual([]);
    state.ready = true;
    expect(await later(10)).toEqual(['engine.up']);
  });

  it('does not count the time in which it could not see', async () => {
    const { state, later } = setUp();
    state.ready = false;
    await later(0);
    state.status = 502;
    await later(10);
    state.status = 200;
    expect(await later(55)).toEqual([]);
    expect(await later(55)).toEqual([]);
    expect(await later(10)).toEqual(['engine.down']);
  });

  it('takes a scanner without engines for one that is down', async () => {
    const { state, later, told, watch } = setUp();
    state.isListed = false;
    await later(0);
    state.now += 61_000;
    await watch.look(never);
    expect(told.splice(0)).toMatchObject([{ type: 'engine.down', data: { engine: 'scanner', why: 'the scanner knows no engine' } }]);
    state.isListed = true;
    expect(await later(10)).toEqual(['engine.up']);
  });

  it('knows after a restart what it has told', async () => {
    const { state, later, told, watch } = setUp({ main: start - DAY_MS });
    state.ready = false;
    expect(await later(0)).toEqual([]);
    expect(await later(600)).toEqual([]);
    state.ready = true;
    await watch.look(never);
    expect(told).toMatchObject([{ id: `engine-up-main-${start - DAY_MS}`, type: 'engine.up' }]);
  });

  it('tells nothing before it knows what was told', async () => {
    const { state, later } = setUp();
    state.refuses = true;
    await expect(later(0)).rejects.toThrow('PocketBase is away');
  });

  it('warns of the same signatures under one id, whoever restarts', async () => {
    const ids = await Promise.all(
      [0, 3_600_000].map(async (ms) => {
        const { state, told, watch } = setUp();
        state.signaturesAt = new Date(start - 6 * DAY_MS).toISOString();
        state.now += ms;
        await watch.look(never);
        state.now += 61_000;
        await watch.look(never);
        return told.map(({ id }) => id);
      }),
    );
    expect(ids).toEqual([[`signatures-old-main-${start - 6 * DAY_MS}`], [`signatures-old-main-${start - 6 * DAY_MS}`]]);
  });
});
