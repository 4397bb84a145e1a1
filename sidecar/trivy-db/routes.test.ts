import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createApp } from '../http/app.ts';
import { roleReadiness } from '../http/readiness.ts';
import { listen } from '../http/server.ts';
import * as api from './api.ts';
import { FakeBuilder, FakeBuildLogs, fakeAccess, fakePublication, fakeRecord } from './fakes.ts';
import { BuilderRefusal, type BuilderState } from './model.ts';
import type { RegistryLogin } from './registry.ts';
import { createTrivyDbRoutes } from './routes.ts';

const start = Date.parse('2026-11-21T17:00:00.000Z');
const [older, newer] = ['20261121T150000Z-000001', '20261121T160000Z-000002'];
const authorized = { Authorization: 'Bearer let-me-in' };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trivy-db-routes-'));
});
afterEach(() => rm(folder, { recursive: true }));

function setUp(login: RegistryLogin | null = null) {
  const builder = new FakeBuilder();
  const logs = new FakeBuildLogs();
  const told: (string | null)[][] = [];
  const clock = { now: start };
  const events = { asked: (...what: (string | null)[]) => told.push(what) };
  const app = createTrivyDbRoutes({ builder, logs, access: fakeAccess, now: () => clock.now, events, login });
  const get = (path: string, headers: Record<string, string> = {}) => app.request(path, { headers });
  const post = (path: string, init: RequestInit = {}) => app.request(path, { method: 'POST', headers: authorized, ...init });
  return { app, builder, logs, told, clock, get, post };
}

describe('GET /api/status', () => {
  it('has the shape of the requirements', async () => {
    const { builder, get } = setUp();
    const archive = Buffer.alloc(2048, 7);
    builder.publication = await fakePublication(join(folder, 'a.tar.gz'), archive, { databaseBytes: 1_234_567_890 });
    const answer = await get('/api/status');
    expect(answer.headers.get('content-type')).toBe('application/json');
    const body = await answer.json();
    expect(api.statusAnswer.strict().safeParse(body).error).toBeUndefined();
    expect(body).toEqual({
      build: { status: 'idle', pid: null, id: null, phase: null, progress: null, nextScheduledAt: null },
      database: {
        db_exists: true,
        db_size: 1_234_567_890,
        db_size_formatted: '1.15 GB',
        db_mtime: '2026-11-21T16:00:00.000Z',
        tar_exists: true,
        tar_size: 2048,
        tar_size_formatted: '2.00 KB',
        metadata: { version: 2, updatedAt: '2026-11-21T16:00:00Z', nextUpdate: '2026-11-22T16:00:00Z' },
        build_id: '20261121T160000Z-aaaaaa',
        digest: builder.publication.digest,
      },
      timestamp: '2026-11-21T17:00:00.000Z',
    });
  });

  it('says that there is nothing before the first build', async () => {
    const { database } = (await (await setUp().get('/api/status')).json()) as api.StatusAnswer;
    expect(database).toMatchObject({ db_exists: false, db_size: null, db_size_formatted: 'N/A', tar_exists: false, metadata: null });
  });

  const holder = { pid: 4711, host: 'builder-1', buildId: newer, since: '2026-11-21T16:00:00.000Z' };
  const phase = { startedAt: '2026-11-21T16:00:00.000Z', endedAt: null, exitCode: null, signal: null, detail: '', progress: 0.25 };
  const running = fakeRecord(newer, {
    outcome: null,
    phases: [
      { ...phase, name: 'fetch', endedAt: phase.startedAt },
      { ...phase, name: 'build' },
    ],
  });
  it.each<[string, Partial<BuilderState>, object]>([
    ['running', { lock: { kind: 'held', holder }, running }, { pid: 4711, id: newer, phase: 'build', progress: 0.25 }],
    ['waiting', { lock: { kind: 'held', holder } }, { pid: 4711, id: null, phase: null }],
    ['stale_lock', { lock: { kind: 'stale', holder } }, { pid: 4711 }],
    ['error', { lock: { kind: 'unknown', holder: null, why: 'unreadable' } }, { pid: null }],
  ])('tells %s', async (status, changes, expected) => {
    const { builder, get } = setUp();
    builder.now = { ...builder.now, ...changes, status: status as BuilderState['status'] };
    expect(await (await get('/api/status')).json()).toMatchObject({ build: { status, ...expected } });
  });

  it('is made once for all who ask within half a second, and anew after a change', async () => {
    const { builder, clock, get, post } = setUp();
    await Promise.all([get('/api/status'), get('/api/status')]);
    clock.now += 499;
    await get('/api/status');
    expect(builder.stateReads).toBe(1);
    clock.now += 1;
    await get('/api/status');
    expect(builder.stateReads).toBe(2);
    await post('/api/build');
    await get('/api/status');
    expect(builder.stateReads).toBe(3);
    clock.now -= 60_000;
    await get('/api/status');
    expect(builder.stateReads).toBe(4);
  });

  it('does not keep a failure', async () => {
    const { app, builder, get } = setUp();
    app.onError((thrown, c) => c.text(thrown.message, 500));
    builder.state = () => Promise.reject(new Error('unreadable'));
    expect((await get('/api/status')).status).toBe(500);
    builder.state = FakeBuilder.prototype.state;
    expect((await get('/api/status')).status).toBe(200);
  });

  it('is the same over a real connection', async () => {
    const { app, clock } = setUp();
    const metrics = { contentType: 'text/plain', metrics: async () => '' };
    const whole = createApp({ readiness: () => roleReadiness({}), metrics, metricsToken: null, routes: [app], requestFailed() {} });
    const server = await listen(whole, '127.0.0.1', 0);
    try {
      for (let request = 0; request < 3; request++) {
        clock.now += 1000;
        const [sent, made] = [await fetch(`${server.url}/api/status`), await whole.request('/api/status')];
        expect(await sent.text()).toBe(await made.text());
        expect(Object.fromEntries(sent.headers)).toMatchObject(Object.fromEntries(made.headers));
        expect(made.headers.get('x-content-type-options')).toBe('nosniff');
        const head = await fetch(`${server.url}/api/status`, { method: 'HEAD' });
        expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, sent.headers.get('content-length'), '']);
      }
    } finally {
      await server.close();
    }
  });

  it('has no metadata where the file is not understood', async () => {
    const { builder, get } = setUp();
    builder.publication = await fakePublication(join(folder, 'a'), Buffer.from('x'), { metadata: Buffer.from('{"Version":"two"') });
    expect(await (await get('/api/status')).json()).toMatchObject({ database: { db_exists: true, metadata: null } });
  });
});

