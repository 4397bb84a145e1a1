/** What the browser asks for while a log or a download is open; the trivy-db role may be a process that it cannot reach itself. */
import type { Context, Hono } from 'hono';
import { BUILD_ID } from '../../trivy-db/api.ts';
import type { ConsoleEnv } from '../console-env.ts';
import { PeerFault, type TrivyDbClient } from './client.ts';
import { totalsOf } from './log-events.ts';
import { logWindow, PAGE_LINES, searchLog } from './log-source.ts';

type C = Context<ConsoleEnv>;

/** Headers of a download that go through in either direction; all others belong to one connection, or to one of the two parties. */
const ASKED = ['range', 'if-range', 'if-none-match', 'if-modified-since'];
const ANSWERED = ['content-type', 'content-length', 'content-range', 'content-disposition', 'accept-ranges', 'etag', 'last-modified'];

export function addLogRoutes(app: Hono<ConsoleEnv>, client: TrivyDbClient): void {
  app.get('/trivy-db/builds/:id/rows', (c) => json(c, (id) => rows(c, client, id)));
  app.get('/trivy-db/builds/:id/search', (c) => json(c, (id) => search(c, client, id)));
  app.get('/trivy-db/builds/:id/stream', (c) => stream(c, client));
  app.get('/trivy-db/builds/:id/log', (c) => download(c, client, idOf(c) === null ? null : `/api/builds/${idOf(c)}/log`));
  app.get('/trivy-db/download/db', (c) => download(c, client, '/api/download/db'));
  app.get('/trivy-db/download/metadata', (c) => download(c, client, '/api/download/metadata'));
}

async function rows(c: C, client: TrivyDbClient, id: string) {
  const from = wholeNumber(c, 'from') ?? 1;
  const to = wholeNumber(c, 'to') ?? from + PAGE_LINES - 1;
  return logWindow(client, id, from, Math.max(from, to), { isWhole: c.req.query('whole') === '1' && from === to });
}

async function search(c: C, client: TrivyDbClient, id: string) {
  const query = (c.req.query('q') ?? '').trim().slice(0, 200);
  if (query === '') return { lines: [], next: null, total: 0 };
  const found = await searchLog(client, id, query, wholeNumber(c, 'from') ?? 1);
  return found === null ? null : { ...found, lines: found.lines.map(({ number }) => number) };
}

async function json(c: C, work: (id: string) => Promise<object | null>): Promise<Response> {
  const id = idOf(c);
  try {
    const answer = id === null ? null : await work(id);
    return answer === null ? c.json({ error: 'the log of this build is not kept' }, 404) : c.json(answer);
  } catch (thrown) {
    if (thrown instanceof PeerFault) return c.json({ error: thrown.message }, 502);
    throw thrown;
  }
}

/** Events `total` and `end`; see log-events.ts. */
async function stream(c: C, client: TrivyDbClient): Promise<Response> {
  const id = idOf(c);
  if (id === null) return c.json({ error: 'there is no such build' }, 404);
  const last = c.req.header('last-event-id') ?? '';
  const after = /^\d{1,12}$/.test(last) ? Number(last) : (wholeNumber(c, 'after') ?? 0);
  const left = new AbortController();
  const answer = await orNull(
    client.raw(`/api/logs/stream?build=${id}&after=${id}:${after}&tail=0`, { Accept: 'text/event-stream' }, left.signal),
  );
  // 204: the build is over, and all of its log has been seen. An EventSource that gets it does not come back.
  if (answer?.status === 204) return c.body(null, 204);
  if (answer === null || !answer.ok || answer.body === null) {
    await answer?.body?.cancel();
    return c.json({ error: 'the Trivy DB role does not send its log' }, 502);
  }
  c.header('Content-Type', 'text/event-stream; charset=utf-8');
  c.header('Cache-Control', 'no-store, no-transform');
  c.header('X-Accel-Buffering', 'no');
  return c.body(totalsOf(answer.body, id));
}

async function download(c: C, client: TrivyDbClient, path: string | null): Promise<Response> {
  if (path === null) return c.text('There is no such build.', 404);
  const asked = Object.fromEntries(ASKED.flatMap((name) => (c.req.header(name) === undefined ? [] : [[name, c.req.header(name)!]])));
  // The role's own compression would change what Content-Length says.
  const answer = await orNull(client.raw(path, { ...asked, 'Accept-Encoding': 'identity' }, c.req.raw.signal));
  if (answer === null || answer.status >= 500) {
    await answer?.body?.cancel();
    return c.text('The Trivy DB role does not give this file at the moment. Go back and look at its state.', 502);
  }
  if (answer.status === 404) {
    await answer.body?.cancel();
    return c.text('There is no such file: nothing is published yet, or this log is no longer kept.', 404);
  }
  const headers = new Headers(
    ANSWERED.flatMap((name) => (answer.headers.has(name) ? [[name, answer.headers.get(name)!] as [string, string]] : [])),
  );
  headers.set('Cache-Control', 'private, no-cache');
  if (c.req.method === 'HEAD') {
    // Nobody would read it, and the file would stay open until it counts as stalled.
    await answer.body?.cancel();
    return new Response(null, { status: answer.status, headers });
  }
  return new Response(answer.body, { status: answer.status, headers });
}

async function orNull(asked: Promise<Response>): Promise<Response | null> {
  try {
    return await asked;
  } catch (thrown) {
    if (thrown instanceof PeerFault) return null;
    throw thrown;
  }
}

function idOf(c: C): string | null {
  const id = c.req.param('id') ?? '';
  return BUILD_ID.test(id) ? id : null;
}

function wholeNumber(c: C, name: string): number | null {
  const text = c.req.query(name) ?? '';
  return /^[1-9]\d{0,11}$/.test(text) || text === '0' ? Math.max(name === 'after' ? 0 : 1, Number(text)) : null;
}
