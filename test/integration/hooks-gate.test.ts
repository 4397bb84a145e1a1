/** Not one byte of a build before its check is open: every way of asking, every state, every mode. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Build, checkOf, claim, clean, clearAll, download, infected, settle, unscannable, upload } from '../harness/builds.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';

/** A PNG of one pixel: thumbs are decoded from it. */
const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');

const hostMigration = `migrate((app) => {
  const builds = app.findCollectionByNameOrId('app_builds')
  const add = (collection, field) => collection.fields.addMarshaledJSON(JSON.stringify(field))
  add(builds, { name: 'sealed', type: 'file', maxSelect: 9, maxSize: 1000000, protected: true })
  app.save(builds)
  app.save(new Collection({ type: 'view', name: 'public_builds', listRule: '', viewRule: '', viewQuery: 'SELECT id, files, sealed FROM app_builds' }))
  app.save(new Collection({ type: 'view', name: 'nested_builds', listRule: '', viewRule: '', viewQuery: 'SELECT id, files FROM public_builds' }))
  const other = new Collection({ type: 'base', name: 'pictures', listRule: '', viewRule: '', createRule: '' })
  add(other, { name: 'image', type: 'file', maxSelect: 1, maxSize: 1000000 })
  app.save(other)
})`;
const migrations = { '9100000000_host.js': hostMigration };

describe('the gate', () => {
  let pb: RunningPocketBase;
  let superuser: Record<string, string>;
  beforeAll(async () => {
    pb = await startPocketBase({ migrations });
    superuser = { Authorization: pb.client.authStore.token };
  });
  afterAll(() => pb?.stop());

  /** Every way in, for a public field. */
  const ways = (): [string, Parameters<typeof download>[2]][] => [
    ['by collection id', {}],
    ['by name', { collection: 'app_builds' }],
    ['by upper-case name', { collection: 'APP_BUILDS' }],
    ['as attachment', { query: '?download=1' }],
    ['as thumb', { query: '?thumb=100x100' }],
    ['through a view', { collection: 'public_builds' }],
    ['through a view, as thumb', { collection: 'public_builds', query: '?thumb=100x100' }],
    ['through a view of a view', { collection: 'nested_builds' }],
    ['as a range', { headers: { Range: 'bytes=0-0' } }],
    ['as HEAD', { method: 'HEAD' }],
    ['if modified since the future', { headers: { 'If-Modified-Since': 'Fri, 01 Jan 2100 00:00:00 GMT' } }],
    ['if none match', { headers: { 'If-None-Match': '*' } }],
    ['as superuser', { headers: superuser }],
    ['with a garbage token', { headers: { Authorization: 'Bearer x.y.z' } }],
    ['with a garbage file token', { query: '?token=x.y.z' }],
  ];
  const states: [string, (build: Build) => Promise<unknown>, string][] = [
    ['pending', async () => {}, 'scan_pending'],
    ['scanning', async () => claim(pb), 'scan_pending'],
    [
      'infected',
      async () =>
        settle(
          pb,
          (await claim(pb)).checks.map((check) => infected(check)),
        ),
      'scan_infected',
    ],
    ['cannot judge', async () => settle(pb, (await claim(pb)).checks.map(unscannable)), 'scan_error'],
    ['without a check', async (build) => pb.client.collection('av_build_checks').delete((await checkOf(pb, build)).id), 'scan_missing'],
  ];

  it.each(states)('refuses a build that is %s, on every path', async (_, bring, code) => {
    const build = await upload(pb, { 'pixel.png': new Uint8Array(png) });
    await bring(build);
    for (const [way, options] of ways()) {
      const answer = await download(pb, build, options);
      expect(answer.status, way).toBe(403);
      if (options?.method !== 'HEAD') expect(answer.code, way).toBe(code);
      else expect(answer.body, way).toBe('');
      expect(answer.headers.get('cache-control'), way).toBe('private, no-store');
    }
    await pb.client.collection('app_builds').delete(build.id);
  });

  it('opens for a clean build, on every path', async () => {
    const build = await upload(pb, { 'pixel.png': new Uint8Array(png) });
    await clearAll(pb);
    for (const [way, options] of ways()) {
      const answer = await download(pb, build, options);
      expect([200, 206, 304], way).toContain(answer.status);
      expect(answer.headers.get('cache-control'), way).toBe('private, no-store');
    }
    expect((await download(pb, build, { headers: { Range: 'bytes=1-3' } })).body).toBe('PNG');
  });

  it('refuses protected files to whoever holds a file token, and opens for them later', async () => {
    const build = await upload(pb, { 'sealed.txt': 'sealed' }, 'app_builds', 'sealed');
    const sealed = { ...build, files: (build as unknown as { sealed: string[] }).sealed };
    const token = async () => ({ query: `?token=${await pb.client.files.getToken()}`, headers: superuser });
    expect(await download(pb, sealed, await token())).toMatchObject({ status: 403, code: 'scan_pending' });
    expect(await download(pb, sealed, { ...(await token()), collection: 'public_builds' })).toMatchObject({
      status: 403,
      code: 'scan_pending',
    });
    await clearAll(pb);
    expect(await download(pb, sealed, await token())).toMatchObject({ status: 200, body: 'sealed' });
  });

  it('closes again at once when a later verdict finds something', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    await clearAll(pb);
    await pb.sql(`UPDATE av_build_checks SET rescan_at = '2020-01-01 00:00:00.000Z' WHERE build = '${build.id}'`);
    const { checks } = await claim(pb);
    expect(checks).toMatchObject([{ build: build.id, rescan: true }]);
    expect((await download(pb, build)).status).toBe(200);
    await settle(
      pb,
      checks.map((check) => infected(check)),
    );
    expect(await download(pb, build)).toMatchObject({ status: 403, code: 'scan_infected' });
  });

  it('leaves the files of other collections alone', async () => {
    const picture = (await upload(pb, { 'pixel.png': new Uint8Array(png) }, 'pictures', 'image')) as unknown as Build & { image: string };
    const answer = await download(pb, { ...picture, files: [picture.image] });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cache-control')).not.toBe('private, no-store');
  });

  it('answers 503 when it cannot ask', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    await clearAll(pb);
    await pb.sql('ALTER TABLE av_build_checks RENAME TO av_build_checks_away');
    try {
      expect(await download(pb, build)).toMatchObject({ status: 503, code: 'scan_unavailable' });
    } finally {
      await pb.sql('ALTER TABLE av_build_checks_away RENAME TO av_build_checks');
    }
    expect((await download(pb, build)).status).toBe(200);
  });

  it('gives files before a verdict to the holder of the lease alone', async () => {
    const build = await upload(pb, { 'a.txt': 'content' });
    const { checks } = await claim(pb);
    const [check] = checks;
    const ask = (headers: Record<string, string>, name = build.files[0]!) =>
      fetch(`${pb.url}/api/av/checks/${check!.id}/files/${name}`, { headers });
    const lease = { 'X-AV-Lease': check!.lease };
    expect((await ask(lease)).status).toBe(401);
    expect((await ask(superuser)).status).toBe(409);
    expect((await ask({ ...superuser, 'X-AV-Lease': 'guess' })).status).toBe(409);
    expect((await ask({ ...superuser, ...lease }, 'other.txt')).status).toBe(404);
    expect((await ask({ ...superuser, ...lease }, encodeURIComponent('../../../data.db'))).status).toBe(404);
    expect(await (await ask({ ...superuser, ...lease })).text()).toBe('content');
    const range = await ask({ ...superuser, ...lease, Range: 'bytes=3-6' });
    expect([range.status, range.headers.get('content-range'), await range.text()]).toEqual([206, 'bytes 3-6/7', 'tent']);
    await settle(pb, [clean(check!)]);
    expect((await ask({ ...superuser, ...lease })).status).toBe(409);
  });
});