describe('GET /api/logs', () => {
  it('gives the newest lines of the newest log, each with its line break', async () => {
    const { logs, get } = setUp();
    logs.begin(older);
    logs.write(older, 'of another build');
    logs.begin(newer);
    logs.write(newer, ...Array.from({ length: 250 }, (_, index) => `line ${index + 1}`), { text: '<script>', cutBytes: 77 });
    const body = (await (await get('/api/logs')).json()) as api.LogsAnswer;
    expect(api.logsAnswer.strict().safeParse(body).error).toBeUndefined();
    expect(body.logs).toHaveLength(100);
    expect(body.logs[0]).toBe('line 152\n');
    expect(body.logs.slice(-2)).toEqual(['line 250\n', '<script> … 77 more bytes\n']);
    expect(body).toMatchObject({ total_lines: 251, timestamp: '2026-11-21T17:00:00.000Z' });
    expect(((await (await get('/api/logs?lines=1000')).json()) as api.LogsAnswer).logs).toHaveLength(251);
    expect(((await (await get('/api/logs?lines=1')).json()) as api.LogsAnswer).logs).toHaveLength(1);
  });

  it('has 2 MiB of text at most, whatever a program writes, and gives each line its share', async () => {
    const { logs, get } = setUp();
    logs.begin(newer);
    logs.write(newer, ...Array.from({ length: 1000 }, () => 'é'.repeat(32 * 1024)), 'the last one');
    const { logs: lines } = (await (await get('/api/logs?lines=1000')).json()) as api.LogsAnswer;
    expect(lines).toHaveLength(1000);
    expect(lines.at(-1)).toBe('the last one\n');
    expect(lines[0]).toMatch(/^é{1048} … 63440 more bytes\n$/);
    expect(((await (await get('/api/logs?lines=2')).json()) as api.LogsAnswer).logs[0]).toBe(`${'é'.repeat(32 * 1024)}\n`);
  });

  it('reads no more than the other side takes', async () => {
    const { logs, get } = setUp();
    logs.begin(newer);
    logs.write(newer, ...lines1000());
    const reads = vi.fn();
    const latest = logs.latest.bind(logs);
    logs.latest = async () => {
      const reader = (await latest())!;
      const read: typeof reader.read = (from, to) => {
        reads(to - from + 1);
        return reader.read(from, to);
      };
      return { ...reader, read };
    };
    const answers = await Promise.all(Array.from({ length: 20 }, () => get('/api/logs?lines=1000')));
    expect(reads).not.toHaveBeenCalled();
    const bodies = answers.map(({ body }) => body!.getReader());
    await Promise.all(bodies.map((body) => body.read()));
    expect(reads).toHaveBeenCalledTimes(20);
    expect(Math.max(...reads.mock.calls.map(([count]) => count))).toBe(8);
    await Promise.all(bodies.map((body) => body.cancel()));
    expect(((await (await get('/api/logs?lines=1000')).json()) as api.LogsAnswer).logs).toHaveLength(1000);
  });

  it('is empty before the first build', async () => {
    expect(await (await setUp().get('/api/logs')).json()).toMatchObject({ logs: [], total_lines: 0 });
  });

  it.each(['0', '1001', '-1', '1.5', '1e2', '', 'all', '0x10', '01', '99999999999999999999', '5&lines=6'])(
    'refuses lines=%s and names it',
    async (lines) => {
      const answer = await setUp().get(`/api/logs?lines=${lines}`);
      expect(answer.status).toBe(400);
      expect(await answer.json()).toEqual({ error: 'lines must be a whole number from 1 to 1000' });
    },
  );
});

