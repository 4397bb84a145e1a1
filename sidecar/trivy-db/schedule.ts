/** Builds by the clock: a cron expression in UTC, each time somewhat later by chance, so that many sites do not ask upstream at once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Cron } from 'croner';
import { BuilderRefusal } from './model.ts';

export interface ScheduleEvents {
  /** ISO 8601, UTC. */
  scheduled(at: string): void;
  waiting(why: string): void;
  notStarted(thrown: unknown): void;
}

export interface ScheduleParts {
  /** Five fields, UTC. */
  readonly expression: string;
  readonly jitterMs: number;
  /** `unlessSince`: nothing is begun where a good build began at that time or later, such as another replica's. */
  readonly start: (by: string, unlessSince: Date) => Promise<string>;
  /** When the next one begins, and whether one waits for the lock now. */
  readonly tell: (nextAt: string | null, isWaiting: boolean) => void;
  readonly events: ScheduleEvents;
  /** How often it asks again while the lock is held. */
  readonly retryMs?: number;
}

const RETRY_MS = 5000;
/** Looked at so often, so that a clock that was set is noticed. */
const LOOK_MS = 30_000;
/** A clock that goes back by less is kept right as always. */
const SET_BACK_MS = 60_000;

/**
 * Runs until the signal aborts. A time that passed while nobody ran is not made up for: the next one comes. When the clock is set back by
 * more than a minute, as after a start with a wrong one, the next time is found anew.
 */
export async function runSchedule(parts: ScheduleParts, signal: AbortSignal): Promise<void> {
  const cron = new Cron(parts.expression, { timezone: 'UTC', paused: true });
  let last = new Date();
  try {
    while (!signal.aborted) {
      // From the time of the expression, not from the later one by chance: no time comes twice.
      const now = new Date();
      const isAhead = last > now && last.getTime() - now.getTime() <= SET_BACK_MS;
      const next = cron.nextRun(isAhead ? last : now);
      if (next === null) return parts.tell(null, false);
      const at = new Date(next.getTime() + Math.floor(Math.random() * parts.jitterMs));
      parts.tell(at.toISOString(), false);
      parts.events.scheduled(at.toISOString());
      if (!(await until(at, signal))) continue;
      await startOrWait(parts, next, signal);
      last = next;
    }
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
  } finally {
    parts.tell(null, false);
  }
}

/** False as soon as the clock was set back. */
async function until(at: Date, signal: AbortSignal): Promise<boolean> {
  for (let seen = Date.now(); ; ) {
    const left = at.getTime() - seen;
    if (left <= 0) return true;
    await sleep(Math.min(left, LOOK_MS), undefined, { signal });
    const now = Date.now();
    if (now < seen - SET_BACK_MS) return false;
    seen = now;
  }
}

async function startOrWait({ start, tell, events, retryMs = RETRY_MS }: ScheduleParts, due: Date, signal: AbortSignal): Promise<void> {
  let hasToldWhy = false;
  for (;;) {
    try {
      await start('schedule', due);
      return;
    } catch (thrown) {
      if (!(thrown instanceof BuilderRefusal && thrown.code === 'busy')) {
        if (!signal.aborted) events.notStarted(thrown);
        return;
      }
      if (!hasToldWhy) events.waiting(thrown.message);
      hasToldWhy = true;
      tell(null, true);
    }
    await sleep(retryMs, undefined, { signal });
  }
}
