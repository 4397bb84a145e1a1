import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { type HttpServer, listen } from '../http/server.ts';
import { FakeBuilder, FakeBuildLogs, fakeAccess, fakePublication } from './fakes.ts';
import type { Publication } from './model.ts';
import { digestOf } from './pack.ts';
import { createTrivyDbRoutes } from './routes.ts';
import { STALL_MS } from './send-file.ts';

const archive = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 251));
const etag = `"${digestOf(archive)}"`;
const builder = new FakeBuilder();
const app = createTrivyDbRoutes({ builder, logs: new FakeBuildLogs(), access: fakeAccess, now: () => 0, events: { asked() {} } });
const get = (headers: Record<string, string> = {}, method = 'GET', path = '/api/download/db') => app.request(path, { method, headers });
const bytes = async (answer: Response) => Buffer.from(await answer.arrayBuffer());

let folder: string;
let published: Publication;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trivy-db-send-'));
  published = await fakePublication(join(folder, 'first.tar.gz'), archive);
  builder.publication = published;
});
afterAll(() => rm(folder, { recursive: true }));

/** Of this process, on files of the test's folder. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(folder) ? [path] : [];
    } catch {
      return [];
    }
  });
}

describe('a download', () => {
  it('comes whole, with all that a client wants to know of it', async () => {
    const answer = await get();
    expect(answer.status).toBe(200);
    expect(await bytes(answer)).toEqual(archive);
    expect(Object.fromEntries(answer.headers)).toEqual({
      'content-type': 'application/gzip',
      'content-length': '1000',
      'content-disposition': 'attachment; filename="trivy.db.tar.gz"',
      'accept-ranges': 'bytes',
      'cache-control': 'no-cache',
      etag,
      'last-modified': 'Sat, 21 Nov 2026 16:10:00 GMT',
    });
    await eventually('the file is closed', () => openFiles().length === 0);
  });

  it('that nobody reads is given up', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const answer = await get();
      expect(openFiles()).toHaveLength(1);
      vi.advanceTimersByTime(STALL_MS);
      await expect(answer.arrayBuffer()).rejects.toThrow('nobody reads');
    } finally {
      vi.useRealTimers();
    }
    await eventually('the file is closed', () => openFiles().length === 0);
  });

  it('answers HEAD with the same headers and opens nothing', async () => {
    const [head, whole] = [await get({ Range: 'bytes=0-1' }, 'HEAD'), await get()];
    expect(openFiles()).toHaveLength(1);
    await whole.body?.cancel();
    expect(head.status).toBe(200);
    expect(Object.fromEntries(head.headers)).toEqual(Object.fromEntries(whole.headers));
    expect(await head.text()).toBe('');
  });

  it('of the metadata is the file, byte for byte', async () => {
    const answer = await get({}, 'GET', '/api/download/metadata');
    expect(await bytes(answer)).toEqual(published.metadata);
    expect(answer.headers.get('content-disposition')).toBe('attachment; filename="metadata.json"');
    expect(answer.headers.get('content-type')).toBe('application/json');
    expect(answer.headers.get('etag')).toBe(`"${digestOf(published.metadata)}"`);
    const part = await get({ Range: 'bytes=1-9' }, 'GET', '/api/download/metadata');
    expect([part.status, await part.text()]).toEqual([206, '"Version"']);
  });

  it('is 404 with a sentence before the first build', async () => {
    builder.publication = null;
    try {
      for (const path of ['/api/download/db', '/api/download/metadata']) {
        const answer = await get({}, 'GET', path);
        expect(answer.status).toBe(404);
        expect(await answer.json()).toEqual({ error: expect.stringContaining('POST /api/build') });
      }
    } finally {
      builder.publication = published;
    }
  });

  it('is of the newer build where the older one was removed before it was opened', async () => {
    const newer = await fakePublication(join(folder, 'newer.tar.gz'), Buffer.from('newer'));
    const answers = [{ ...published, archive: { ...published.archive, path: join(folder, 'removed') } }, newer];
    builder.published = async () => answers.shift() ?? newer;
    try {
      expect(await (await get()).text()).toBe('newer');
    } finally {
      builder.published = FakeBuilder.prototype.published;
    }
  });
});

describe('a range', () => {
  it.each([
    ['bytes=0-0', 0, 1],
    ['bytes=10-19', 10, 10],
    ['bytes=990-', 990, 10],
    ['bytes=990-5000', 990, 10],
    ['bytes=-10', 990, 10],
    ['bytes=-5000', 0, 1000],
    ['bytes=0-99999999999999999999999999', 0, 1000],
  ])('%s is given', async (range, first, length) => {
    const answer = await get({ Range: range });
    expect(answer.status).toBe(206);
    expect(answer.headers.get('content-range')).toBe(`bytes ${first}-${first + length - 1}/1000`);
    expect(answer.headers.get('content-length')).toBe(`${length}`);
    expect(await bytes(answer)).toEqual(archive.subarray(first, first + length));
  });

  it.each(['bytes=0-1,5-6', 'bytes=5-4', 'bytes=-', 'items=0-1', 'bytes=a-b', 'bytes=0-1;q=1', 'bytes'])(
    '%s is not understood: all is given',
    async (range) => {
      const answer = await get({ Range: range });
      expect([answer.status, (await bytes(answer)).length]).toEqual([200, 1000]);
    },
  );

  it.each(['bytes=1000-', 'bytes=1000-1001', 'bytes=-0', 'bytes=99999999999999999999999999-'])('%s is outside', async (range) => {
    const answer = await get({ Range: range });
    expect(answer.status).toBe(416);
    expect(answer.headers.get('content-range')).toBe('bytes */1000');
    expect(await answer.json()).toEqual({ error: expect.stringContaining('1000 bytes') });
  });

  it('gives what was asked for, whatever was', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(1200), fc.nat(1200), async (from, to) => {
        const answer = await get({ Range: `bytes=${from}-${to}` });
        const body = await bytes(answer);
        if (from > to) expect(body).toEqual(archive);
        else if (from >= 1000) expect(answer.status).toBe(416);
        else expect(body).toEqual(archive.subarray(from, to + 1));
      }),
      { numRuns: 50 },
    );
  });

  it.each([
    [etag, 206],
    ['"sha256:other"', 200],
    [`W/${etag}`, 200],
    ['Sat, 21 Nov 2026 16:10:00 GMT', 200],
  ])('is not mixed with what was known of another build: If-Range %s', async (known, status) => {
    const answer = await get({ Range: 'bytes=0-1', 'If-Range': known });
    expect([answer.status, (await bytes(answer)).length]).toEqual([status, status === 206 ? 2 : 1000]);
  });
});

