/** From upload to verdict on real parts: what an uploader, a downloader and an operator see. */
import { rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { zipOf } from '../../sidecar/clamd/payloads.ts';
import { type Build, checkOf, download, upload } from '../harness/builds.ts';
import { eicar } from '../harness/eicar.ts';
import { eventually } from '../harness/eventually.ts';
import { startSidecar } from '../harness/sidecar.ts';
import { type Stack, startStack } from '../harness/stack.ts';

const bytes = (content: Buffer | string) => new Uint8Array(Buffer.from(content));

describe('from upload to verdict', () => {
  let stack: Stack;
  beforeAll(async () => {
    const large = `migrate((app) => {
      const builds = app.findCollectionByNameOrId('app_builds')
      builds.fields.getByName('files').maxSize = 4000000000
      app.save(builds)
    })`;
    stack = await startStack({ pocketbase: { migrations: { '9100000000_large.js': large } }, sidecar: { MAX_RETRIES: '2' } });
  });
  afterAll(() => stack?.[Symbol.asyncDispose]());

  const verdict = (build: { id: string }, ms = 20_000) =>
    eventually(
      'a verdict',
      async () => {
        const check = await checkOf(stack.pb, build);
        return check.status === 'pending' || check.status === 'scanning' ? null : check;
      },
      ms,
    );
  const judged = async (files: Record<string, string | Buffer>) => {
    const build = await upload(stack.pb, Object.fromEntries(Object.entries(files).map(([name, content]) => [name, bytes(content)])));
    return { build, check: await verdict(build) };
  };

  it('opens a clean build, an empty file in it too, and says by which engine', async () => {
    const { build, check } = await judged({ 'app.bin': 'x'.repeat(100_000), 'empty.txt': '' });
    expect(check).toMatchObject({ status: 'clean', open: true, engine: { version: expect.stringMatching(/^1\./), signatures: 'test' } });
    expect(check['files']).toMatchObject([
      { size: 100_000, verdict: 'clean', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
      { size: 0, verdict: 'clean', sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' },
    ]);
    for (const name of build.files) expect((await download(stack.pb, build, { name })).status).toBe(200);
  });

  it('keeps a build shut when one file of it is infected, and names every finding', async () => {
    const { build, check } = await judged({
      'good.txt': 'good',
      'bad.com': eicar(),
      'packed.zip': zipOf({ name: 'inner.com', data: eicar() }),
    });
    expect(check).toMatchObject({ status: 'infected', open: false, reason: '' });
    expect(check['virus_name']).toMatch(/eicar/i);
    expect((check['files'] as { verdict: string }[]).map((file) => file.verdict)).toEqual(['clean', 'infected', 'infected']);
    for (const name of build.files) expect(await download(stack.pb, build, { name })).toMatchObject({ status: 403, code: 'scan_infected' });
    expect(check.log).toContain(build.files[1]);
  });

  it('never calls clean what it cannot look into', async () => {
    const { build, check } = await judged({
      'secret.zip': zipOf({ name: 'a.txt', data: Buffer.from('sixteen bytes!!!'), method: 0, flags: 1 }),
    });
    expect(check).toMatchObject({ status: 'error', open: false, reason: 'unscannable:encrypted' });
    expect(await download(stack.pb, build)).toMatchObject({ status: 403, code: 'scan_error' });
  });

  it('judges a file too large for any engine without reading it', async () => {
    const build = await upload(stack.pb, { 'huge.bin': bytes('to be replaced') });
    await verdict(build);
    await truncate(join(stack.pb.dir, 'pb_data/storage', build.collectionId, build.id, build.files[0]!), 3 * 1024 ** 3);
    await stack.pb.sql(`UPDATE av_build_checks SET status = 'pending', open = FALSE, pending_since = created WHERE build = '${build.id}'`);
    const started = performance.now();
    expect(await verdict(build)).toMatchObject({
      status: 'error',
      reason: 'unscannable:too-large',
      files: [{ size: 3 * 1024 ** 3, sha256: '' }],
    });
    expect(performance.now() - started).toBeLessThan(10_000);
    await stack.pb.client.collection('app_builds').delete(build.id);
  });

  it('ends with the reason when the storage lost a file', async () => {
    const build = await upload(stack.pb, { 'lost.bin': bytes('lost') });
    await verdict(build);
    await rm(join(stack.pb.dir, 'pb_data/storage', build.collectionId, build.id, build.files[0]!));
    await stack.pb.sql(`UPDATE av_build_checks SET status = 'pending', open = FALSE, pending_since = created WHERE build = '${build.id}'`);
    expect(await verdict(build)).toMatchObject({ status: 'error', reason: 'download:missing', open: false });
  });

  it('takes hostile names for what they are', async () => {
    const names = ['<script>alert(1)</script>.txt', 'a"quote\'.txt', 'new\nline.txt', '%s%n$(id)`id`.txt', '\u202Egnp.exe', '名前.txt'];
    const build = (await upload(stack.pb, { 'a.txt': bytes('a') })) as Build;
    await verdict(build);
    await stack.pb.sql(`UPDATE app_builds SET files = '${JSON.stringify(names).replaceAll("'", "''")}' WHERE id = '${build.id}'`);
    await stack.pb.sql(`UPDATE av_build_checks SET status = 'pending', open = FALSE, pending_since = created WHERE build = '${build.id}'`);
    const check = await verdict(build);
    expect(check).toMatchObject({ status: 'error', open: false });
    expect(check.log).not.toContain('new\nline');
    const metrics = await (await fetch(`${stack.sidecar.url}/metrics`)).text();
    for (const name of names) expect(metrics).not.toContain(name.slice(0, 6));
    for (const line of stack.sidecar.log().trim().split('\n')) expect(() => JSON.parse(line)).not.toThrow();
  });

  it('works beside a second sidecar on the same queue, nothing twice', async () => {
    await using _second = await startSidecar({ pocketbase: stack.pb, clamd: stack.clamd });
    const builds = await Promise.all(Array.from({ length: 60 }, (_, i) => upload(stack.pb, { 'a.bin': bytes(`content ${i}`) })));
    for (const build of builds) expect(await verdict(build)).toMatchObject({ status: 'clean', attempts: 0 });
    const entries = (await stack.pb.client.collection('av_scan_history').getFullList()).map((row) => JSON.parse(row['entry']));
    for (const build of builds) expect(entries.filter((entry) => entry.build === build.id)).toHaveLength(1);
    const workers = new Set(entries.map((entry) => entry.worker));
    expect(workers.size).toBeGreaterThanOrEqual(1);
  });

  it('says on /readyz and in every check that the signatures are a test set', async () => {
    const ready = (await (await fetch(`${stack.sidecar.url}/readyz`)).json()) as { ready: boolean; testSignatures: boolean };
    expect(ready).toMatchObject({ ready: true, testSignatures: true });
  });

  it('refuses to work with a test set where nobody allowed it', async () => {
    await using other = await startSidecar({
      pocketbase: stack.pb,
      clamd: stack.clamd,
      env: { ALLOW_TEST_SIGNATURES: 'false' },
      until: 'listening',
    });
    await eventually('it says why', async () => (await (await fetch(`${other.url}/readyz`)).text()).includes('test'));
    expect((await fetch(`${other.url}/readyz`)).status).toBe(503);
    expect(other.events('claimed')).toEqual([]);
  });
});