const lines1000 = () => Array.from({ length: 1000 }, (_, index) => `line ${index + 1}`);

describe('what changes something', () => {
  const paths = ['/api/build', '/api/build/cancel', '/api/clear-lock', `/api/builds/${newer}/publish`];

  it.each([
    ...paths.map((path) => ['POST', path]),
    ['GET', '/api/builds'],
    ['GET', `/api/builds/${newer}`],
    ['GET', `/api/builds/${newer}/logs`],
    ['GET', `/api/builds/${newer}/log`],
    ['GET', '/api/builder'],
  ])('%s %s wants an operator', async (method, path) => {
    const { app, builder, told } = setUp();
    expect((await app.request(path!, { method: method! })).status).toBe(401);
    expect([...builder.asked, ...told]).toEqual([]);
  });

  it('is done in the name of the operator, and told', async () => {
    const { builder, post, told } = setUp();
    expect(await (await post('/api/build')).json()).toEqual({
      success: true,
      message: 'Build started successfully',
      id: '20261121T170000Z-bbbbbb',
    });
    expect(await (await post('/api/build/cancel')).json()).toEqual({ success: true, message: 'Build stopped' });
    expect(await (await post('/api/clear-lock')).json()).toEqual({ success: true, message: 'Lock file cleared successfully' });
    expect(await (await post(`/api/builds/${newer}/publish`)).json()).toMatchObject({ success: true });
    const by = 'by ana@example.com';
    expect(builder.asked).toEqual([`start ${by}`, `cancel ${by}`, `clear-lock ${by}`, `publish ${newer} ${by}`]);
    expect(told).toEqual([
      ['start', 'ana@example.com', '20261121T170000Z-bbbbbb', null],
      ['cancel', 'ana@example.com', null, null],
      ['clear-lock', 'ana@example.com', null, null],
      ['publish', 'ana@example.com', newer, null],
    ]);
  });

  it.each([
    ['busy', '/api/build', 409],
    ['no-space', '/api/build', 507],
    ['stopping', '/api/build', 503],
    ['not-running', '/api/build/cancel', 409],
    ['lock-live', '/api/clear-lock', 409],
    ['no-such-build', `/api/builds/${newer}/publish`, 404],
    ['not-publishable', `/api/builds/${newer}/publish`, 409],
  ] as const)('answers %s to %s with %i', async (code, path, status) => {
    const { builder, post, told } = setUp();
    builder.refusal = new BuilderRefusal(code, 'a build runs already: wait for it');
    const answer = await post(path);
    expect(answer.status).toBe(status);
    const body = await answer.json();
    expect(api.refusedAnswer.strict().safeParse(body).error).toBeUndefined();
    expect(body).toEqual({
      success: false,
      message: 'a build runs already: wait for it',
      error: 'a build runs already: wait for it',
      code,
    });
    expect(told.at(-1)?.at(-1)).toBe(code);
  });

  it('ignores a small body and refuses a large one', async () => {
    const { builder, post } = setUp();
    const headers = (length: number) => ({ ...authorized, 'Content-Length': `${length}` });
    expect((await post('/api/build', { body: 'not json', headers: headers(8) })).status).toBe(200);
    const large = 'x'.repeat(16 * 1024 + 1);
    expect((await post('/api/build', { body: large, headers: headers(large.length) })).status).toBe(413);
    expect((await post('/api/build', { body: large, headers: { ...authorized, 'Transfer-Encoding': 'chunked' } })).status).toBe(411);
    expect(builder.asked).toHaveLength(1);
  });

  it.each(['..%2Fetc', 'a.b', 'x'.repeat(65)])('does not ask the builder to publish %s', async (id) => {
    const { builder, post } = setUp();
    expect((await post(`/api/builds/${id}/publish`)).status).toBe(404);
    expect(builder.asked).toEqual([]);
  });
});

