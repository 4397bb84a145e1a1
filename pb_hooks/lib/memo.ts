/** Answers that cost more than they change, kept in memory for all runtimes of the hooks. */
import { lastWrite } from './last-write.ts';

/** A busy database is asked for at most one part in so many of its time. */
const COST_SHARE = 20;
/** No answer is kept longer, whatever the files of the database say. */
const LONGEST_MS = 3_600_000;

interface Kept {
  at: number;
  until: number;
  written: string | null;
  value: unknown;
}

/** What `make` answered less than `ms` ago, or twenty times as long as it took; a JSON value. Two that ask at once may both make it. */
export function remembered<T>(app: CoreApp, key: string, ms: number, make: () => T): T {
  return rememberedFor(app, key, ms, make, () => null);
}

/** The same, and as long as nothing at all is written to the database: for what follows from its rows alone, not from the time. */
export function rememberedUntilWritten<T>(app: CoreApp, key: string, ms: number, make: () => T): T {
  return rememberedFor(app, key, ms, make, (now) => lastWrite(app, now));
}

function rememberedFor<T>(app: CoreApp, key: string, ms: number, make: () => T, lastWriteAt: (now: number) => string | null): T {
  const started = Date.now();
  const written = lastWriteAt(started);
  const kept = app.store().get(key) as string | undefined;
  if (kept) {
    const { at, until, written: writtenThen, value } = JSON.parse(kept) as Kept;
    // A clock that was set back must not keep an answer for ever.
    const isRecent = started >= at && started - at < LONGEST_MS;
    if (isRecent && (started < until || (written !== null && written === writtenThen))) return value as T;
  }
  const value = make();
  const took = Date.now() - started;
  app.store().set(key, JSON.stringify({ at: started, until: started + Math.max(ms, took * COST_SHARE), written, value } satisfies Kept));
  return value;
}

/** Makes the next one who asks make the answer anew. */
export function forget(app: CoreApp, key: string): void {
  app.store().remove(key);
}
