/**
 * Telling the sidecar that there is work. Only a hint: it polls anyway, so whatever goes wrong here costs a few seconds at most,
 * and an uploader waits at most one second, once in fifteen.
 */
import { CHECKS } from './checks.ts';
import { dateText } from './dates.ts';
import { secret, sidecarUrl } from './settings.ts';

/** $http.send takes whole seconds; anything below 1 would mean 120 (observed). */
const TIMEOUT_SECONDS = 1;
const SLOW_MS = 250;
const SILENCE_MS = 15_000;
/** A call that has been in flight this long belongs to a handler that died. */
const STUCK_MS = 5_000;

const SILENT_UNTIL = 'av.notify.silentUntil';
const BUSY_SINCE = 'av.notify.busySince';
const AGAIN = 'av.notify.again';

/** After-success of a created or updated build. Never throws of its own accord: a throw here deletes the files of a stored build. */
export function notifyOfBuild(e: core.ModelEvent): void {
  const app = e.app;
  const build = String(e.model!.pk());
  e.next();
  notifyQuietly(app, build);
}

/** Tells the sidecar unless nothing waits. Never throws. */
export function notifyQuietly(app: CoreApp, build: string): void {
  try {
    const url = sidecarUrl();
    const key = secret('AV_NOTIFY_SECRET');
    if (url === '' || key === '') return;
    const check = waitingCheck(app, build);
    if (check !== '') callThroughBreaker(app, url, key, check);
  } catch (error) {
    app.logger().warn('av: the sidecar could not be told of new work', 'error', String(error));
  }
}

function waitingCheck(app: CoreApp, build: string): string {
  const rows = arrayOf(new DynamicModel({ id: '' }));
  const due = "status = 'pending' OR (rescan_at != '' AND rescan_at <= {:now})";
  app
    .db()
    .newQuery(`SELECT id FROM ${CHECKS} WHERE build = {:build} AND (${due})`)
    .bind({ build, now: dateText(Date.now()) })
    .all(rows);
  return rows[0] ? String(rows[0]['id']) : '';
}

/** One call in flight. Whoever finds it busy leaves a note, so that the caller in flight calls once more: nothing committed meanwhile is missed. */
function callThroughBreaker(app: CoreApp, url: string, key: string, check: string): void {
  const store = app.store();
  const now = Date.now();
  if (Number(store.get(SILENT_UNTIL) ?? 0) > now) return;
  if (!enter(app, now)) return store.set(AGAIN, '1');
  try {
    store.remove(AGAIN);
    const quick = call(app, url, key, check);
    if (quick && store.has(AGAIN)) call(app, url, key, check);
  } finally {
    store.remove(BUSY_SINCE);
  }
}

/** Atomic: the callback runs under the store's lock. */
function enter(app: CoreApp, now: number): boolean {
  let entered = false;
  app.store().setFunc(BUSY_SINCE, (since: unknown) => {
    entered = Number(since ?? 0) < now - STUCK_MS;
    return entered ? String(now) : since;
  });
  return entered;
}

/** Whether the sidecar answered well and quickly; otherwise it is left alone for a while. */
function call(app: CoreApp, url: string, key: string, check: string): boolean {
  const body = JSON.stringify({ checks: [check] });
  const timestamp = String(Math.floor(Date.now() / 1000));
  const started = Date.now();
  let failure = '';
  try {
    const answer = $http.send({
      url: `${url}/notify`,
      method: 'POST',
      body,
      timeout: TIMEOUT_SECONDS,
      headers: {
        'Content-Type': 'application/json',
        'X-AV-Timestamp': timestamp,
        'X-AV-Signature': $security.hs256(`${timestamp}.${body}`, key),
      },
    });
    if (answer.statusCode !== 202) failure = `it answered ${answer.statusCode}`;
  } catch (error) {
    failure = String(error);
  }
  if (failure === '' && Date.now() - started > SLOW_MS) failure = `it took ${Date.now() - started} ms`;
  if (failure === '') return true;
  app.store().set(SILENT_UNTIL, String(Date.now() + SILENCE_MS));
  app.logger().warn('av: the sidecar is not told of new work for 15 s', 'because', failure);
  return false;
}
