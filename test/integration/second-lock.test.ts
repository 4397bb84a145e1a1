/** The command that puts the second lock on the builds of a host and takes it off again, on real PocketBase. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Build, checkOf, clearAll, download, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import type { PocketBaseOptions, RunningPocketBase } from '../harness/pocketbase.ts';
import { becomes, down, prepared, QUESTION, served, shapeOf, withoutHooks } from '../harness/second-lock.ts';

/** A host's builds with these fields and this rule, and views of them. */
const hostOf = (rule: string | null, fields: Record<string, boolean>) => ({
  '1800000000_host.js': `migrate((app) => {
    const file = (name, isProtected) => ({ name, type: 'file', maxSelect: 5, maxSize: 1000000, protected: isProtected })
    const flags = ${JSON.stringify(fields)}
    app.save(new Collection({ type: 'base', name: 'app_builds', listRule: '', viewRule: ${JSON.stringify(rule)}, createRule: '', updateRule: '', fields: [
      { name: 'app', type: 'text' }, { name: 'parent', type: 'text' }, ...Object.keys(flags).map((name) => file(name, flags[name]))] }))
    app.save(new Collection({ type: 'auth', name: 'people' }))
    const pictures = new Collection({ type: 'base', name: 'pictures', listRule: '', viewRule: '', createRule: '', fields: [file('image', false)] })
    app.save(pictures)
    const view = (name, viewRule, viewQuery) => app.save(new Collection({ type: 'view', name, listRule: '', viewRule, viewQuery }))
    view('by_name', '', 'SELECT id, ${Object.keys(fields)[0]} AS archive FROM app_builds')
    view('nested', null, 'SELECT id, archive FROM by_name')
    view('numbered', '', 'SELECT (ROW_NUMBER() OVER()) AS id, ${Object.keys(fields)[0]} FROM app_builds')
    view('of_parent', '', 'SELECT b.id AS id, p.${Object.keys(fields)[0]} AS archive FROM app_builds b JOIN app_builds p ON p.id = b.parent')
    view('gallery', '', 'SELECT id, image FROM pictures')
  }, () => {})`,
});
const host = (rule: string | null, fields: Record<string, boolean>): PocketBaseOptions => ({
  env: { AV_CREATE_APP_BUILDS: '' },
  migrations: hostOf(rule, fields),
});

/** One build and one of which it is the parent, so that every view has rows. */
async function twoBuilds(pb: RunningPocketBase, field: string): Promise<Build> {
  const build = (await upload(pb, { 'a.bin': 'content' }, 'app_builds', field)) as Build & Record<string, unknown>;
  const child = await upload(pb, { 'c.bin': 'child' }, 'app_builds', field);
  await pb.client.collection('app_builds').update(child.id, { parent: build.id });
  return { ...build, files: build[field] as string[] };
}

const collections = ['app_builds', 'by_name', 'nested', 'numbered', 'of_parent', 'gallery'];
const shapes = async (pb: RunningPocketBase) =>
  Object.fromEntries(await Promise.all(collections.map(async (name) => [name, await shapeOf(pb, name)] as const)));