describe('the history', () => {
  it('is paged from the newest', async () => {
    const { builder, get } = setUp();
    builder.records = Array.from({ length: 25 }, (_, index) => fakeRecord(`20261121T16${String(59 - index).padStart(2, '0')}00Z-abcdef`));
    const seen: string[] = [];
    let before = '';
    for (let page = 0; page < 3; page++) {
      const body = (await (await get(`/api/builds?limit=10${before}`, authorized)).json()) as api.BuildsAnswer;
      expect(api.buildsAnswer.strict().safeParse(body).error).toBeUndefined();
      seen.push(...body.builds.map(({ id }) => id));
      before = `&before=${body.next}`;
      expect(body.next === null).toBe(page === 2);
    }
    expect(seen).toEqual(builder.records.map(({ id }) => id));
    expect(((await (await get('/api/builds', authorized)).json()) as api.BuildsAnswer).builds).toHaveLength(20);
  });

  it.each(['limit=0', 'limit=101', 'before=../x', 'before='])('refuses %s', async (query) => {
    const answer = await setUp().get(`/api/builds?${query}`, authorized);
    expect(answer.status).toBe(400);
    expect(((await answer.json()) as { error: string }).error).toContain(query.split('=')[0]);
  });

  it('has one build, or none', async () => {
    const { builder, get } = setUp();
    builder.records = [fakeRecord(newer)];
    expect(await (await get(`/api/builds/${newer}`, authorized)).json()).toEqual(builder.records[0]);
    for (const id of [older, 'a.b', '..%2f..%2fetc']) {
      const answer = await get(`/api/builds/${id}`, authorized);
      expect(answer.status).toBe(404);
      expect(await answer.json()).toEqual({ error: expect.stringContaining('GET /api/builds') });
    }
  });

  it('gives lines of any log by number', async () => {
    const { logs, get } = setUp();
    logs.begin(older);
    logs.write(older, ...Array.from({ length: 1500 }, (_, index) => `line ${index + 1}`));
    const read = async (query: string) => (await (await get(`/api/builds/${older}/logs${query}`, authorized)).json()) as api.BuildLogAnswer;
    const all = await read('');
    expect(api.buildLogAnswer.strict().safeParse(all).error).toBeUndefined();
    expect([all.lines.length, all.lines[0]?.number, all.total_lines]).toEqual([1000, 1, 1500]);
    expect((await read('?from=1499&to=1600')).lines.map(({ text }) => text)).toEqual(['line 1499', 'line 1500']);
    expect((await read('?from=1501')).lines).toEqual([]);
    for (const query of ['?from=0', '?from=5&to=4', '?from=1&to=1001']) {
      expect((await get(`/api/builds/${older}/logs${query}`, authorized)).status).toBe(400);
    }
    expect((await get(`/api/builds/${newer}/logs`, authorized)).status).toBe(404);
  });

  it('gives fewer lines where they are long, and all of each', async () => {
    const { logs, get } = setUp();
    logs.begin(older);
    logs.write(older, ...Array.from({ length: 100 }, () => 'x'.repeat(64 * 1024)));
    const seen: number[] = [];
    for (let next = 1; next <= 100; next = seen.at(-1)! + 1) {
      const { lines } = (await (await get(`/api/builds/${older}/logs?from=${next}`, authorized)).json()) as api.BuildLogAnswer;
      expect(lines.length).toBeLessThanOrEqual(32);
      expect(lines.every(({ text }) => text.length === 64 * 1024)).toBe(true);
      seen.push(...lines.map(({ number }) => number));
    }
    expect(seen).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
  });

  it('gives a whole log as a file that no browser shows', async () => {
    const { logs, get, app } = setUp();
    await writeFile(join(folder, 'build.log'), Buffer.from([0x3c, 0x62, 0x3e, 0xff, 0x0a]));
    logs.begin(older, join(folder, 'build.log'));
    const answer = await get(`/api/builds/${older}/log`, authorized);
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(Buffer.from([0x3c, 0x62, 0x3e, 0xff, 0x0a]));
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'text/plain; charset=utf-8',
      'content-length': '5',
      'content-disposition': `attachment; filename="trivy-db-${older}.log"`,
      'x-content-type-options': 'nosniff',
    });
    const head = await app.request(`/api/builds/${older}/log`, { method: 'HEAD', headers: authorized });
    expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, '5', '']);
    await writeFile(join(folder, 'build.log'), '');
    expect(await (await get(`/api/builds/${older}/log`, authorized)).text()).toBe('');
  });
});

