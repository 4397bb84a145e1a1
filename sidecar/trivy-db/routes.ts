/** The REST routes of the trivy-db role. Those of the requirements that only read are open; what changes something or shows names is not. */
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { type Context, Hono, type MiddlewareHandler } from 'hono';
import type { z } from 'zod';
import { addressKey } from '../http/client-address.ts';
import type { Access } from '../http/operator.ts';
import type { ServerEnv } from '../roles/role.ts';
import * as api from './api.ts';
import { addChanges, type ChangeEvents } from './change-routes.ts';
import { LogAnswers } from './log-answer.ts';
import { LogStream, type LogStreamOptions } from './log-stream.ts';
import type { Builder, BuildLogs, LogLine, Publication } from './model.ts';
import { apiDocument } from './openapi.ts';
import { digestOf } from './pack.ts';
import { hasLogin, type RegistryLogin } from './registry.ts';
import { type Download, sendBytes, sendFile, sendGrowingFile } from './send-file.ts';
import { StatusText, summaryOf } from './status-answer.ts';

export interface TrivyDbRouteParts {
  readonly builder: Builder;
  readonly logs: BuildLogs;
  readonly access: Access;
  /** Unix milliseconds. */
  now(): number;
  readonly events: ChangeEvents;
  /** What the registry wants protects the downloads as well: it is the same database. Null or none: open to whoever reaches the port. */
  readonly login?: RegistryLogin | null;
  /** Whose limit of log streams a request counts for; by default the address of the connection. */
  addressOf?(c: Context<ServerEnv>): string;
  /** Ends the log streams, so that the server can close; without it they end with their viewers. */
  readonly stopping?: AbortSignal;
  readonly stream?: Partial<LogStreamOptions>;
}

/** Mounted at the root; each of the routes is in the document that `/api/openapi.json` answers. */
export function createTrivyDbRoutes(parts: TrivyDbRouteParts): Hono<ServerEnv> {
  const routes = new Hono<ServerEnv>();
  const status = new StatusText(parts.builder, () => parts.now());
  routes.get('/api/status', async (c) => sendPolled(c, await status.read()));
  routes.get('/api/openapi.json', (c) => c.json(apiDocument()));
  addLogs(routes, parts);
  addDownloads(routes, parts);
  addBuilds(routes, parts);
  addChanges(routes, { ...parts, changed: () => status.forget() });
  return routes;
}

/** What the app would set as well. */
const polledHeaders = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' };

/** Written to the connection itself: with a Response in between, pollers cost twice the CPU (npm run bench -- --only api-status). */
function sendPolled(c: Context<ServerEnv>, text: string): Response {
  const outgoing = c.env?.outgoing;
  if (outgoing === undefined) return c.body(text, 200, polledHeaders);
  outgoing.writeHead(200, { ...polledHeaders, 'Content-Length': Buffer.byteLength(text) });
  outgoing.end(text);
  return RESPONSE_ALREADY_SENT;
}

function addLogs(routes: Hono<ServerEnv>, parts: TrivyDbRouteParts): void {
  const { builder, logs, access, addressOf = connectionOf } = parts;
  const answers = new LogAnswers();
  const stream = new LogStream(builder, logs, parts.stopping ?? new AbortController().signal, parts.stream);
  routes.get('/api/logs', async (c) => {
    const query = readQuery(c, api.logsQuery);
    if (query instanceof Response) return query;
    const reader = await logs.latest();
    const total = (await reader?.total()) ?? 0;
    const rest: Omit<api.LogsAnswer, 'logs'> = { total_lines: total, timestamp: new Date(parts.now()).toISOString() };
    if (reader === null || total === 0) return c.json({ logs: [], ...rest } satisfies api.LogsAnswer);
    const frame = ['{"logs":[', `],${JSON.stringify(rest).slice(1)}`] as const;
    const body = answers.json(reader, Math.max(1, total - query.lines + 1), total, frame, wholeLine);
    return c.body(body, 200, { 'Content-Type': 'application/json' });
  });
  routes.get('/api/logs/stream', async (c) => {
    const query = readQuery(c, api.streamQuery);
    if (query instanceof Response) return query;
    // What the browser resumes with is newer than what the page was opened with; one that is none of ours is a new viewer's.
    const resumed = c.req.header('last-event-id');
    const after = resumed !== undefined && api.EVENT_ID.test(resumed) ? resumed : (query.after ?? null);
    const from = (await access.operatorOf(c)) === null ? addressKey(addressOf(c)) : null;
    return stream.open(c, { build: query.build ?? null, after, tail: query.tail, from });
  });
}

function connectionOf(c: Context<ServerEnv>): string {
  return c.env?.incoming?.socket.remoteAddress ?? 'unknown';
}

function wholeLine({ text, cutBytes }: LogLine): string {
  return cutBytes === 0 ? `${text}\n` : `${text} … ${cutBytes} more bytes\n`;
}

const NEEDS_LOGIN = 'the registry has a password: send it with Basic, or OPERATOR_TOKEN or a superuser token as `Authorization: Bearer …`';
const NOTHING_YET = 'no database has been built yet: start a build with POST /api/build';

