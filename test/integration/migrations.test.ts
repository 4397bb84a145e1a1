/** Migrations on fresh folders, on hosts of their own shape, and on older installations: up, down, up. */
import { describe, expect, it } from 'vitest';
import { checkOf, claim, download, upload } from '../harness/builds.ts';
import { type PocketBaseFolder, type PocketBaseOptions, preparePocketBase, servePocketBase } from '../harness/pocketbase.ts';

/** A host's own builds: another id, other fields, two file fields, made by a later-dated migration than most. */
const hostBuilds = `migrate((app) => {
  app.save(new Collection({ id: 'pbc_hosts_own_1', type: 'base', name: 'app_builds', listRule: '', viewRule: '', createRule: '', fields: [
    { name: 'title', type: 'text' },
    { name: 'archive', type: 'file', maxSelect: 1, maxSize: 1000000 },
    { name: 'symbols', type: 'file', maxSelect: 5, maxSize: 1000000 },
  ] }))
  for (const title of ['one', 'two', 'three', 'four']) {
    const build = new Record(app.findCollectionByNameOrId('app_builds'))
    build.set('title', title)
    if (title !== 'four') build.set('archive', $filesystem.fileFromBytes('content of ' + title, title + '.bin'))
    app.save(build)
  }
}, (app) => {})`;
/** The table as an older scanner kept it: no unique index, rows twice, one of a build that is gone. */
const legacyChecks = `migrate((app) => {
  const builds = app.findCollectionByNameOrId('app_builds')
  app.save(new Collection({ type: 'base', name: 'av_build_checks', fields: [
    { name: 'build', type: 'relation', collectionId: builds.id, maxSelect: 1 },
    { name: 'status', type: 'select', maxSelect: 1, values: ['pending', 'scanning', 'clean', 'infected', 'error'] },
    { name: 'virus_name', type: 'text' }, { name: 'scan_time', type: 'date' }, { name: 'log', type: 'text' },
  ] }))
  const byTitle = (title) => app.findFirstRecordByData('app_builds', 'title', title)
  const add = (title, status, virus, time) => {
    const row = new Record(app.findCollectionByNameOrId('av_build_checks'))
    row.set('build', byTitle(title).id); row.set('status', status); row.set('virus_name', virus); row.set('scan_time', time); row.set('log', status + ' then')
    app.save(row)
  }
  add('one', 'clean', '', '2025-01-01 10:00:00.000Z')
  add('one', 'error', '', '2025-01-02 10:00:00.000Z')
  add('two', 'clean', '', '2025-02-02 10:00:00.000Z')
  add('two', 'infected', 'Old.Virus-1', '2025-01-01 10:00:00.000Z')
}, (app) => {})`;
const host = { '1800000000_host.js': hostBuilds };
const legacyHost = { ...host, '1800000001_legacy.js': legacyChecks };
const notOurs = { AV_CREATE_APP_BUILDS: '' };

async function inFolder<T>(options: PocketBaseOptions, use: (folder: PocketBaseFolder) => Promise<T>): Promise<T> {
  const folder = await preparePocketBase(options);
  try {
    return await use(folder);
  } finally {
    await folder.remove();
  }
}
const up = (folder: PocketBaseFolder) => folder.run(['migrate', 'up']);
const down = (folder: PocketBaseFolder, steps: number) => folder.run(['migrate', 'down', String(steps)], 'y\n');

