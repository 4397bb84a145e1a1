import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import type { Fault } from '../clamd/canary.ts';
import type { ServerEnv } from '../roles/role.ts';
import { settled } from '../scan/fakes.ts';
import { type AppParts, createApp } from './app.ts';
import { mayReadMetrics } from './metrics-access.ts';
import { addNotify, type NotifyParts } from './notify.ts';
import { combined, roleReadiness, scannerReadiness } from './readiness.ts';

const secret = 'a secret shared with the hooks';
const now = 1_800_000_000;
const sign = (timestamp: string, body: string, key = secret) => createHmac('sha256', key).update(`${timestamp}.${body}`).digest('hex');

const engine = {
  name: 'clamd:3310',
  ready: true,
  why: null,
  faults: [],
  limits: null,
  canaryAt: null,
  inFlight: 0,
  signatureAgeSeconds: 10,
};
const official = { name: 'clamd:3310', version: '1.4.3', signatures: 27_000, signaturesAt: '2026-01-01T00:00:00Z' } as const;
const good = {
  session: { why: null },
  health: { why: null, last: null },
  engines: [{ ...engine, engine: official }],
  worker: { ready: true, why: null, held: 0, scanning: 0 },
  lies: [],
};

function setUp(changes: Partial<AppParts & NotifyParts> = {}) {
  const told: string[] = [];
  const routes = new Hono<ServerEnv>();
  addNotify(routes, {
    secret,
    wake: () => told.push('woken'),
    notified: (accepted) => told.push(accepted ? 'accepted' : 'refused'),
    now: () => now,
    ...changes,
  });
  const app = createApp({
    readiness: () => scannerReadiness(good),
    metrics: { contentType: 'text/plain; version=0.0.4', metrics: async () => 'pocketwarden_build_info 1\n' },
    metricsToken: null,
    routes: [routes],
    requestFailed: (path) => told.push(`failed ${path}`),
    ...changes,
  });
  const notify = (body: string, headers: Record<string, string>) => app.request('/notify', { method: 'POST', body, headers });
  return { app, told, notify };
}

describe('/notify', () => {
  const body = '{"checks":["abc"]}';
  const signed = (timestamp: number, text = body) => ({ 'X-AV-Timestamp': `${timestamp}`, 'X-AV-Signature': sign(`${timestamp}`, text) });

  it('accepts a signed notification at once and wakes afterwards', async () => {
    const { notify, told } = setUp();
    expect((await notify(body, signed(now))).status).toBe(202);
    await settled();
    expect(told).toEqual(['accepted', 'woken']);
  });

  it.each<[string, Record<string, string>]>([
    ['without headers', {}],
    ['with another secret', { 'X-AV-Timestamp': `${now}`, 'X-AV-Signature': sign(`${now}`, body, 'another') }],
    ['with the signature of another body', signed(now, 'x')],
    ['with the signature of another time', { ...signed(now - 1), 'X-AV-Timestamp': `${now}` }],
    ['older than five minutes', signed(now - 301)],
    ['from the future', signed(now + 301)],
    ['with a signature that is not hex', { ...signed(now), 'X-AV-Signature': 'z'.repeat(64) }],
    ['with a signature that is too short', { ...signed(now), 'X-AV-Signature': 'ab' }],
    ['with a timestamp that is not a number', { ...signed(now), 'X-AV-Timestamp': 'now' }],
  ])('refuses one %s', async (_name, headers) => {
    const { notify, told } = setUp();
    expect((await notify(body, headers)).status).toBe(401);
    await settled();
    expect(told).toEqual(['refused']);
  });

  it('takes no other signature than the right one', async () => {
    const { notify } = setUp();
    const signature = fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 64, maxLength: 64 });
    await fc.assert(
      fc.asyncProperty(signature, async (hex) => {
        const answer = await notify(body, { 'X-AV-Timestamp': `${now}`, 'X-AV-Signature': hex });
        expect(answer.status).toBe(hex === sign(`${now}`, body) ? 202 : 401);
      }),
      { numRuns: 30 },
    );
  });

  it('refuses a large body before it looks at it', async () => {
    const { notify, told } = setUp();
    const large = 'x'.repeat(16 * 1024 + 1);
    expect((await notify(large, { ...signed(now, large), 'Content-Length': `${large.length}` })).status).toBe(413);
    expect(told).toEqual([]);
  });

  it('says so when no secret is set', async () => {
    const { notify } = setUp({ secret: null });
    const answer = await notify(body, signed(now));
    expect(answer.status).toBe(503);
    expect(await answer.json()).toEqual({ error: expect.stringContaining('AV_NOTIFY_SECRET') });
  });
});

