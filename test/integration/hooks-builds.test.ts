/** A build and its check live and change together, whoever saves and however. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkOf, claim, clean, clearAll, download, form, infected, settle, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';

/** Hooks of a host that fail on demand: a file named so fails the check's insert, or throws after success. */
const hostHooks = `
onRecordCreateExecute((e) => {
  if ($app.store().get('host.failCheck') === '1') throw new BadRequestError('the host refuses this check')
  e.next()
}, 'av_build_checks')
onRecordAfterCreateSuccess((e) => {
  e.next()
  if ($app.store().get('host.throwAfterCheck') === '1') throw new Error('host hook on checks')
}, 'av_build_checks')
onRecordAfterCreateSuccess((e) => {
  e.next()
  if ($app.store().get('host.throwAfterBuild') === '1') throw new Error('host hook on builds')
}, 'app_builds')
onRecordUpdateExecute((e) => {
  if ($app.store().get('host.failCheckUpdate') === '1') throw new BadRequestError('the host refuses this update')
  e.next()
}, 'av_build_checks')
routerAdd('POST', '/host/set/{key}/{value}', (e) => { $app.store().set('host.' + e.request.pathValue('key'), e.request.pathValue('value')); e.noContent(204) })
routerAdd('POST', '/host/save', (e) => {
  const record = new Record($app.findCollectionByNameOrId('app_builds'))
  record.set('files', [$filesystem.fileFromBytes('from a hook', 'hook.txt')])
  $app.save(record)
  e.json(200, { id: record.id })
})
routerAdd('POST', '/host/reorder/{id}', (e) => {
  const record = $app.findRecordById('app_builds', e.request.pathValue('id'))
  record.set('files', [...record.getStringSlice('files')].reverse())
  $app.save(record)
  e.noContent(204)
})
`;
/** A second file field, and a public create rule, as a host may have them. */
const hostMigration = `migrate((app) => {
  const builds = app.findCollectionByNameOrId('app_builds')
  builds.fields.addMarshaledJSON(JSON.stringify({ name: 'cover', type: 'file', maxSelect: 1, maxSize: 1000000 }))
  app.save(builds)
  const settings = app.settings()
  settings.batch.enabled = true
  app.save(settings)
})`;

