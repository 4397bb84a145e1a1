import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BuilderRefusal } from './model.ts';
import { runSchedule } from './schedule.ts';

vi.mock('node:timers/promises', () => ({
  // Those of node:timers/promises do not know the clock of the test.
  setTimeout: (ms: number, _value: unknown, { signal }: { signal: AbortSignal }) =>
    new Promise<void>((resolve, reject) => {
      const timer = setTimeout(resolve, ms);
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        reject(signal.reason);
      });
    }),
}));

let stop: AbortController;
let told: [string | null, boolean][];
let started: string[];
let unlessSince: string[];
let refuse: (() => Error) | null;
let running: Promise<void>;

beforeEach(() => {
  vi.useFakeTimers({ now: new Date('2026-11-21T16:00:00Z') });
  stop = new AbortController();
  told = [];
  started = [];
  unlessSince = [];
  refuse = null;
});
afterEach(async () => {
  stop.abort();
  await running;
  vi.useRealTimers();
  vi.restoreAllMocks();
});

function run(expression: string, jitterMs = 0) {
  const events = { scheduled() {}, waiting: vi.fn(), notStarted: vi.fn() };
  const start = async (by: string, since: Date) => {
    unlessSince.push(since.toISOString());
    if (refuse !== null) throw refuse();
    started.push(`${by} at ${new Date().toISOString()}`);
    return 'an id';
  };
  running = runSchedule(
    { expression, jitterMs, start, tell: (next, isWaiting) => told.push([next, isWaiting]), events, retryMs: 10_000 },
    stop.signal,
  );
  return events;
}

describe('the schedule', () => {
  it('begins a build at each time of the expression, in UTC', async () => {
    run('0 3 * * *');
    await vi.advanceTimersByTimeAsync(0);
    expect(told).toEqual([['2026-11-22T03:00:00.000Z', false]]);
    await vi.advanceTimersByTimeAsync(48 * 3_600_000);
    expect(started).toEqual(['schedule at 2026-11-22T03:00:00.000Z', 'schedule at 2026-11-23T03:00:00.000Z']);
  });

  it('begins somewhat later by chance, and still once for each time', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.5);
    run('0 * * * *', 20 * 60_000);
    await vi.advanceTimersByTimeAsync(3 * 3_600_000);
    expect(started).toEqual(['schedule at 2026-11-21T17:10:00.000Z', 'schedule at 2026-11-21T18:10:00.000Z']);
  });

  it('waits while the lock is held, and begins when it is free', async () => {
    const events = run('0 17 * * *');
    refuse = () => new BuilderRefusal('busy', 'somebody builds');
    await vi.advanceTimersByTimeAsync(3_700_000);
    expect(told.at(-1)).toEqual([null, true]);
    expect(events.waiting.mock.calls).toEqual([['somebody builds']]);
    refuse = null;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(started).toHaveLength(1);
    expect(told.at(-1)).toEqual(['2026-11-22T17:00:00.000Z', false]);
  });

  it('leaves out what passed while it waited, and what cannot begin', async () => {
    const events = run('0 * * * *');
    refuse = () => new BuilderRefusal('busy', 'somebody builds');
    await vi.advanceTimersByTimeAsync(3.5 * 3_600_000);
    refuse = () => new BuilderRefusal('no-space', 'the disk is full');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(events.notStarted).toHaveBeenCalledOnce();
    expect(told.at(-1)).toEqual(['2026-11-21T20:00:00.000Z', false]);
    refuse = null;
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(started).toEqual(['schedule at 2026-11-21T20:00:00.000Z']);
  });

  it('tells for which time it asks, so that a build of another replica since then will do', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.5);
    run('0 17 * * *', 20 * 60_000);
    refuse = () => new BuilderRefusal('busy', 'somebody builds');
    await vi.advanceTimersByTimeAsync(2 * 3_600_000);
    expect(new Set(unlessSince)).toEqual(new Set(['2026-11-21T17:00:00.000Z']));
  });

  it('finds the next time anew when a clock that was years ahead is put right', async () => {
    vi.setSystemTime(new Date('2030-11-21T16:00:00Z'));
    run('0 * * * *');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told.at(-1)).toEqual(['2030-11-21T17:00:00.000Z', false]);
    vi.setSystemTime(new Date('2026-11-21T16:30:00Z'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told.at(-1)).toEqual(['2026-11-21T17:00:00.000Z', false]);
    expect(started).toEqual([]);
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(started).toEqual(['schedule at 2026-11-21T17:00:00.000Z']);
  });

  it('begins once where the clock is set back by seconds', async () => {
    run('0 17 * * *');
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(started).toHaveLength(1);
    vi.setSystemTime(Date.now() - 30_000);
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(started).toHaveLength(1);
  });

  it('says that nothing comes once it is stopped', async () => {
    run('0 3 * * *');
    await vi.advanceTimersByTimeAsync(0);
    stop.abort();
    await running;
    expect(told.at(-1)).toEqual([null, false]);
  });
});
