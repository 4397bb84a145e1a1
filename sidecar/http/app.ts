import { Hono } from 'hono';
import type { ServerEnv } from '../roles/role.ts';
import { mayReadDetails, mayReadMetrics, metricsRequestOf } from './metrics-access.ts';
import type { Access } from './operator.ts';
import { type Readiness, withoutDetails } from './readiness.ts';

export interface AppParts {
  readiness(): Readiness;
  readonly metrics: { readonly contentType: string; metrics(): Promise<string> };
  readonly metricsToken: string | null;
  /** Tells operators, who may read why a part is not ready. */
  readonly access?: Pick<Access, 'operatorOf'>;
  /** Of the roles that are switched on, each at the root. */
  readonly routes: readonly Hono<ServerEnv>[];
  requestFailed(path: string, thrown: unknown): void;
}

/** The whole HTTP surface of the process. Without a port it is asked by `app.request()`. */
export function createApp(parts: AppParts): Hono<ServerEnv> {
  const app = new Hono<ServerEnv>();
  app.use(async (c, next) => {
    await next();
    if (!c.res.headers.has('Cache-Control')) c.header('Cache-Control', 'no-store');
    c.header('X-Content-Type-Options', 'nosniff');
  });
  app.get('/healthz', (c) => c.json({ alive: true }));
  app.get('/readyz', async (c) => {
    const isOperator = async () => (await parts.access?.operatorOf(c).catch(() => null)) != null;
    const mayKnow = mayReadDetails(metricsRequestOf(c), parts.metricsToken) || (await isOperator());
    const readiness = parts.readiness();
    return c.json(mayKnow ? readiness : withoutDetails(readiness), readiness.ready ? 200 : 503);
  });
  app.get('/metrics', async (c) => {
    if (!mayReadMetrics(metricsRequestOf(c), parts.metricsToken)) {
      return c.json({ error: parts.metricsToken === null ? 'metrics are for this machine only: set METRICS_TOKEN' : 'wrong token' }, 403);
    }
    return c.body(await parts.metrics.metrics(), 200, { 'Content-Type': parts.metrics.contentType });
  });
  for (const routes of parts.routes) app.route('/', routes);
  app.notFound((c) => c.json({ error: 'there is nothing here' }, 404));
  app.onError((thrown, c) => {
    parts.requestFailed(c.req.path, thrown);
    return c.json({ error: 'the sidecar failed to answer; its log says why' }, 500);
  });
  return app;
}
