import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { Hono } from 'hono';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bodyLimit } from './body-limit.ts';
import { type HttpServer, listen } from './server.ts';

let server: HttpServer;
beforeAll(async () => {
  const app = new Hono();
  app.post(
    '/',
    bodyLimit(10, (c, status) => c.text('refused', status)),
    async (c) => c.text(`${(await c.req.text()).length} came`),
  );
  server = await listen(app, '127.0.0.1', 0);
});
afterAll(() => server.close());

async function post(body: string | null, headers: Record<string, string>): Promise<[number | undefined, string]> {
  const outgoing = request(server.url, { method: 'POST', headers, agent: false });
  outgoing.on('error', () => {});
  outgoing.end(body ?? undefined);
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of answer) text += chunk;
  return [answer.statusCode, text];
}

it.each<[string, string | null, Record<string, string>, number, string]>([
  ['nothing at all', null, {}, 200, '0 came'],
  ['what fits', '0123456789', { 'Content-Length': '10' }, 200, '10 came'],
  ['what is too large', '0123456789a', { 'Content-Length': '11' }, 413, 'refused'],
  ['what does not say how large it is', '0123456789', { 'Transfer-Encoding': 'chunked' }, 411, 'refused'],
])('takes %s', async (_name, body, headers, status, text) => {
  expect(await post(body, headers)).toEqual([status, text]);
});
