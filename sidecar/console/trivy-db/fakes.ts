/** The pages of the Trivy DB on a console of one operator, before a builder that is steered by hand. */
import { Hono } from 'hono';
import { FakeBuilder, FakeBuildLogs, fakeAccess } from '../../trivy-db/fakes.ts';
import { createTrivyDbRoutes } from '../../trivy-db/routes.ts';
import type { Assets } from '../assets.ts';
import type { ConsoleEnv, Page, PageStatus, PeerFetch } from '../console-env.ts';
import { pageHeaders } from '../csrf.ts';
import { framed } from '../frame.ts';
import { LiveEvents } from '../live-events.ts';
import { createTrivyDbPages } from './trivy-db-pages.ts';

export interface FakeConsole {
  readonly app: Hono<ConsoleEnv>;
  readonly builder: FakeBuilder;
  readonly logs: FakeBuildLogs;
  readonly pages: ReturnType<typeof createTrivyDbPages>;
  /** Everything the console asked of the role, as `GET /path`, with the person it asked for. */
  readonly asked: { readonly what: string; readonly by: string | null }[];
  /** Throws instead of asking, when set. */
  breakdown: Error | null;
  /** Ends what streams. */
  stop(): void;
}

export function fakeConsole(assets: Assets | null = null, publicUrl: string | null = null): FakeConsole {
  const builder = new FakeBuilder();
  const logs = new FakeBuildLogs();
  const stopping = new AbortController();
  const role = createTrivyDbRoutes({
    builder,
    logs,
    access: fakeAccess,
    now: Date.now,
    events: { asked: () => {} },
    stopping: stopping.signal,
  });
  const asked: FakeConsole['asked'] = [];
  const peer: PeerFetch = async (path, init = {}) => {
    const headers = new Headers(init.headers);
    asked.push({ what: `${init.method ?? 'GET'} ${path}`, by: headers.get('x-on-behalf-of') });
    if (made.breakdown !== null) throw made.breakdown;
    headers.set('Authorization', 'Bearer let-me-in');
    return await role.request(path, { ...init, headers });
  };
  const pages = createTrivyDbPages({ peer, publicUrl });
  const events = new LiveEvents(pages.live, { everyMs: 50 });
  const app = new Hono<ConsoleEnv>();
  assets?.addTo(app);
  app.use(pageHeaders, async (c, next) => {
    const operator = { name: 'ana@example.com', via: 'token', pocketbaseToken: null } as const;
    c.set('operator', operator);
    c.set('csrf', 'of-this-session');
    c.set('show', async (page: Page, status: PageStatus = 200) => {
      const tabs = [{ section: 'trivy-db', label: 'Trivy DB', href: '/trivy-db', toLookAt: 0 }] as const;
      const asset = (name: string) => assets?.address(name) ?? `/assets/${name}`;
      return c.html(framed(page, { operator, csrf: 'of-this-session', tabs, banner: null, asset }), status);
    });
    if (c.req.method === 'POST' && (await c.req.parseBody())['csrf'] !== 'of-this-session') return c.text('Nothing was changed.', 403);
    await next();
    return undefined;
  });
  events.addTo(app);
  pages.addTo(app);
  const made: FakeConsole = {
    app,
    builder,
    logs,
    pages,
    asked,
    breakdown: null,
    stop() {
      events.stop();
      stopping.abort();
    },
  };
  return made;
}
