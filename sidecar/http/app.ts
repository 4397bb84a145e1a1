import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { mayReadMetrics } from './metrics-access.ts';
import { refusalOf } from './notify.ts';
import type { Readiness } from './readiness.ts';

export interface AppParts {
  readiness(): Readiness;
  readonly metrics: { readonly contentType: string; metrics(): Promise<string> };
  readonly metricsToken: string | null;
  readonly notifySecret: string | null;
  /** There may be work. Must return at once. */
  wake(): void;
  readonly events: { notified(accepted: boolean, why: string): void; requestFailed(path: string, thrown: unknown): void };
  /** Unix seconds. */
  now(): number;
}

const MAX_NOTIFICATION_BYTES = 16 * 1024;

/** The whole HTTP surface of the scanner role. Without a port it is asked by `app.request()`. */
export function createApp(parts: AppParts): Hono<{ Bindings: Partial<HttpBindings> }> {
  const app = new Hono<{ Bindings: Partial<HttpBindings> }>();
  app.use(async (c, next) => {
    await next();
    c.header('Cache-Control', 'no-store');
    c.header('X-Content-Type-Options', 'nosniff');
  });
  app.get('/healthz', (c) => c.json({ alive: true }));
  app.get('/readyz', (c) => {
    const readiness = parts.readiness();
    return c.json(readiness, readiness.ready ? 200 : 503);
  });
  app.get('/metrics', async (c) => {
    const isForwarded = c.req.header('forwarded') !== undefined || c.req.header('x-forwarded-for') !== undefined;
    const remoteAddress = c.env?.incoming?.socket.remoteAddress;
    const request = { remoteAddress, authorization: c.req.header('authorization'), isForwarded };
    if (!mayReadMetrics(request, parts.metricsToken)) {
      return c.json({ error: parts.metricsToken === null ? 'metrics are for this machine only: set METRICS_TOKEN' : 'wrong token' }, 403);
    }
    return c.body(await parts.metrics.metrics(), 200, { 'Content-Type': parts.metrics.contentType });
  });
  addNotify(app, parts);
  app.notFound((c) => c.json({ error: 'there is nothing here' }, 404));
  app.onError((thrown, c) => {
    parts.events.requestFailed(c.req.path, thrown);
    return c.json({ error: 'the sidecar failed to answer; its log says why' }, 500);
  });
  return app;
}

/** Answers before anything is done about it; what the body says is not believed, it only wakes. */
function addNotify(app: Hono<{ Bindings: Partial<HttpBindings> }>, parts: AppParts): void {
  const tooLarge = bodyLimit({ maxSize: MAX_NOTIFICATION_BYTES, onError: (c) => c.json({ error: 'too large for a notification' }, 413) });
  app.post('/notify', tooLarge, async (c) => {
    if (parts.notifySecret === null) return c.json({ error: 'AV_NOTIFY_SECRET is not set in the sidecar, so it polls only' }, 503);
    const body = await c.req.text();
    const signed = { timestamp: c.req.header('x-av-timestamp'), signature: c.req.header('x-av-signature'), body };
    const refusal = refusalOf(signed, parts.notifySecret, parts.now());
    parts.events.notified(refusal === null, refusal ?? '');
    if (refusal !== null) return c.json({ error: refusal }, 401);
    setImmediate(() => parts.wake());
    return c.json({ accepted: true }, 202);
  });
}