const from = (remoteAddress: string) => ({ incoming: { socket: { remoteAddress } } }) as never;
const here = from('127.0.0.1');

describe('/readyz', () => {
  it('answers 200 when every part is ready', async () => {
    const answer = await setUp().app.request('/readyz', {}, here);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ ready: true, testSignatures: false, parts: { engines: { ready: true, why: null } } });
  });

  it.each([
    ['pocketbase', { ...good, session: { why: 'wrong password' } }],
    ['hooks', { ...good, health: { why: 'not loaded', last: null } }],
    ['engines', { ...good, engines: [{ ...engine, engine: null, ready: false, why: 'refused' }] }],
    ['engines', { ...good, engines: [] }],
    ['worker', { ...good, worker: { ...good.worker, ready: false, why: 'it is stopping' } }],
  ])('answers 503 and says why when %s is not', async (part, sources) => {
    const answer = await setUp({ readiness: () => scannerReadiness(sources) }).app.request('/readyz', {}, here);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ ready: false, parts: { [part]: { ready: false, why: expect.stringMatching(/\w+/) } } });
  });

  const broken = { ...good, session: { why: 'http://pb.internal:8090 does not answer' } };
  const known = { name: 'ana', via: 'token', pocketbaseToken: null } as const;
  const ask = async (init: RequestInit, remote: string, changes: Partial<AppParts> = {}) =>
    await (await setUp({ readiness: () => scannerReadiness(broken), ...changes }).app.request('/readyz', init, from(remote))).json();
  const bare = {
    ready: false,
    parts: { pocketbase: { ready: false }, hooks: { ready: true }, engines: { ready: true }, worker: { ready: true } },
  };

  it('tells strangers which part is not ready, and nothing else', async () => {
    expect(await ask({}, '10.0.0.1')).toEqual(bare);
    for (const name of ['X-Forwarded-For', 'Forwarded', 'X-Forwarded-Proto', 'X-Real-IP', 'Via'])
      expect(await ask({ headers: { [name]: 'x' } }, '127.0.0.1')).toEqual(bare);
    expect(await ask({ headers: { Authorization: 'Bearer wrong' } }, '10.0.0.1', { metricsToken: 'a metrics token' })).toEqual(bare);
    expect(await ask({}, '10.0.0.1', { access: { operatorOf: async () => null } })).toEqual(bare);
    expect(await ask({}, '10.0.0.1', { access: { operatorOf: () => Promise.reject(new Error('no')) } })).toEqual(bare);
  });

  it('tells this machine, whoever has METRICS_TOKEN, and operators all of it', async () => {
    const why = { parts: { pocketbase: { why: 'http://pb.internal:8090 does not answer' } }, gate: 'unknown' };
    expect(await ask({}, '127.0.0.1')).toMatchObject(why);
    expect(await ask({}, '::1', { metricsToken: 'a metrics token' })).toMatchObject(why);
    const authorized = { headers: { Authorization: 'Bearer a metrics token' } };
    expect(await ask(authorized, '10.0.0.1', { metricsToken: 'a metrics token' })).toMatchObject(why);
    expect(await ask({}, '10.0.0.1', { access: { operatorOf: async () => known } })).toMatchObject(why);
  });

  it('names each setting of clamd.conf that must change, and lies that PocketBase has not heard of', () => {
    const fault = (settings: string[]): Fault => ({ canary: 'size-limits', what: 'it lies', settings, reply: '' });
    const faults = [fault(['AlertEncrypted yes']), fault(['AlertExceedsMax yes']), fault(['AlertExceedsMax yes'])];
    const engines = [{ ...engine, engine: official, ready: false, why: 'it lies', faults }];
    const lies = [{ engine: 'clamd:3310', since: null, reason: 'it lies' }];
    const answer = scannerReadiness({ ...good, engines, lies });
    expect(answer.parts['engines']).toMatchObject({ ready: false, each: [{ settings: ['AlertEncrypted yes', 'AlertExceedsMax yes'] }] });
    expect(answer.warnings).toEqual([expect.stringMatching(/clamd:3310 judged since its last good canary .* it lies/)]);
  });

  it('announces test signatures and what PocketBase reports', () => {
    const last = { gate: 'monitor', problems: ['AV_GATE=monitor'] } as never;
    const engines = [{ ...engine, engine: { ...official, signatures: 'test', signaturesAt: null } as const }];
    const answer = scannerReadiness({ ...good, engines, health: { why: null, last } });
    expect(answer).toMatchObject({ ready: true, testSignatures: true, gate: 'monitor' });
    expect(answer.warnings).toEqual([expect.stringContaining('TEST SIGNATURES'), 'AV_GATE=monitor']);
  });
});

