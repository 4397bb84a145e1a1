/** The Trivy DB part of the console: its pages, what they can do, and what the browser asks for while they are open. */
import type { Context, Hono } from 'hono';
import { html } from 'hono/html';
import { BUILD_ID } from '../../trivy-db/api.ts';
import type { BuildRecord } from '../../trivy-db/model.ts';
import { type Attention, type ConsoleEnv, csrfField, type Html, type LiveSource, type PageStatus, type PeerFetch } from '../console-env.ts';
import { when } from '../format.ts';
import { attentionOf, type Summary, summaryOf } from './attention.ts';
import { buildPage } from './build-view.ts';
import { PeerFault, Refused, TrivyDbClient } from './client.ts';
import { addLogRoutes } from './log-routes.ts';
import { logPage, searchLog } from './log-source.ts';
import { logView } from './log-view.ts';
import { shownBuild, statusPage } from './status-view.ts';
import { trivyCommand } from './trivy-command.ts';

const BUILDS_SHOWN = 10;
const CHARTED = 100;

export interface TrivyDbPagesParts {
  /** To the trivy-db role. */
  readonly peer: PeerFetch;
  /** Where Trivy and operators reach this product; null where nobody said. */
  readonly publicUrl: string | null;
}

export interface TrivyDbPages {
  addTo(app: Hono<ConsoleEnv>): void;
  /** Topic `trivy-db`. */
  readonly live: readonly LiveSource[];
  /** What deserves a look, the worst first; empty where all is well. Never rejects: a role that does not answer is the first of them. */
  attention(): Promise<readonly Attention[]>;
  /** The line of the overview, and what its tab tells. Never rejects. */
  summary(): Promise<Summary>;
}

type C = Context<ConsoleEnv>;

const scripts = ['log-view', 'log-history', 'log-copy'];
const live = ['trivy-db'];

const done = {
  started: 'The build has begun.',
  stopped: 'The build was stopped.',
  cleared: 'The stale lock is cleared. You can build again.',
  published: 'This build is what Trivy clients get from now on.',
} as const;

/** Pages under `/trivy-db`; mount them only where there is a trivy-db role. */
export function createTrivyDbPages(parts: TrivyDbPagesParts): TrivyDbPages {
  const client = new TrivyDbClient(parts.peer);
  return {
    addTo(app) {
      app.get('/trivy-db', (c) => orFault(c, () => showStatus(c, client, parts.publicUrl)));
      app.get('/trivy-db/history', (c) => orFault(c, async () => c.json(historyOf((await client.builds(CHARTED)).builds))));
      app.get('/trivy-db/builds/:id', (c) => orFault(c, () => showBuild(c, client)));
      addActions(app, client, parts.publicUrl);
      addLogRoutes(app, client);
    },
    live: [{ topic: 'trivy-db', fingerprint: () => fingerprintOf(client) }],
    attention: () => attentionOf(client),
    summary: () => summaryOf(client),
  };
}

async function fingerprintOf(client: TrivyDbClient): Promise<string> {
  const { build, database } = await client.status();
  const { nextScheduledAt, progress, ...rest } = build;
  return JSON.stringify([rest, progress === null ? null : Math.round(progress * 200), nextScheduledAt, database.digest, database.build_id]);
}

async function showStatus(
  c: C,
  client: TrivyDbClient,
  publicUrl: string | null,
  notice: Html | null = null,
  status: PageStatus = 200,
): Promise<Response> {
  const before = c.req.query('before') ?? null;
  const [builder, { builds, next }, needsLogin] = await Promise.all([
    client.builder(),
    client.builds(BUILDS_SHOWN, before !== null && BUILD_ID.test(before) ? before : null),
    client.needsLogin(),
  ]);
  const shown = shownBuild(builder.state, builds);
  const log = shown === null ? null : await logOf(client, shown);
  const trivy = trivyCommand(publicUrl, c.req.header('host') ?? null, needsLogin);
  const body = statusPage({
    builder,
    builds,
    older: next,
    trivy,
    needsLogin,
    csrf: csrfField(c),
    notice: notice ?? noticeOf(c, builder.state.running !== null),
    log,
  });
  return c.get('show')({ title: 'Trivy DB', section: 'trivy-db', body, scripts, live }, status);
}

async function showBuild(c: C, client: TrivyDbClient): Promise<Response> {
  const id = c.req.param('id') ?? '';
  const build = BUILD_ID.test(id) ? await client.build(id) : null;
  if (build === null) {
    const body = html`<h1>There is no build ${id}</h1><p class="empty">Its record may have been removed with old logs. <a href="/trivy-db">All builds</a></p>`;
    return c.get('show')({ title: 'No such build', section: 'trivy-db', body }, 404);
  }
  const [builder, log] = await Promise.all([client.builder(), logOf(client, build, c)]);
  const body = buildPage({ build, builder, csrf: csrfField(c), notice: noticeOf(c, builder.state.running !== null), log });
  return c.get('show')({ title: `Build ${build.id}`, section: 'trivy-db', body, scripts, live });
}

