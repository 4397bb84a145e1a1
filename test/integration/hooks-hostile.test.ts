/** Superusers, raw SQL, other hooks and failing disks: what they may break, and what they may not. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Build, checkOf, claim, clean, clearAll, download, form, infected, settle, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';

/** A host that keeps file names stable, saves stale records, and fails for one build. */
const hostHooks = `
routerAdd('POST', '/host/overwrite/{id}', (e) => {
  const file = (name, content) => { const made = $filesystem.fileFromBytes(content, name); made.name = name; return made }
  const build = $app.findRecordById('app_builds', e.request.pathValue('id'))
  build.set('files', [file('latest.txt', 'UNSCANNED')].concat(Array.from({ length: 60 }, (_, i) => file('more' + i + '.txt', 'x'.repeat(200000)))))
  $app.save(build)
  e.noContent(204)
})
routerAdd('POST', '/host/create-latest', (e) => {
  const made = $filesystem.fileFromBytes('scanned', 'latest.txt'); made.name = 'latest.txt'
  const build = new Record($app.findCollectionByNameOrId('app_builds'))
  build.set('files', [made])
  $app.save(build)
  e.json(200, { id: build.id, collectionId: build.collection().id, files: ['latest.txt'] })
})
routerAdd('POST', '/host/stale/{id}/{gone}', (e) => {
  const stale = $app.findRecordById('app_builds', e.request.pathValue('id'))
  const other = $app.findRecordById('app_builds', e.request.pathValue('id'))
  other.set('files-', e.request.pathValue('gone'))
  $app.save(other)
  const check = $app.findFirstRecordByData('av_build_checks', 'build', stale.id)
  check.set('status', 'clean'); check.set('open', true); check.set('lease_until', '')
  $app.save(check)
  stale.set('branch', 'stale')
  $app.saveNoValidate(stale)
  e.noContent(204)
})
onRecordUpdateExecute((e) => {
  if ($app.store().get('host.refuses') === e.record.getString('build')) throw new BadRequestError('the host refuses this update')
  e.next()
}, 'av_build_checks')
onRecordAfterUpdateSuccess((e) => {
  e.next()
  if ($app.store().get('host.throws') === '1') throw new Error('too late to refuse')
}, 'av_build_checks')
routerAdd('POST', '/host/throws/{value}', (e) => { $app.store().set('host.throws', e.request.pathValue('value')); e.noContent(204) })
routerAdd('POST', '/host/refuses/{build}', (e) => { $app.store().set('host.refuses', e.request.pathValue('build')); e.noContent(204) })
onRecordCreateExecute((e) => {
  if (e.record.getString('build') === 'failingbuild001') throw new BadRequestError('the host refuses this one')
  e.next()
}, 'av_build_checks')
`;

