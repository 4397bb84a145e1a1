/** The console and the builder as two processes: everything a browser needs of the one goes through the other. */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BuilderAnswer } from '../../sidecar/trivy-db/api.ts';
import { operatorToken } from '../harness/console.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';
import { type RunningSidecar, startSidecar } from '../harness/sidecar.ts';
import { type TrivyDbFolders, trivyDbFolders } from '../harness/trivy-db-builder.ts';

const authorized = { Authorization: `Bearer ${operatorToken}` };
const clamd = { address: '127.0.0.1:1' };

let pb: RunningPocketBase;
let folders: TrivyDbFolders;
let builder: RunningSidecar;
let server: RunningSidecar;
beforeAll(async () => {
  [pb, folders] = await Promise.all([startPocketBase(), trivyDbFolders()]);
  // Waits while the file is there: a build that can be looked at, and stopped.
  const fetch = join(folders.root, 'fetch.sh');
  await writeFile(fetch, `#!/bin/sh\necho fetching\nwhile [ -e ${folders.root}/wait ]; do sleep 0.05; done\n`, { mode: 0o755 });
  const env = await folders.env({ OPERATOR_TOKEN: operatorToken, TRIVY_DB_FETCH: 'command', TRIVY_DB_FETCH_COMMAND: fetch });
  builder = await startSidecar({ pocketbase: pb, clamd, env });
  const dataDir = join(folders.root, 'console');
  server = await startSidecar({
    pocketbase: pb,
    clamd,
    env: { ROLES: 'console', OPERATOR_TOKEN: operatorToken, TRIVY_DB_URL: builder.url, CONSOLE_DATA_DIR: dataDir },
  });
});
afterAll(async () => {
  for (const each of [server, builder, folders]) await each?.[Symbol.asyncDispose]();
  await pb?.stop();
});

const get = (path: string, headers: Record<string, string> = {}) =>
  fetch(`${server.url}${path}`, { headers: { ...authorized, ...headers } });
const text = async (path: string) => (await get(path)).text();

async function post(path: string, fields: Record<string, string> = {}, headers: Record<string, string> = {}) {
  const csrf = /name="csrf" value="([^"]+)"/.exec(await text('/trivy-db'))?.[1] ?? '';
  const body = new URLSearchParams({ csrf, ...fields });
  return fetch(`${server.url}${path}`, { method: 'POST', headers: { ...authorized, ...headers }, body, redirect: 'manual' });
}
const state = async () => (await (await fetch(`${builder.url}/api/builder`, { headers: authorized })).json()) as BuilderAnswer;
const idle = () => eventually('no build runs', async () => (await state()).state.running === null, 30_000);

describe('a build, from the console', () => {
  it('is started, recorded under the name of the operator, published and shown', async () => {
    expect(await text('/trivy-db')).toContain('Nothing is published yet.');
    const started = await post('/trivy-db/build', {}, { 'X-On-Behalf-Of': 'ana' });
    expect(started.headers.get('location')).toBe('/trivy-db?done=started');
    await idle();
    const { state: after, published } = await state();
    expect(after.last).toMatchObject({ outcome: 'succeeded', startedBy: 'ana (operator token)' });
    const shown = await text('/trivy-db');
    expect(shown).toContain('Published now');
    expect(shown).toContain(published!.digest);
    const page = await text(`/trivy-db/builds/${after.last!.id}`);
    for (const name of ['fetch', 'build', 'compact', 'compress', 'publish']) expect(page).toContain(`</svg>${name}</span>`);
    expect(page).toContain('fetching');
    expect(page).toContain('[nvd]');
  });

  it('is given to whoever may see the console, byte for byte, also in parts', async () => {
    const { published } = await state();
    const whole = await get('/trivy-db/download/db');
    expect(whole.headers.get('content-disposition')).toBe('attachment; filename="trivy.db.tar.gz"');
    const bytes = Buffer.from(await whole.arrayBuffer());
    expect(`sha256:${createHash('sha256').update(bytes).digest('hex')}`).toBe(published!.archive.digest);
    expect(whole.headers.get('content-length')).toBe(String(bytes.length));
    const part = await get('/trivy-db/download/db', { Range: 'bytes=10-19' });
    expect(part.status).toBe(206);
    expect(part.headers.get('content-range')).toBe(`bytes 10-19/${bytes.length}`);
    expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(10, 20))).toBe(true);
    expect((await get('/trivy-db/download/db', { 'If-None-Match': whole.headers.get('etag')! })).status).toBe(304);
    expect(await (await get('/trivy-db/download/metadata')).json()).toMatchObject({ Version: 2 });
    expect((await fetch(`${server.url}/trivy-db/download/db`, { redirect: 'manual' })).status).toBe(303);
  });

  it('sends its log while it runs, and is stopped', async () => {
    await writeFile(join(folders.root, 'wait'), '');
    await post('/trivy-db/build');
    const { id } = (await state()).state.running!;
    expect(await text('/trivy-db')).toContain('1 of 5, fetch.');
    const events = await get(`/trivy-db/builds/${id}/stream?after=0`);
    expect(events.headers.get('content-type')).toContain('text/event-stream');
    const reader = events.body!.pipeThrough(new TextDecoderStream()).getReader();
    let seen = '';
    while (!/event: total/.test(seen)) seen += (await reader.read()).value ?? '';
    expect((await post('/trivy-db/cancel', { build: id })).headers.get('location')).toBe('/trivy-db?done=stopped');
    for (let more = await reader.read(); !more.done; more = await reader.read()) seen += more.value;
    expect(seen).toContain('event: end');
    expect((await state()).state.last).toMatchObject({ id, outcome: 'cancelled' });
    const log = await get(`/trivy-db/builds/${id}/log`);
    expect(log.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(log.headers.get('content-disposition')).toContain('attachment');
    expect(log.headers.get('x-content-type-options')).toBe('nosniff');
    expect(await log.text()).toContain('fetching');
    const found = (await (await get(`/trivy-db/builds/${id}/search?q=FETCHING`)).json()) as { lines: number[] };
    expect(found.lines).toHaveLength(1);
  });

  it('is refused in words', async () => {
    const refused = await post('/trivy-db/cancel');
    expect(refused.status).toBe(409);
    expect(await refused.text()).toContain('No build runs here.');
    const unknown = await post('/trivy-db/builds/20200101T000000Z-000000/publish');
    expect(unknown.status).toBe(409);
    expect(await unknown.text()).toContain('There is no build of this name.');
  });
});

it('says that the builder is away, and finds it again', async () => {
  await builder.stop();
  const away = await get('/trivy-db');
  expect(away.status).toBe(502);
  expect(await away.text()).toContain('The Trivy DB role does not answer.');
  await eventually('the overview says so', async () => (await text('/')).includes('The Trivy DB role does not answer.'));
  await builder.restart();
  await eventually('the page is back', async () => (await get('/trivy-db')).status === 200);
});