describe('the gate in its other modes', () => {
  it('monitor lets through, counts, and records once what it would have refused', async () => {
    await using pb = await startPocketBase({ env: { AV_GATE: 'monitor' } });
    const build = await upload(pb, { 'a.txt': 'a' });
    for (let i = 0; i < 3; i++) expect((await download(pb, build)).status).toBe(200);
    const health = await pb.client.send('/api/av/health', {});
    expect(health).toMatchObject({ gate: 'monitor', wouldRefuse: { total: 3, byCode: { scan_pending: 3 } } });
    expect(health.problems.join()).toContain('AV_GATE=monitor');
    const entries = (await pb.client.collection('av_scan_history').getFullList()).map((row) => JSON.parse(row['entry']));
    expect(entries).toMatchObject([{ event: 'would-refuse', build: build.id, code: 'scan_pending' }]);
  });

  it('off lets through and is loud in health', async () => {
    await using pb = await startPocketBase({ env: { AV_GATE: 'off' } });
    const build = await upload(pb, { 'a.txt': 'a' });
    expect((await download(pb, build)).status).toBe(200);
    expect((await pb.client.send('/api/av/health', {})).problems.join()).toContain('AV_GATE=off');
  });

  it('a misspelt mode enforces and says so', async () => {
    await using pb = await startPocketBase({ env: { AV_GATE: 'offf' } });
    const build = await upload(pb, { 'a.txt': 'a' });
    expect((await download(pb, build)).status).toBe(403);
    expect((await pb.client.send('/api/av/health', {})).problems.join()).toContain('AV_GATE is neither');
  });
});