describe('readiness of several roles', () => {
  it('is that of all of them', () => {
    const trivyDb = roleReadiness({ trivyDb: { ready: false, why: 'its folder cannot be written' } }, ['the database is old']);
    expect(combined([scannerReadiness(good), trivyDb])).toMatchObject({
      ready: false,
      parts: { engines: { ready: true }, trivyDb: { ready: false, why: 'its folder cannot be written' } },
      gate: 'unknown',
      warnings: ['the database is old'],
    });
    expect(combined([roleReadiness({ trivyDb: { ready: true, why: null } })])).toMatchObject({
      ready: true,
      gate: null,
      testSignatures: false,
    });
  });
});

describe('/metrics', () => {
  it('is for this machine only, unless a token is set', async () => {
    expect((await setUp().app.request('/metrics')).status).toBe(403);
    const { app } = setUp({ metricsToken: 'a metrics token' });
    expect((await app.request('/metrics', { headers: { Authorization: 'Bearer a metrics token' } })).status).toBe(200);
    expect((await app.request('/metrics', { headers: { Authorization: 'Bearer a metrics tokem' } })).status).toBe(403);
  });

  const request = { authorization: undefined, isForwarded: false };
  it.each(['127.0.0.1', '127.8.0.1', '::1', '::ffff:127.0.0.1'])('knows %s as this machine', (remoteAddress) => {
    expect(mayReadMetrics({ ...request, remoteAddress }, null)).toBe(true);
    expect(mayReadMetrics({ ...request, remoteAddress, isForwarded: true }, null)).toBe(false);
    expect(mayReadMetrics({ ...request, remoteAddress }, 'token')).toBe(false);
  });
  it.each(['10.0.0.1', '::ffff:10.0.0.1', '1270.0.0.1', '127.0.0.1.evil', undefined])(
    'does not take %s for this machine',
    (remoteAddress) => {
      expect(mayReadMetrics({ ...request, remoteAddress }, null)).toBe(false);
    },
  );
});

it('answers everything else with JSON, and a failure without its details', async () => {
  const { app, told } = setUp({
    metricsToken: 't',
    metrics: { contentType: 'text/plain', metrics: () => Promise.reject(new Error('the inner secret')) },
  });
  expect(await (await app.request('/healthz')).json()).toEqual({ alive: true });
  expect((await app.request('/nothing')).status).toBe(404);
  const failed = await app.request('/metrics', { headers: { Authorization: 'Bearer t' } });
  expect(failed.status).toBe(500);
  expect(await failed.text()).not.toContain('inner secret');
  expect(told).toEqual(['failed /metrics']);
});