describe('migrations', () => {
  it('go up, up again, down, and up on a fresh folder', () =>
    inFolder({}, async (folder) => {
      expect(await up(folder)).toMatchObject({ code: 0 });
      expect(await up(folder)).toMatchObject({ code: 0, output: expect.stringContaining('No new migrations') });
      expect(await down(folder, 3)).toMatchObject({ code: 0, output: expect.stringContaining('Reverted') });
      expect(await up(folder)).toMatchObject({ code: 0 });
      await using pb = await servePocketBase(folder);
      const names = (await pb.client.collections.getFullList()).map(({ name }) => name);
      expect(names).toEqual(expect.arrayContaining(['app_builds', 'av_build_checks', 'av_scan_history']));
      expect(await checkOf(pb, await upload(pb, { 'a.txt': 'a' }))).toMatchObject({ status: 'pending' });
    }));

  it.each([
    ['builds are missing', { env: notOurs }, 'there is no collection app_builds'],
    ['the history has no key', { env: { AV_HISTORY_KEY: '' } }, 'AV_HISTORY_KEY is not set'],
    [
      'an older field has another type',
      {
        env: notOurs,
        migrations: {
          ...host,
          '1800000001_odd.js': `migrate((app) => app.save(new Collection({ type: 'base', name: 'av_build_checks', fields: [{ name: 'status', type: 'number' }] })))`,
        },
      },
      'av_build_checks.status is number, expected select',
    ],
  ])('say what is wrong and change nothing when %s', (_, options, message) =>
    inFolder(options, async (folder) => {
      const result = await up(folder);
      expect(result.code).toBe(1);
      expect(result.output).toContain(message);
      const served = folder.spawn(['serve', '--http=127.0.0.1:0']);
      const [code] = await new Promise<[number | null]>((resolve) => served.once('close', (...args) => resolve([args[0]])));
      expect(code).toBe(1);
    }),
  );

  it('take a host as it is and put its builds behind the gate', () =>
    inFolder({ env: notOurs, migrations: host }, async (folder) => {
      expect(await up(folder)).toMatchObject({ code: 0 });
      await using pb = await servePocketBase(folder);
      const builds = await pb.client.collection('app_builds').getFullList({ sort: 'title' });
      expect(builds[0]!.collectionId).toBe('pbc_hosts_own_1');
      for (const build of builds) {
        const filled = build['archive'] !== '';
        expect(await checkOf(pb, build)).toMatchObject(filled ? { status: 'pending' } : { status: 'error', reason: 'no-files' });
        if (filled)
          expect(await download(pb, { ...build, files: [build['archive']] })).toMatchObject({ status: 403, code: 'scan_pending' });
      }
      const { checks } = await claim(pb);
      expect(checks).toHaveLength(3);
      expect(builds[0]!['title']).toBe('four');
    }));

  it('take over an older table: all verdicts on record, none trusted, one row for each build', () =>
    inFolder({ env: notOurs, migrations: legacyHost }, async (folder) => {
      expect(await up(folder)).toMatchObject({ code: 0 });
      await using pb = await servePocketBase(folder);
      const entries = (await pb.client.collection('av_scan_history').getFullList({ sort: 'seq' })).map((row) => JSON.parse(row['entry']));
      expect(entries).toHaveLength(4);
      expect(entries.map(({ event, status }) => `${event} ${status}`).sort()).toEqual([
        'imported clean',
        'imported clean',
        'imported error',
        'imported infected',
      ]);
      const byTitle = async (title: string) => checkOf(pb, await pb.client.collection('app_builds').getFirstListItem(`title = "${title}"`));
      expect(await byTitle('one')).toMatchObject({ status: 'pending', open: false });
      expect(await byTitle('two')).toMatchObject({ status: 'infected', virus_name: 'Old.Virus-1', open: false, log: 'infected then' });
      expect(await byTitle('three')).toMatchObject({ status: 'pending' });
      expect((await pb.client.collection('av_build_checks').getList(1, 1)).totalItems).toBe(4);
      await expect(
        pb.sql(`INSERT INTO av_build_checks (id, build, status) SELECT 'twice0000000001', build, status FROM av_build_checks LIMIT 1`),
      ).rejects.toThrow();
    }));

  it('keep the gate of old clean rows open where they are trusted, and scan them again at leisure', () =>
    inFolder(
      {
        env: { ...notOurs, AV_TRUST_LEGACY: 'true' },
        migrations: { ...host, '1800000001_legacy.js': legacyChecks.replace("add('one', 'error', '', '2025-01-02 10:00:00.000Z')", '') },
      },
      async (folder) => {
        expect(await up(folder)).toMatchObject({ code: 0 });
        await using pb = await servePocketBase(folder);
        const one = await pb.client.collection('app_builds').getFirstListItem('title = "one"');
        expect(await checkOf(pb, one)).toMatchObject({ status: 'clean', open: true });
        expect((await download(pb, { ...one, files: [one['archive']] })).status).toBe(200);
        const claimed = [...(await claim(pb, { max: 1 })).checks, ...(await claim(pb)).checks];
        expect(claimed.map(({ rescan }) => rescan)).toEqual([false, true, true]);
      },
    ));

  it('leave builds and history in place when they go down, and come up again', () =>
    inFolder({ env: notOurs, migrations: legacyHost }, async (folder) => {
      await up(folder);
      expect(await down(folder, 3)).toMatchObject({ code: 0 });
      await up(folder);
      await using pb = await servePocketBase(folder);
      expect((await pb.client.collection('app_builds').getList(1, 1)).totalItems).toBe(4);
      expect((await pb.client.collection('av_scan_history').getList(1, 1)).totalItems).toBeGreaterThanOrEqual(4);
      expect((await pb.client.collection('av_build_checks').getFullList()).every(({ open }) => open === false)).toBe(true);
    }));
});