describe('av-lock', () => {
  it('shows what it would do, does it while PocketBase runs, and undoes it exactly', async () => {
    const folder = await prepared(host('app != "secret"', { one: false, two: false }));
    const pb = await served(folder);
    const build = await twoBuilds(pb, 'one');
    const before = await shapes(pb);
    const shown = await folder.run(['av-lock', 'show']);
    expect(shown.code).toBe(0);
    for (const line of [
      'app_builds',
      '  field one: public -> protected',
      '  view rule before: app != "secret"',
      `  view rule after:  (@request.context = "protectedFile" || (app != "secret")) && ${QUESTION}`,
      'by_name (view)',
      'nested (view)',
      'Nothing was changed.',
      'PocketBase answers 404',
    ])
      expect(shown.output).toContain(line);
    expect(shown.output.match(/NOT COVERED/g)).toHaveLength(2);
    expect(shown.output).not.toContain('gallery');
    expect(await shapes(pb)).toEqual(before);
    expect(await download(pb, build)).toMatchObject({ status: 403, code: 'scan_pending' });

    expect(await folder.run(['av-lock', 'on'])).toMatchObject({ code: 0, output: expect.stringContaining('The second lock is on.') });
    await eventually('the running PocketBase knows of it', async () => (await download(pb, build)).status === 404);
    const locked = await shapes(pb);
    expect(locked['app_builds']!.flags).toEqual({ one: true, two: true });
    expect(locked['gallery']).toEqual(before['gallery']);
    expect(locked['numbered']!.viewRule).toBe('');
    const again = await folder.run(['av-lock', 'on']);
    expect(again).toMatchObject({ code: 0, output: expect.stringContaining('is on already; nothing was changed') });
    expect(await shapes(pb)).toEqual(locked);

    await clearAll(pb);
    for (const collection of ['app_builds', 'by_name', 'nested'])
      expect((await download(pb, build, { collection })).status, collection).toBe(200);

    expect(await folder.run(['av-lock', 'off'])).toMatchObject({ code: 0, output: expect.stringContaining('The second lock is off.') });
    await becomes(pb, before['app_builds']!);
    expect(await shapes(pb)).toEqual(before);
    expect(await folder.run(['av-lock', 'off'])).toMatchObject({ code: 0, output: expect.stringContaining('off already') });
    expect((await download(pb, build)).status).toBe(200);
    const { items } = await pb.client.collection('av_scan_history').getList(1, 50, { sort: 'seq' });
    expect(items.map((row) => JSON.parse(row['entry']).event).filter((event) => event.startsWith('second-lock'))).toEqual([
      'second-lock-on',
      'second-lock-off',
    ]);
    expect(await pb.client.send('/api/av/history/verify', {})).toMatchObject({ ok: true });
  });

  it('shuts what the gate no longer guards, on every way that it covers', async () => {
    const folder = await prepared(host('', { one: false, two: false }));
    const pb = await served(folder);
    const build = await twoBuilds(pb, 'one');
    await folder.run(['av-lock', 'on']);
    await withoutHooks(pb);
    for (const collection of ['app_builds', 'by_name', 'nested']) {
      for (const query of ['', '?thumb=100x100', '?download=1'])
        expect((await download(pb, build, { collection, query })).status, collection).toBe(404);
    }
    await pb.sql(`UPDATE av_build_checks SET open = TRUE WHERE build = '${build.id}'`);
    for (const collection of ['app_builds', 'by_name', 'nested']) expect((await download(pb, build, { collection })).body).toBe('content');
    await pb.sql(`DELETE FROM av_build_checks WHERE build = '${build.id}'`);
    for (const collection of ['app_builds', 'by_name', 'nested']) expect((await download(pb, build, { collection })).status).toBe(404);
  });

  it('leaves to superusers what was for superusers: records without a rule, and their files once they are open to whoever had them', async () => {
    const folder = await prepared(host(null, { one: false }));
    const pb = await served(folder);
    const build = await twoBuilds(pb, 'one');
    const record = () => fetch(`${pb.url}/api/collections/app_builds/records/${build.id}`);
    expect((await record()).ok).toBe(false);
    await folder.run(['av-lock', 'on']);
    await eventually('the lock is known', async () => (await download(pb, build)).status === 404);
    expect((await record()).ok).toBe(false);
    await clearAll(pb);
    expect((await download(pb, build)).status).toBe(200);
    expect((await record()).ok).toBe(false);
    await folder.run(['av-lock', 'off']);
    await becomes(pb, { viewRule: null, flags: { one: false } });
  });

  it('changes nothing where superusers alone have the files, and refuses to make public files of theirs', async () => {
    const sealed = await prepared(host(null, { one: true }));
    expect(await sealed.run(['av-lock', 'show'])).toMatchObject({
      code: 0,
      output: expect.stringContaining('Superusers alone have the files'),
    });
    const mixed = await prepared(host(null, { one: true, two: false }));
    expect(await mixed.run(['av-lock', 'on'])).toMatchObject({ code: 1, output: expect.stringContaining('cannot stay both') });
    const pb = await served(mixed);
    await becomes(pb, { viewRule: null, flags: { one: true, two: false } });
  });

  it('keeps the file token of fields that had one, says which others need it, and gives them back', async () => {
    const folder = await prepared(host('@request.auth.id != ""', { one: true, two: false }));
    expect(await folder.run(['av-lock', 'on'])).toMatchObject({
      code: 0,
      output: expect.stringContaining('two: was public, needs a file token'),
    });
    const pb = await served(folder);
    const build = await twoBuilds(pb, 'two');
    await pb.client
      .collection('people')
      .create({ email: 'a@example.com', password: 'long enough 1', passwordConfirm: 'long enough 1', verified: true });
    const { token } = await pb.client
      .collection('people')
      .impersonate((await pb.client.collection('people').getFirstListItem('')).id, 3600)
      .then(async (user) => ({ token: await user.files.getToken() }));
    const asUser = { query: `?token=${token}` };
    expect((await download(pb, build, asUser)).status).toBe(404);
    await clearAll(pb);
    expect((await download(pb, build)).status).toBe(404);
    expect((await download(pb, build, asUser)).status).toBe(200);
    await folder.run(['av-lock', 'off']);
    await becomes(pb, { viewRule: '@request.auth.id != ""', flags: { one: true, two: false } });
  });

  it('keeps what somebody has changed within their own rule, and does not guess where they have changed ours', async () => {
    const folder = await prepared(host('app != "secret"', { one: false }));
    await folder.run(['av-lock', 'on']);
    const pb = await served(folder);
    const { viewRule } = await shapeOf(pb, 'app_builds');
    await pb.client.collections.update('app_builds', { viewRule: viewRule!.replace('app != "secret"', 'app = "open"') });
    await folder.run(['av-lock', 'off']);
    await becomes(pb, { viewRule: 'app = "open"', flags: { one: false } });

    await folder.run(['av-lock', 'on']);
    const edited = `app = "x" || ${QUESTION}`;
    await pb.client.collections.update('app_builds', { viewRule: edited });
    expect(await folder.run(['av-lock', 'off'])).toMatchObject({
      code: 1,
      output: expect.stringContaining('somebody has changed the view rule of app_builds'),
    });
    await becomes(pb, { viewRule: edited, flags: { one: true } });
  });

  it('takes in a file field that came later, and gives back no field that somebody else has protected', async () => {
    const folder = await prepared(host('', { one: false }));
    await folder.run(['av-lock', 'on']);
    const pb = await served(folder);
    const builds = await pb.client.collections.getOne('app_builds');
    const file = { type: 'file', maxSelect: 1, maxSize: 1000 };
    await pb.client.collections.update('app_builds', {
      fields: [...builds.fields, { ...file, name: 'late', protected: false }, { ...file, name: 'theirs', protected: true }],
    });
    expect(await folder.run(['av-lock', 'show'])).toMatchObject({ output: expect.stringContaining('field late: public -> protected') });
    expect((await pb.client.send('/api/av/health', {})).problems.join()).toContain('leaves out app_builds.late: run "av-lock on" again');
    await folder.run(['av-lock', 'on']);
    await becomes(pb, { viewRule: QUESTION, flags: { one: true, late: true, theirs: true } });
    expect((await pb.client.send('/api/av/health', {})).problems.join()).not.toContain('second lock');
    await folder.run(['av-lock', 'off']);
    await becomes(pb, { viewRule: '', flags: { one: false, late: false, theirs: true } });
  });

  it('goes with the migrations, so that a host that takes us out has its builds as they were', async () => {
    const folder = await prepared(host('app != "secret"', { one: false }));
    await folder.run(['av-lock', 'on']);
    expect(await down(folder)).toMatchObject({
      code: 0,
      output: expect.stringContaining('Reverted 9000000007'),
    });
    await rm(join(folder.dir, 'pb_migrations'), { recursive: true });
    const pb = await served(folder);
    await becomes(pb, { viewRule: 'app != "secret"', flags: { one: false } });
    expect(await checkOf(pb, await twoBuilds(pb, 'one'))).toMatchObject({ open: false });
  });

  it('says how it is used', async () => {
    const folder = await prepared(host('', { one: false }));
    for (const args of [[], ['open'], ['on', 'off'], ['constructor']])
      expect(await folder.run(['av-lock', ...args]), args.join()).toMatchObject({
        code: 1,
        output: expect.stringContaining('usage: av-lock show | on | off'),
      });
  });
});