describe('downloads', () => {
  const login = { username: 'trivy', password: '0123456789abcdef' };
  const basic = (text: string) => ({ Authorization: `Basic ${Buffer.from(text).toString('base64')}` });

  it.each(['/api/download/db', '/api/download/metadata'])('%s wants the password of the registry, or an operator', async (path) => {
    const { app, builder, get } = setUp(login);
    builder.publication = await fakePublication(join(folder, 'a'), Buffer.from('archive'));
    for (const headers of [{}, basic('trivy:wrong'), basic('trivy'), { Authorization: 'Bearer wrong' }]) {
      const refused = await get(path, headers as Record<string, string>);
      expect(refused.status).toBe(401);
      expect(refused.headers.get('www-authenticate')).toBe('Basic realm="pocketwarden"');
      expect(refused.headers.get('etag')).toBeNull();
      expect(await refused.json()).toEqual({ error: expect.stringContaining('OPERATOR_TOKEN') });
    }
    expect((await app.request(path, { method: 'HEAD' })).status).toBe(401);
    expect((await get(path, basic('trivy:0123456789abcdef'))).status).toBe(200);
    expect((await get(path, authorized)).status).toBe(200);
    expect((await get('/api/status')).status).toBe(200);
  });
});

describe('GET /api/builder', () => {
  it('tells what a page shows, and no path', async () => {
    const { builder, get } = setUp();
    builder.publication = await fakePublication(join(folder, 'a'), Buffer.from('archive'));
    const body = (await (await get('/api/builder', authorized)).json()) as api.BuilderAnswer;
    expect(api.builderAnswer.strict().safeParse(body).error).toBeUndefined();
    expect(body).toMatchObject({
      state: builder.now,
      published: { digest: builder.publication.digest, archive: { size: 7 }, metadata: { version: 2 } },
    });
    expect(JSON.stringify(body)).not.toContain(folder);
  });
});