describe('conditions', () => {
  it.each<[string, Record<string, string>, number]>([
    ['the same', { 'If-None-Match': etag }, 304],
    ['the same, weakly', { 'If-None-Match': `"other", W/${etag}` }, 304],
    ['any', { 'If-None-Match': '*' }, 304],
    ['another', { 'If-None-Match': '"other"' }, 200],
    ['not newer', { 'If-Modified-Since': 'Sat, 21 Nov 2026 16:10:00 GMT' }, 304],
    ['newer', { 'If-Modified-Since': 'Sat, 21 Nov 2026 16:09:59 GMT' }, 200],
    ['no date', { 'If-Modified-Since': 'yesterday' }, 200],
    ['another, though not newer', { 'If-None-Match': '"other"', 'If-Modified-Since': 'Sat, 21 Nov 2026 16:10:00 GMT' }, 200],
    ['the expected', { 'If-Match': etag }, 200],
    ['not the expected', { 'If-Match': '"other"' }, 412],
  ])('%s', async (_name, headers, status) => {
    const answer = await get(headers);
    expect(answer.status).toBe(status);
    if (status === 304) expect([answer.headers.get('etag'), answer.headers.get('content-length')]).toEqual([etag, null]);
    await answer.body?.cancel();
    await eventually('the file is closed', () => openFiles().length === 0);
  });
});

describe('over a real connection', () => {
  const size = 32 * 1024 * 1024;
  const large = Buffer.alloc(size, 'first');
  let server: HttpServer;
  let whole: Publication;
  beforeAll(async () => {
    whole = await fakePublication(join(folder, 'large.tar.gz'), large);
    server = await listen(app, '127.0.0.1', 0);
  });
  afterAll(() => server.close());

  async function begin() {
    builder.publication = whole;
    const asked = request(`${server.url}/api/download/db`);
    asked.end();
    const [incoming] = await once(asked, 'response');
    return { asked, incoming };
  }

  it('a reader finishes undisturbed when another build takes its place and its files go', async () => {
    const { incoming } = await begin();
    expect(incoming.headers['content-length']).toBe(`${size}`);
    const next = await fakePublication(join(folder, 'next.tar.gz'), Buffer.from('second'));
    await rename(next.archive.path, whole.archive.path);
    await rm(whole.archive.path);
    builder.publication = published;
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(large)).toBe(true);
    await writeFile(whole.archive.path, large);
    await eventually('the file is closed', () => openFiles().length === 0);
  });

  it('a reader that goes leaves no file open', async () => {
    const { asked, incoming } = await begin();
    await once(incoming, 'data');
    expect(openFiles()).toHaveLength(1);
    asked.destroy();
    await eventually('the file is closed', () => openFiles().length === 0);
  });

  it('a file that loses bytes under way is visibly cut', async () => {
    const { incoming } = await begin();
    incoming.pause();
    await truncate(whole.archive.path, 1024 * 1024);
    const failure = once(incoming, 'aborted').then(() => 'cut');
    incoming.resume();
    incoming.on('error', () => {});
    expect(await Promise.race([failure, once(incoming, 'end').then(() => 'complete')])).toBe('cut');
    await writeFile(whole.archive.path, large);
    await eventually('the file is closed', () => openFiles().length === 0);
  });

  it('a file of another size than was said is not begun', async () => {
    builder.publication = { ...whole, archive: { ...whole.archive, size: size + 1 } };
    const failures: string[] = [];
    const failing = createTrivyDbRoutes({ builder, logs: new FakeBuildLogs(), access: fakeAccess, now: () => 0, events: { asked() {} } });
    failing.onError((thrown, c) => {
      failures.push(thrown.message);
      return c.text('', 500);
    });
    expect((await failing.request('/api/download/db')).status).toBe(500);
    expect(failures).toEqual([`${whole.archive.path} has ${size} bytes instead of ${size + 1}`]);
    expect(openFiles()).toEqual([]);
  });
});
