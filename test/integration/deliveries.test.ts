/** The deliveries as PocketBase keeps them: found fast among many, remembered, and shown on their page. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { endpointOf } from '../../sidecar/console/webhooks/endpoint.ts';
import { GIVE_UP_MS } from '../../sidecar/console/webhooks/endpoint-queue.ts';
import { Outbox } from '../../sidecar/console/webhooks/outbox.ts';
import { enginesToldDown, gateTold } from '../../sidecar/console/webhooks/told.ts';
import { Session } from '../../sidecar/pocketbase/session.ts';
import { operatorToken, startConsole } from '../harness/console.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const never = new AbortController().signal;
let pb: RunningPocketBase;
let outbox: Outbox;
beforeAll(async () => {
  pb = await startPocketBase();
  outbox = new Outbox(new Session({ url: pb.url, ...superuser }));
});
afterAll(() => pb.stop());

async function added(event: string, kind: string, endpoint: string, data: object = {}, now = Date.now()) {
  expect(await outbox.add({ event, kind, endpoint, body: JSON.stringify({ id: event, data }) }, now, now + GIVE_UP_MS, never)).toBeNull();
  return (await outbox.newest(100, never)).find((each) => each.event === event && each.endpoint === endpoint)!;
}

describe('the outbox', () => {
  it('finds what is due for one endpoint, and what is due for endpoints that are gone', async () => {
    const names = async (rows: ReturnType<Outbox['due']>) => (await rows).map(({ event }) => event);
    const now = Date.now();
    await added('a-1', 'build.cleared', "o'brien.example-1", {}, now - 2000);
    await added('a-2', 'build.cleared', "o'brien.example-1", {}, now - 3000);
    await added('a-3', 'build.cleared', "o'brien.example-1", {}, now + 60_000);
    await added('b-1', 'build.cleared', 'b.example-2', {}, now - 1000);
    const ended = await added('b-2', 'build.cleared', 'b.example-2', {}, now - 1000);
    await outbox.change(ended.id, { delivered_at: now, next_at: null }, never);
    expect(await names(outbox.due("o'brien.example-1", now, 10, never))).toEqual(['a-2', 'a-1']);
    expect(await names(outbox.due('b.example-2', now, 10, never))).toEqual(['b-1']);
    expect(await names(outbox.dueElsewhere(["o'brien.example-1"], now, 10, never))).toEqual(['b-1']);
    expect(await names(outbox.dueElsewhere(["o'brien.example-1", 'b.example-2'], now, 10, never))).toEqual([]);
    await pb.sql('DELETE FROM av_deliveries');
  });

  it('knows which engines and which gate it has told of last', async () => {
    const since = (minute: number) => new Date(Date.UTC(2026, 10, 21, 16, minute)).toISOString();
    const told = async (event: string, kind: string, data: object, minute: number) => {
      const { id } = await added(event, kind, 'e', data);
      await pb.sql(`UPDATE av_deliveries SET created = '${since(minute).replace('T', ' ')}' WHERE id = '${id}'`);
    };
    expect(await enginesToldDown(outbox, never)).toEqual(new Map());
    expect(await gateTold(outbox, never)).toBe('enforce');
    await told('engine-down-a-1', 'engine.down', { engine: 'a', since: since(1) }, 2);
    await told('engine-up-a-1', 'engine.up', { engine: 'a' }, 3);
    await told('engine-down-b-1', 'engine.down', { engine: 'b', since: since(4) }, 5);
    await told('engine-up-c-1', 'engine.up', { engine: 'c' }, 6);
    await told('engine-down-c-1', 'engine.down', { engine: 'c', since: since(7) }, 8);
    await told('gate-open-1', 'gate.open', { gate: 'monitor' }, 9);
    expect(await enginesToldDown(outbox, never)).toEqual(
      new Map([
        ['b', Date.parse(since(4))],
        ['c', Date.parse(since(7))],
      ]),
    );
    expect(await gateTold(outbox, never)).toBe('monitor');
    await pb.sql('DELETE FROM av_deliveries');
  });

  it('reads no table of 50,000 deliveries for what it asks every few seconds', async () => {
    await pb.sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
      INSERT INTO av_deliveries (id, event, kind, endpoint, body, attempts, next_at, give_up_at, delivered_at, given_up_at, last_error, created)
      SELECT printf('d%014d', i), 'history-' || i, 'build.cleared', 'e', 'x', 1, '', '2026-11-21', '2026-11-20', '', '', '2026-11-20' FROM n`);
    const now = "next_at > '0' AND next_at <= '2026-11-21 00:00:00.000Z'";
    // As PocketBase turns the filters of the outbox into SQL (seen with --dev).
    const queries = {
      idx_av_deliveries_due: `SELECT * FROM av_deliveries WHERE (endpoint = 'e' AND ${now}) ORDER BY next_at ASC LIMIT 100`,
      idx_av_deliveries_open: `SELECT * FROM av_deliveries WHERE (${now} AND endpoint IS NOT 'e') ORDER BY next_at ASC LIMIT 100`,
      idx_av_deliveries_event:
        "SELECT * FROM av_deliveries WHERE (event > 'engine-' AND event < 'engine.') ORDER BY created DESC LIMIT 500",
      idx_av_deliveries_given_up: "SELECT COUNT(DISTINCT _rowid_) FROM av_deliveries WHERE given_up_at > '0'",
    };
    for (const [index, query] of Object.entries(queries)) {
      const plan = JSON.stringify(await pb.sql(`EXPLAIN QUERY PLAN ${query}`));
      expect(plan).toContain(`SEARCH av_deliveries USING`);
      expect(plan).toContain(index);
    }
    const failing = `SELECT COUNT(DISTINCT _rowid_) FROM av_deliveries WHERE (next_at > '0' AND attempts > 0)`;
    expect(JSON.stringify(await pb.sql(`EXPLAIN QUERY PLAN ${failing}`))).toContain('COVERING INDEX idx_av_deliveries_open');
    expect(await outbox.due('e', Date.now(), 100, never)).toEqual([]);
    expect(await outbox.troubled(never)).toEqual({ failing: 0, givenUp: 0 });
    await pb.sql('DELETE FROM av_deliveries');
  });
});

describe('the page of the deliveries', () => {
  it('shows each with its state, and sends one again that was given up', async () => {
    const received: string[] = [];
    const server = createServer((request, response) => {
      received.push(String(request.headers['webhook-id']));
      request.resume();
      response.writeHead(204).end();
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?key=inner-secret`;
    const endpoint = endpointOf(url).id;
    const now = Date.now();
    const lost = await added('history-1', 'build.infected', endpoint);
    await outbox.change(lost.id, { attempts: 30, given_up_at: now, next_at: null, last_error: 'it answered <b>500</b>' }, never);
    const done = await added('history-2', 'build.closed', endpoint);
    await outbox.change(done.id, { attempts: 1, delivered_at: now, next_at: null }, never);
    await using console = await startConsole({
      pocketbase: pb,
      env: { RESULT_WEBHOOK_URLS: url, RESULT_WEBHOOK_SECRET: 'a secret of the webhooks', RESULT_WEBHOOK_PRIVATE_HOSTS: '127.0.0.1' },
    });
    const ask = (path: string, method = 'GET') =>
      fetch(`${console.url}${path}`, { method, redirect: 'manual', headers: { Authorization: `Bearer ${operatorToken}` } });
    const rowOf = async (id: string) => {
      const page = await (await ask('/deliveries')).text();
      expect(page).not.toContain('inner-secret');
      return new RegExp(`<tr id="delivery-${id}">.*?</tr>`, 's').exec(page)?.[0] ?? '';
    };

    const before = await rowOf(lost.id);
    expect(before).toContain('Given up');
    expect(before).toContain('Build infected');
    expect(before).toContain('it answered &lt;b&gt;500&lt;/b&gt;');
    expect(before).toContain('Send again');
    const delivered = await rowOf(done.id);
    expect(delivered).toContain('Build was open and is closed');
    expect(delivered).not.toContain('Send again');

    const again = await ask(`/deliveries/${lost.id}/again`, 'POST');
    expect([again.status, again.headers.get('location')]).toEqual([303, '/deliveries']);
    await eventually('it has arrived', () => received.includes('history-1'));
    await eventually('the page says so', async () => (await rowOf(lost.id)).includes('Delivered'));
    expect((await ask(`/deliveries/${done.id}/again`, 'POST')).status).toBe(303);
    expect((await ask('/deliveries/none/again', 'POST')).status).toBe(404);
    expect(received).toEqual(['history-1']);
  });
});