describe('the gate among hostile neighbours', () => {
  let pb: RunningPocketBase;
  beforeAll(async () => {
    pb = await startPocketBase({ hooks: { 'host.pb.js': hostHooks } });
  });
  afterAll(() => pb?.stop());
  beforeEach(() => clearAll(pb));

  const sweep = () => pb.client.crons.run('av-sweep');
  const refused = (call: Promise<unknown>) => expect(call).rejects.toThrow();

  it('does not let checks whose builds were deleted by SQL stand at the head of the queue', async () => {
    const gone = [await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'a.txt': 'a' })];
    const real = await upload(pb, { 'b.txt': 'b' });
    await pb.sql(`UPDATE av_build_checks SET suspect = TRUE, updated = '2020-01-01 00:00:00.000Z' WHERE build = '${gone[2]!.id}'`);
    await pb.sql(`DELETE FROM app_builds WHERE id IN (${gone.map(({ id }) => `'${id}'`).join()})`);
    const { checks } = await claim(pb, { max: 2, alone: true });
    expect(checks.map(({ build }) => build)).toEqual([real.id]);
    await settle(pb, checks.map(clean));
    await sweep();
    await eventually('the orphans are gone', async () =>
      (await Promise.all(gone.map((build) => checkOf(pb, build).catch(() => null)))).every((check) => check === null),
    );
  });

  it('passes on a failed commit, and loses no file by it', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    await clearAll(pb);
    await pb.sql('CREATE TABLE parents(id TEXT PRIMARY KEY)');
    await pb.sql('CREATE TABLE children(id TEXT REFERENCES parents(id) DEFERRABLE INITIALLY DEFERRED)');
    await pb.sql("CREATE TRIGGER failing_commit AFTER UPDATE ON app_builds BEGIN INSERT INTO children VALUES('none'); END");
    try {
      await refused(pb.client.collection('app_builds').update(build.id, form({ 'n.txt': 'new' }, 'files')));
    } finally {
      await pb.sql('DROP TRIGGER failing_commit');
    }
    expect((await pb.client.collection('app_builds').getOne(build.id))['files']).toEqual(build.files);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'clean', open: true });
    expect(await download(pb, build)).toMatchObject({ status: 200, body: 'a' });
  });

  it('keeps its collections from being renamed, reshaped or dropped, by their id', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const update = (name: string, change: object) => pb.client.collections.update(name, change);
    for (const name of ['av_build_checks', 'av_scan_history']) {
      const { fields, indexes } = await pb.client.collections.getOne(name);
      await refused(update(name, { name: 'renamed' }));
      await refused(update(name, { fields: fields.slice(0, -1) }));
      await refused(update(name, { fields: fields.map((field) => (field['name'] === 'created' ? { ...field, name: 'made' } : field)) }));
      await refused(update(name, { indexes: indexes.slice(1) }));
      await refused(pb.client.collections.delete(name));
      await update(name, { fields: [...fields, { name: 'of_the_host', type: 'text' }] });
    }
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false, of_the_host: '' });
    await clearAll(pb);
  });

  it('takes no row into the history but its own', async () => {
    await refused(pb.client.collection('av_scan_history').create({ seq: 9_007_199_254_740_992, entry: '{}', hash: 'x' }));
    const build = await upload(pb, { 'a.txt': 'a' });
    await clearAll(pb);
    expect((await checkOf(pb, build)).status).toBe('clean');
  });

  it('shuts before a file of the host takes the name of a stored one', async () => {
    const build = (await (await fetch(`${pb.url}/host/create-latest`, { method: 'POST' })).json()) as Build;
    await clearAll(pb);
    expect(await download(pb, build)).toMatchObject({ status: 200, body: 'scanned' });
    const overwriting = fetch(`${pb.url}/host/overwrite/${build.id}`, { method: 'POST' });
    let finished = false;
    void overwriting.finally(() => (finished = true));
    const served: string[] = [];
    while (!finished) served.push((await download(pb, build)).body);
    expect((await overwriting).status).toBe(204);
    served.push((await download(pb, build)).body);
    expect(served.filter((body) => body.includes('UNSCANNED'))).toEqual([]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false, not_before: '' });
  });

  it('sees that a stale record brings a file back', async () => {
    const build = await upload(pb, { 'a.txt': 'a', 'x.txt': 'x' });
    const { checks } = await claim(pb);
    await settle(
      pb,
      checks.map((check) => infected(check)),
    );
    expect((await fetch(`${pb.url}/host/stale/${build.id}/${build.files[1]}`, { method: 'POST' })).status).toBe(204);
    expect((await pb.client.collection('app_builds').getOne(build.id))['files']).toEqual(build.files);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false });
  });

  it('sweeps on when one row cannot be mended', async () => {
    await pb.sql(`INSERT INTO app_builds (id, files) VALUES ('failingbuild001', '["a.txt"]'), ('mendedbuild0001', '["a.txt"]')`);
    const lapsing = await upload(pb, { 'a.txt': 'a' });
    await claim(pb, { max: 1 });
    await pb.sql("UPDATE av_build_checks SET lease_until = '2020-01-01 00:00:00.000Z' WHERE status = 'scanning'");
    await sweep();
    await eventually('the other build has its check', () => checkOf(pb, { id: 'mendedbuild0001' }));
    expect(await checkOf(pb, lapsing)).toMatchObject({ status: 'pending', lapses: 1 });
    expect(await download(pb, { id: 'failingbuild001', collectionId: lapsing.collectionId, files: ['a.txt'] })).not.toMatchObject({
      status: 200,
    });
    await pb.sql("DELETE FROM app_builds WHERE id IN ('failingbuild001', 'mendedbuild0001')");
  });

  it.each(['{', '[null]', '["x",{"engine":{}}]'])('works on where SQL has left %s for a verdict', async (garbage) => {
    const [bad, good] = [await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'a.txt': 'a' })];
    const decide = async (action: string) =>
      pb.client.send(`/api/av/checks/${(await checkOf(pb, bad)).id}/${action}`, { method: 'POST', body: { reason: 'as I say' } });
    const leave = () => pb.sql(`UPDATE av_build_checks SET files = '${garbage}' WHERE build = '${bad.id}'`);
    await settle(
      pb,
      (await claim(pb)).checks.map((check) => (check.build === bad.id ? infected(check) : clean(check))),
    );
    await decide('release');
    await decide('rescan');
    await leave();
    expect((await claim(pb)).checks.map(({ build }) => build)).toEqual([bad.id]);
    await pb.sql("UPDATE av_build_checks SET lease_until = '2020-01-01 00:00:00.000Z' WHERE lease_until != ''");
    const [check] = (await claim(pb)).checks;
    expect(check).toMatchObject({ build: bad.id });
    expect(await settle(pb, [infected(check!)])).toMatchObject([{ ok: true }]);
    expect(await download(pb, bad)).toMatchObject({ status: 403, code: 'scan_infected' });
    await leave();
    const body = { engine: 'test-engine', since: '2026-01-01T00:00:00.000Z', reason: 'it lied' };
    await pb.client.send('/api/av/void', { method: 'POST', body });
    for (const build of [bad, good]) expect((await download(pb, build)).status).toBe(403);
    expect(await checkOf(pb, good)).toMatchObject({ status: 'pending' });
    expect(await pb.client.collection('av_voids').getFirstListItem('')).toMatchObject({ done: true });
    await pb.sql('DELETE FROM av_voids');
  });

  it('works on the others where the host refuses to have one check changed', async () => {
    const refuse = (build: string) => pb.client.send(`/host/refuses/${build}`, { method: 'POST' });
    const [bad, good] = [await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'a.txt': 'a' })];
    const lapse = () => pb.sql("UPDATE av_build_checks SET lease_until = '2020-01-01 00:00:00.000Z' WHERE lease_until != ''");
    const waiting = { status: 'pending', open: false, lease_until: '', attempts: 0 };

    await refuse(bad.id);
    expect((await claim(pb, { max: 1 })).checks.map(({ build }) => build)).toEqual([good.id]);
    expect(await checkOf(pb, bad)).toMatchObject({ ...waiting, not_before: expect.stringMatching(/^20/) });
    await refuse('none');
    await pb.sql("UPDATE av_build_checks SET not_before = ''");
    expect((await claim(pb)).checks.map(({ build }) => build)).toEqual([bad.id]);

    await refuse(bad.id);
    await lapse();
    expect((await claim(pb)).checks.map(({ build }) => build)).toEqual([good.id]);
    expect(await checkOf(pb, bad)).toMatchObject(waiting);
    await refuse('none');
    await lapse();
    await pb.sql("UPDATE av_build_checks SET not_before = ''");
    await clearAll(pb);

    await refuse(bad.id);
    const body = { engine: 'test-engine', since: '2026-01-01T00:00:00.000Z', reason: 'it lied' };
    await pb.client.send('/api/av/void', { method: 'POST', body });
    for (const build of [bad, good]) expect((await download(pb, build)).status).toBe(403);
    expect(await checkOf(pb, good)).toMatchObject({ status: 'pending' });
    expect(await checkOf(pb, bad)).toMatchObject({ status: 'clean', open: false });
    await refuse('none');
    await sweep();
    await eventually('the sweep has made up for it', async () => (await checkOf(pb, bad)).status === 'pending');
    await pb.sql('DELETE FROM av_voids');
  });

  it('says that it is done what is stored, where a hook of the host fails after that', async () => {
    const throws = (value: number) => pb.client.send(`/host/throws/${value}`, { method: 'POST' });
    const build = await upload(pb, { 'a.txt': 'a' });
    await throws(1);
    const { checks } = await claim(pb);
    expect(checks.map(({ build: id }) => id)).toEqual([build.id]);
    const { id, lease } = checks[0]!;
    const body = { leaseSeconds: 60, leases: [{ id, lease }] };
    expect(await pb.client.send('/api/av/renew', { method: 'POST', body })).toMatchObject({ results: [{ ok: true }] });
    expect(await settle(pb, [infected(checks[0]!)])).toMatchObject([{ ok: true, status: 'infected' }]);
    const decided = await pb.client.send(`/api/av/checks/${id}/release`, { method: 'POST', body: { reason: 'as I say' } });
    expect(decided).toMatchObject({ open: true });
    expect((await download(pb, build)).status).toBe(200);
    await throws(0);
  });

  it('loses no check to a clock that was ahead', async () => {
    const [held, late] = [await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'a.txt': 'a' })];
    await claim(pb, { max: 1 });
    const tomorrow = new Date(Date.now() + 86_400_000).toISOString().replace('T', ' ');
    await pb.sql(`UPDATE av_build_checks SET lease_until = '${tomorrow}' WHERE build = '${held.id}'`);
    await pb.sql(`UPDATE av_build_checks SET not_before = '${tomorrow}' WHERE build = '${late.id}'`);
    expect((await claim(pb)).checks.map(({ build }) => build).sort()).toEqual([held.id, late.id].sort());
    await pb.sql("UPDATE av_build_checks SET lease_until = '2020-01-01 00:00:00.000Z' WHERE lease_until != ''");
  });

  it('goes on counting revisions when a check was deleted by hand', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    await clearAll(pb);
    await pb.client.collection('app_builds').update(build.id, form({ 'b.txt': 'b' }, 'files+'));
    await clearAll(pb);
    const { id } = await checkOf(pb, build);
    await pb.client.collection('av_build_checks').delete(id);
    await sweep();
    expect(await eventually('a new check', () => checkOf(pb, build))).toMatchObject({ status: 'pending', revision: 3 });
  });

  it('does not call a verdict stored that is not', async () => {
    await upload(pb, { 'a.txt': 'a' });
    const [check] = (await claim(pb)).checks;
    await settle(pb, [{ id: check!.id, lease: check!.lease, giveBack: 'interrupted', log: '' }]);
    expect(await settle(pb, [infected(check!)])).toMatchObject([{ ok: false, code: 'lease_lost' }]);
  });
});
