import { describe, expect, it } from 'vitest';
import type { WebhookEvent } from './event.ts';
import { GateWatch, type GateWatchParts } from './gate-watch.ts';

const never = new AbortController().signal;
const start = Date.parse('2026-11-21T16:00:00Z');

function setUp(toldBefore: Awaited<ReturnType<GateWatchParts['told']>> = 'enforce') {
  const state = { now: start, gate: 'enforce' as ReturnType<GateWatchParts['gate']>, refuses: false };
  const told: WebhookEvent[] = [];
  const watch = new GateWatch({
    gate: () => state.gate,
    told: async () => toldBefore,
    announce: async (event) => {
      if (state.refuses) throw new Error('PocketBase is away');
      told.push(event);
    },
    now: () => state.now,
  });
  const see = async (gate: typeof state.gate) => {
    state.now += 10_000;
    state.gate = gate;
    await watch.look(never);
    return told.splice(0).map(({ type, data }) => [type, data['gate']]);
  };
  return { state, told, watch, see };
}

describe('the watch over the gate', () => {
  it('tells of each change once', async () => {
    const { see } = setUp();
    expect(await see('enforce')).toEqual([]);
    expect(await see('monitor')).toEqual([['gate.open', 'monitor']]);
    expect(await see('monitor')).toEqual([]);
    expect(await see(null)).toEqual([]);
    expect(await see('off')).toEqual([['gate.open', 'off']]);
    expect(await see('enforce')).toEqual([['gate.enforced', 'enforce']]);
    expect(await see('enforce')).toEqual([]);
  });

  it('says nothing while the hooks do not answer', async () => {
    const { see } = setUp();
    expect(await see(null)).toEqual([]);
  });

  it('neither repeats after a restart what was told nor forgets that it is over', async () => {
    expect(await setUp('monitor').see('monitor')).toEqual([]);
    expect(await setUp('monitor').see('enforce')).toEqual([['gate.enforced', 'enforce']]);
  });

  it('tells later what it could not tell now, under the same id', async () => {
    const { state, told, watch } = setUp();
    state.gate = 'off';
    state.refuses = true;
    await expect(watch.look(never)).rejects.toThrow('PocketBase is away');
    state.refuses = false;
    state.now += 60_000;
    await watch.look(never);
    expect(told.map(({ id }) => id)).toEqual([`gate-open-${start}`]);
  });
});