function addDownloads(routes: Hono<ServerEnv>, { builder, access, login = null }: TrivyDbRouteParts): void {
  const allowed: MiddlewareHandler<ServerEnv> = async (c, next) => {
    if (login === null || hasLogin(c.req.header('authorization'), login) || (await access.operatorOf(c)) !== null) return next();
    return c.json({ error: NEEDS_LOGIN }, 401, { 'WWW-Authenticate': 'Basic realm="pocketwarden"' });
  };
  routes.get('/api/download/db', allowed, async (c) => {
    const send = (published: Publication) =>
      sendFile(c, published.archive, attachment(c, published, published.archive.digest, 'trivy.db.tar.gz', 'application/gzip'));
    const published = await builder.published();
    if (published === null) return c.json({ error: NOTHING_YET }, 404);
    try {
      return await send(published);
    } catch (thrown) {
      // Between the question and the opening another build can have taken its place, and this one been removed.
      const newer = await builder.published();
      if (newer === null || newer.archive.path === published.archive.path) throw thrown;
      return await send(newer);
    }
  });
  routes.get('/api/download/metadata', allowed, async (c) => {
    const published = await builder.published();
    if (published === null) return c.json({ error: NOTHING_YET }, 404);
    return sendBytes(c, published.metadata, attachment(c, published, digestOf(published.metadata), 'metadata.json', 'application/json'));
  });
}

function attachment(c: Context<ServerEnv>, { publishedAt }: Publication, digest: string, name: string, contentType: string): Download {
  return {
    digest,
    contentType,
    since: publishedAt,
    headers: { 'Content-Disposition': `attachment; filename="${name}"`, 'Cache-Control': 'no-cache' },
    refuse: (status, error) => c.json({ error }, status),
  };
}

function addBuilds(routes: Hono<ServerEnv>, { builder, logs, access, now }: TrivyDbRouteParts): void {
  const answers = new LogAnswers();
  routes.get('/api/builder', access.required, async (c) => {
    const [state, published] = await Promise.all([builder.state(), builder.published()]);
    const timestamp = new Date(now()).toISOString();
    return c.json({ state, published: published && summaryOf(published), timestamp } satisfies api.BuilderAnswer);
  });
  routes.get('/api/builds', access.required, async (c) => {
    const query = readQuery(c, api.buildsQuery);
    if (query instanceof Response) return query;
    const { limit, before } = query;
    // Ids sort by time, so that a page goes on also where the build that ended the last one is no longer kept.
    const older = (await builder.builds()).filter(({ id }) => before === undefined || id < before);
    const builds = older.slice(0, limit);
    return c.json({ builds, next: older.length > limit ? builds.at(-1)!.id : null } satisfies api.BuildsAnswer);
  });
  routes.get('/api/builds/:id', access.required, async (c) => {
    const id = c.req.param('id');
    const record = api.BUILD_ID.test(id) ? await builder.build(id) : null;
    return record === null ? c.json({ error: NO_BUILD }, 404) : c.json(record);
  });
  routes.get('/api/builds/:id/logs', access.required, async (c) => {
    const query = readQuery(c, api.buildLogQuery);
    if (query instanceof Response) return query;
    const id = c.req.param('id');
    const reader = api.BUILD_ID.test(id) ? await logs.of(id) : null;
    if (reader === null) return c.json({ error: NO_LOG }, 404);
    const total = await reader.total();
    const last = Math.min(query.to ?? query.from + api.MAX_LINES - 1, total);
    const lines = await answers.lines(reader, query.from, last);
    return c.json({ build: id, lines, total_lines: total } satisfies api.BuildLogAnswer);
  });
  routes.get('/api/builds/:id/log', access.required, async (c) => {
    const id = c.req.param('id');
    const reader = api.BUILD_ID.test(id) ? await logs.of(id) : null;
    if (reader === null) return c.json({ error: NO_LOG }, 404);
    const headers = { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Disposition': `attachment; filename="trivy-db-${id}.log"` };
    return sendGrowingFile(c, reader.path, { ...headers, 'X-Content-Type-Options': 'nosniff', 'Content-Security-Policy': 'sandbox' });
  });
}

const NO_BUILD = 'there is no build of this id: GET /api/builds lists them';
const NO_LOG = 'there is no log of this build, or it is no longer kept: GET /api/builds lists the builds';

/** A parameter that is given twice is one too many: it would be anybody's guess which counts. */
function readQuery<S extends z.ZodType>(c: Pick<Context<ServerEnv>, 'req' | 'json'>, schema: S): z.output<S> | Response {
  const given = Object.entries(c.req.queries()).map(([name, values]) => [name, values.length === 1 ? values[0] : values]);
  const parsed = schema.safeParse(Object.fromEntries(given));
  if (parsed.success) return parsed.data;
  const error = [...new Set(parsed.error.issues.map(({ message }) => message))].join('; ');
  return c.json({ error }, 400);
}