async function logOf(client: TrivyDbClient, build: BuildRecord, c: C | null = null): Promise<Html> {
  const target = numberOf(c, 'line');
  const query = (c?.req.query('q') ?? '').trim().slice(0, 200);
  const wanted = {
    target,
    before: numberOf(c, 'before'),
    after: numberOf(c, 'after'),
    isWhole: target !== null && c?.req.query('whole') === '1',
  };
  const window = await logPage(client, build.id, wanted);
  const found = query === '' || window === null ? null : await searchLog(client, build.id, query, numberOf(c, 'from') ?? 1);
  return logView({ buildId: build.id, isRunning: build.outcome === null, window, target, query, found });
}

function numberOf(c: C | null, name: string): number | null {
  const text = c?.req.query(name) ?? '';
  return /^[1-9]\d{0,11}$/.test(text) ? Number(text) : null;
}

/** What has just been done, as long as it is so: the page stays open, and what it says must stay true. */
function noticeOf(c: C, isRunning: boolean): Html | null {
  const key = c.req.query('done') ?? '';
  if ((key === 'started') !== isRunning) return null;
  return Object.hasOwn(done, key) ? html`<p class="notice ok" role="status">${done[key as keyof typeof done]}</p>` : null;
}

/** Each answers with the page again: by a redirect when it is done, with the reason in words when it is refused. */
function addActions(app: Hono<ConsoleEnv>, client: TrivyDbClient, publicUrl: string | null): void {
  const act = (path: string, work: (c: C, by: string) => Promise<string>) =>
    app.post(path, (c) =>
      orFault(c, async () => {
        try {
          return c.redirect(await work(c, c.get('operator').name), 303);
        } catch (thrown) {
          if (!(thrown instanceof Refused)) throw thrown;
          return showStatus(c, client, publicUrl, html`<p class="notice bad" role="alert">${thrown.message}</p>`, 409);
        }
      }),
    );
  act('/trivy-db/build', async (_c, by) => {
    await client.start(by);
    return '/trivy-db?done=started';
  });
  act('/trivy-db/cancel', async (c, by) => {
    const meant = (await c.req.parseBody())['build'];
    const running = (await client.builder()).state.running?.id ?? null;
    // The page may be old: who meant to stop that build does not mean to stop this one.
    if (running !== null && meant !== running) throw new Refused('That build has ended, and another one runs now. Look at it first.');
    await client.cancel(by);
    return '/trivy-db?done=stopped';
  });
  act('/trivy-db/clear-lock', async (_c, by) => {
    await client.clearLock(by);
    return '/trivy-db?done=cleared';
  });
  act('/trivy-db/builds/:id/publish', async (c, by) => {
    const id = c.req.param('id') ?? '';
    if (!BUILD_ID.test(id)) throw new Refused('There is no such build.');
    await client.publish(id, by);
    return `/trivy-db/builds/${id}?done=published`;
  });
}

/** Numbers for the chart, oldest first. */
function historyOf(builds: readonly BuildRecord[]) {
  const ended = builds.filter(({ endedAt }) => endedAt !== null).toReversed();
  const seconds = ({ startedAt, endedAt }: BuildRecord) => (Date.parse(endedAt ?? startedAt) - Date.parse(startedAt)) / 1000;
  return {
    began: ended.map(({ startedAt }) => Date.parse(startedAt) / 1000),
    seconds: ended.map((build) => (build.outcome === 'succeeded' ? seconds(build) : null)),
    failedSeconds: ended.map((build) => (build.outcome === 'succeeded' ? null : seconds(build))),
    bytes: ended.map(({ databaseBytes }) => databaseBytes),
  };
}

/** Where the role does not answer, a page that says since when and what to do. */
async function orFault(c: C, work: () => Promise<Response>): Promise<Response> {
  try {
    return await work();
  } catch (thrown) {
    if (!(thrown instanceof PeerFault)) throw thrown;
    if (c.req.header('accept')?.startsWith('application/json')) return c.json({ error: thrown.message }, 502);
    const body = html`<h1>Trivy DB</h1><div class="notice bad" role="alert"><p><strong>${thrown.message}</strong> First noticed ${when(thrown.since)}.</p><p>Look whether the process with the role trivy-db runs and what its log says, and whether TRIVY_DB_URL and OPERATOR_TOKEN are right. What is published is served by that role too: until it answers, Trivy clients cannot load the database.</p></div>`;
    return c.get('show')({ title: 'Trivy DB does not answer', section: 'trivy-db', body, live }, 502);
  }
}
