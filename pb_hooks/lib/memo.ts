/** Answers that cost more than they change, kept in memory for all runtimes of the hooks. */

/** A busy database is asked for at most one part in so many of its time. */
const COST_SHARE = 20;

/** What `make` answered less than `ms` ago, or twenty times as long as it took; a JSON value. Two that ask at once may both make it. */
export function remembered<T>(app: CoreApp, key: string, ms: number, make: () => T): T {
  const started = Date.now();
  const kept = app.store().get(key) as string | undefined;
  if (kept) {
    const { until, value } = JSON.parse(kept) as { until: number; value: T };
    // A clock that was set back must not keep an answer for ever.
    if (started < until && until - started <= 3_600_000) return value;
  }
  const value = make();
  const took = Date.now() - started;
  app.store().set(key, JSON.stringify({ until: started + Math.max(ms, took * COST_SHARE), value }));
  return value;
}

/** Makes the next one who asks make the answer anew. */
export function forget(app: CoreApp, key: string): void {
  app.store().remove(key);
}