describe('builds and their checks', () => {
  let pb: RunningPocketBase;
  beforeAll(async () => {
    pb = await startPocketBase({ hooks: { 'host.pb.js': hostHooks }, migrations: { '9100000000_host.js': hostMigration } });
  });
  afterAll(() => pb?.stop());

  const set = (key: string, on: boolean) => fetch(`${pb.url}/host/set/${key}/${on ? 1 : 0}`, { method: 'POST' });
  const counts = async () => ({
    builds: (await pb.client.collection('app_builds').getList(1, 1)).totalItems,
    checks: (await pb.client.collection('av_build_checks').getList(1, 1)).totalItems,
    files: await storedFiles(pb),
  });
  const cleared = async (files: Record<string, string>) => {
    const build = await upload(pb, files);
    await clearAll(pb);
    expect((await checkOf(pb, build)).status).toBe('clean');
    return build;
  };

  it('makes one pending check for an upload, closed and unleased', async () => {
    const build = await upload(pb, { 'a.txt': 'a', 'b.txt': 'b' });
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false, revision: 1, attempts: 0, reason: '' });
    await clearAll(pb);
  });

  it('calls a build without files what it is, and queues it when files come', async () => {
    const build = await upload(pb, {});
    expect(await checkOf(pb, build)).toMatchObject({ status: 'error', reason: 'no-files', open: false });
    await pb.client.collection('app_builds').update(build.id, form({ 'late.txt': 'late' }, 'files+'));
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', reason: '', revision: 2 });
    await clearAll(pb);
  });

  it('leaves neither row nor file when the check cannot be made', async () => {
    const before = await counts();
    await set('failCheck', true);
    await expect(upload(pb, { 'a.txt': 'a' })).rejects.toMatchObject({ status: 400 });
    await set('failCheck', false);
    expect(await counts()).toEqual(before);
  });

  it('leaves neither row nor file when the build is refused', async () => {
    const before = await counts();
    await expect(pb.client.collection('app_builds').create(form({ 'big.bin': new Uint8Array(1_000_001) }, 'cover'))).rejects.toMatchObject({
      status: 400,
    });
    expect(await counts()).toEqual(before);
  });

  it.each(['throwAfterCheck', 'throwAfterBuild'])(
    'keeps the stored files when a hook of the host throws after success (%s)',
    async (key) => {
      const before = await counts();
      await set(key, true);
      await upload(pb, { 'kept.txt': 'kept' }).catch(() => undefined);
      await set(key, false);
      const after = await counts();
      expect(after).toMatchObject({ builds: before.builds + 1, checks: before.checks + 1 });
      expect(after.files).toBe(before.files + 1);
      await clearAll(pb);
    },
  );

  it.each([
    ['files added', form({ 'new.txt': 'new' }, 'files+')],
    ['files put in front', form({ 'new.txt': 'new' }, '+files')],
    ['files replaced', form({ 'new.txt': 'new' }, 'files')],
    ['another file field', form({ 'cover.png': 'cover' }, 'cover')],
  ])('closes the gate in the same transaction when %s', async (_, change) => {
    const build = await cleared({ 'a.txt': 'a' });
    const updated = (await pb.client.collection('app_builds').update(build.id, change)) as unknown as typeof build;
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false, revision: 2, files: null, engine: null });
    expect((await download(pb, { ...build, files: updated.files })).status).toBe(403);
    await clearAll(pb);
    expect((await download(pb, { ...build, files: updated.files })).status).toBe(200);
  });

  it('undoes a change of files when the check cannot follow', async () => {
    const build = await cleared({ 'a.txt': 'a' });
    await set('failCheckUpdate', true);
    await expect(pb.client.collection('app_builds').update(build.id, form({ 'new.txt': 'new' }, 'files+'))).rejects.toMatchObject({
      status: 400,
    });
    await set('failCheckUpdate', false);
    expect((await pb.client.collection('app_builds').getOne(build.id))['files']).toEqual(build.files);
    expect((await checkOf(pb, build)).status).toBe('clean');
  });

  it('keeps a clean verdict when files go, are reordered, or another field changes', async () => {
    const build = await cleared({ 'a.txt': 'a', 'b.txt': 'b', 'c.txt': 'c' });
    await pb.client.collection('app_builds').update(build.id, { branch: 'main' });
    await fetch(`${pb.url}/host/reorder/${build.id}`, { method: 'POST' });
    expect((await pb.client.collection('app_builds').getOne(build.id))['files']).toEqual([...build.files].reverse());
    await pb.client.collection('app_builds').update(build.id, { 'files-': build.files[0] });
    expect(await checkOf(pb, build)).toMatchObject({ status: 'clean', open: true, revision: 1 });
  });

  it('judges anew when a file goes from a build that is not clean', async () => {
    const build = await upload(pb, { 'a.txt': 'a', 'b.txt': 'b' });
    const { checks } = await claim(pb);
    await settle(
      pb,
      checks.map((check) => infected(check)),
    );
    await pb.client.collection('app_builds').update(build.id, { 'files-': build.files[0] });
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', virus_name: '', open: false });
    await clearAll(pb);
  });

  it('refuses a verdict on files that changed during the scan', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const { checks } = await claim(pb);
    await pb.client.collection('app_builds').update(build.id, form({ 'b.txt': 'b' }, 'files+'));
    expect(await settle(pb, checks.map(clean))).toMatchObject([{ ok: false, code: 'lease_lost' }]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false });
    await clearAll(pb);
  });

  it('covers the batch API and saves from hooks', async () => {
    const batch = pb.client.createBatch();
    batch.collection('app_builds').create(form({ 'one.txt': '1' }));
    batch.collection('app_builds').create(form({ 'two.txt': '2' }));
    const made = (await batch.send()).map(({ body }) => body as { id: string });
    const saved = (await (await fetch(`${pb.url}/host/save`, { method: 'POST' })).json()) as { id: string };
    for (const build of [...made, saved]) expect(await checkOf(pb, build)).toMatchObject({ status: 'pending' });
    await clearAll(pb);
  });

  it('rolls a whole batch back when one build is bad', async () => {
    const before = await counts();
    const batch = pb.client.createBatch();
    batch.collection('app_builds').create(form({ 'one.txt': '1' }));
    batch.collection('app_builds').create(form({ 'big.bin': new Uint8Array(1_000_001) }, 'cover'));
    await expect(batch.send()).rejects.toMatchObject({ status: 400 });
    expect(await counts()).toEqual(before);
  });

  it('removes the check with its build and records the deletion of an infected one', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const { checks } = await claim(pb);
    await settle(
      pb,
      checks.map((check) => infected(check, 'Win.Test-7')),
    );
    await pb.client.collection('app_builds').delete(build.id);
    await expect(checkOf(pb, build)).rejects.toMatchObject({ status: 404 });
    const last = await pb.client.collection('av_scan_history').getFirstListItem('', { sort: '-seq' });
    expect(JSON.parse(last['entry'])).toMatchObject({ event: 'infected-build-deleted', build: build.id, virusName: 'Win.Test-7' });
  });

  it('finds by sweeping what raw SQL made and what was deleted by hand', async () => {
    const deleted = await cleared({ 'a.txt': 'a' });
    await pb.client.collection('av_build_checks').delete((await checkOf(pb, deleted)).id);
    expect(await download(pb, deleted)).toMatchObject({ status: 403, code: 'scan_missing' });
    await pb.sql(`INSERT INTO app_builds (id, files) VALUES ('rawsqlbuild0001', '["x.txt"]')`);
    await expect(checkOf(pb, { id: 'rawsqlbuild0001' })).rejects.toMatchObject({ status: 404 });
    await pb.client.crons.run('av-sweep');
    await eventually(
      'the sweep made both checks',
      async () => (await checkOf(pb, { id: 'rawsqlbuild0001' })) && (await checkOf(pb, deleted)),
    );
    expect(await checkOf(pb, deleted)).toMatchObject({ status: 'pending' });
    await clearAll(pb);
  });

  it('goes on working when the collection is renamed while PocketBase runs', async () => {
    await pb.client.collections.update('app_builds', { name: 'releases' });
    try {
      const build = await upload(pb, { 'a.txt': 'a' }, 'releases');
      expect(await checkOf(pb, build)).toMatchObject({ status: 'pending' });
      expect(await download(pb, build, { collection: 'releases' })).toMatchObject({ status: 403, code: 'scan_pending' });
      await clearAll(pb);
      await pb.client.collection('releases').update(build.id, form({ 'b.txt': 'b' }, 'files+'));
      expect(await checkOf(pb, build)).toMatchObject({ status: 'pending' });
      await clearAll(pb);
    } finally {
      await pb.client.collections.update('releases', { name: 'app_builds' });
    }
  });

  it('lets nobody edit a check past the worker routes', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const check = await checkOf(pb, build);
    await expect(pb.client.collection('av_build_checks').update(check.id, { status: 'clean', open: true })).rejects.toMatchObject({
      status: 403,
    });
    await expect(pb.client.collection('av_build_checks').create({ build: build.id, status: 'clean', open: true })).rejects.toMatchObject({
      status: 403,
    });
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false });
    await clearAll(pb);
  });
});

/** Files that PocketBase stores, its own attribute files left out. */
async function storedFiles(pb: RunningPocketBase): Promise<number> {
  const entries = await readdir(join(pb.dir, 'pb_data/storage'), { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile() && !entry.name.endsWith('.attrs')).length;
}
