/** The second lock of the `app_builds` that we create: on by itself, and of no hindrance to a guest once a build is open. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Build, download, upload } from '../harness/builds.ts';
import { becomes, down, prepared, QUESTION, served, shapeOf, withoutHooks } from '../harness/second-lock.ts';

const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');

describe('our own app_builds', () => {
  it('keeps a build shut for a guest until it is open, and gives it to a guest without a token from then on, with hooks and without', async () => {
    const folder = await prepared({ secondLock: true });
    const pb = await served(folder);
    const [shut, open] = [await upload(pb, { 'a.png': new Uint8Array(png) }), await upload(pb, { 'b.png': new Uint8Array(png) })];
    await pb.sql(`UPDATE av_build_checks SET status = 'clean', open = TRUE WHERE build = '${open.id}'`);
    const ways = [{}, { collection: 'app_builds' }, { query: '?thumb=100x100' }, { headers: { Range: 'bytes=0-0' } }, { method: 'HEAD' }];
    const all = async (build: Build) => (await Promise.all(ways.map((way) => download(pb, build, way)))).map(({ status }) => status);
    const expectBoth = async () => {
      expect(await all(shut)).toEqual([404, 404, 404, 404, 404]);
      expect(await all(open)).toEqual([200, 200, 200, 206, 200]);
      expect((await fetch(`${pb.url}/api/collections/app_builds/records/${shut.id}`)).status).toBe(200);
    };
    await expectBoth();
    // PocketBase has not so much as opened the image of the closed one.
    const stored = await readdir(join(pb.dir, 'pb_data/storage'), { recursive: true });
    expect(stored.filter((path) => path.includes('thumbs_')).every((path) => path.includes(open.id))).toBe(true);
    expect(stored.some((path) => path.includes(`${open.id}/thumbs_`))).toBe(true);
    const status = await fetch(`${pb.url}/api/av/builds/${shut.id}`);
    expect(await status.json()).toMatchObject({ status: 'pending', open: false });
    // What core lets a superuser do the gate still refuses, and so it is that says why.
    const query = `?token=${await pb.client.files.getToken()}`;
    expect(await download(pb, shut, { query })).toMatchObject({ status: 403, code: 'scan_pending' });
    await pb.kill('SIGTERM');
    pb.setEnv({ AV_GATE: 'off' });
    await pb.restart();
    await expectBoth();
    expect((await pb.client.send('/api/av/health', {})).problems.join()).toContain('keeps closed builds shut all the same');
    await withoutHooks(pb);
    await expectBoth();
    expect((await download(pb, shut, { query })).status).toBe(200);
  });

  it('comes to one that an older version made, and goes with its migration', async () => {
    const folder = await prepared({ secondLock: true });
    const pb = await served(folder);
    await pb.sql("UPDATE _migrations SET file = file || '.forgotten' WHERE file LIKE '9000000007%'");
    expect(await folder.run(['av-lock', 'off'])).toMatchObject({ code: 0 });
    await pb.kill('SIGTERM');
    await pb.restart();
    await becomes(pb, { viewRule: QUESTION, flags: { files: true } });
    await pb.kill('SIGTERM');
    expect(await down(folder)).toMatchObject({ code: 0, output: expect.stringContaining('9000000007') });
    await rm(join(folder.dir, 'pb_migrations'), { recursive: true });
    await pb.restart();
    await becomes(pb, { viewRule: '', flags: { files: false } });
  });

  it.each([
    ['a field of the host', `builds.fields.addMarshaledJSON(JSON.stringify({ name: 'notes', type: 'text' }))`, {}],
    ['a rule of the host', `builds.viewRule = 'branch = "main"'`, { viewRule: 'branch = "main"' }],
    [
      'a file field of the host',
      `builds.fields.addMarshaledJSON(JSON.stringify({ name: 'sbom', type: 'file' }))`,
      { flags: { files: false, sbom: false } },
    ],
  ])('is left alone once it has %s', async (_, change, differs) => {
    const host = `migrate((app) => { const builds = app.findCollectionByNameOrId('app_builds'); ${change}; app.save(builds) }, () => {})`;
    const pb = await served(await prepared({ secondLock: true, migrations: { '9000000006_host.js': host } }));
    expect(await shapeOf(pb, 'app_builds')).toEqual({ viewRule: '', flags: { files: false }, ...differs });
  });
});
