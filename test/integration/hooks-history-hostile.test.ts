/** Ways to change the past through PocketBase's own API, with a superuser's login. What is done by SQL is the matter of the chain. */
import { readFile } from 'node:fs/promises';
import type { CollectionModel } from 'pocketbase';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { VerifyAnswer } from '../../pb_hooks/lib/wire.ts';
import { type Build, checkOf, claim, clearAll, download, infected, settle, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';

const HISTORY = 'av_scan_history';
const CHECKS = 'av_build_checks';

describe('a superuser', () => {
  let pb: RunningPocketBase;
  let bad: Build;
  let before: { rows: object[]; end: VerifyAnswer };

  const seen = async () => ({
    rows: await pb.client.collection(HISTORY).getFullList({ sort: 'seq', fields: 'id,seq,entry,hash,created' }),
    end: (await pb.client.send('/api/av/history/verify', {})) as VerifyAnswer,
  });
  const firstId = async () => (await pb.client.collection(HISTORY).getFirstListItem('seq = 1')).id;
  const refused = (promise: Promise<unknown>) =>
    promise.then(
      (answer) => expect.fail(`it was answered ${JSON.stringify(answer)}`),
      (error: { status: number }) => expect([400, 403]).toContain(error.status),
    );
  const withField = (collection: CollectionModel, name: string, change: object | null) => ({
    ...collection,
    fields: collection.fields.flatMap((field) => (field['name'] !== name ? [field] : change === null ? [] : [{ ...field, ...change }])),
  });
  const imported = (collections: object[], deleteMissing = false) =>
    pb.client.collections.import(collections as CollectionModel[], deleteMissing);

  beforeAll(async () => {
    pb = await startPocketBase();
    await pb.client.settings.update({ batch: { enabled: true, maxRequests: 10, timeout: 5 } });
    await upload(pb, { 'a.txt': 'good' });
    await clearAll(pb);
    bad = await upload(pb, { 'a.txt': 'bad' });
    await settle(pb, [infected((await claim(pb, { max: 1 })).checks[0]!)]);
    before = await seen();
    expect(before).toMatchObject({ rows: [{}, {}], end: { ok: true } });
  });
  afterAll(() => pb?.stop());
  beforeEach(async () => expect(await seen()).toEqual(before));
  const unchanged = async () => {
    expect(await seen()).toEqual(before);
    expect(await checkOf(pb, bad)).toMatchObject({ status: 'infected', open: false });
    expect((await download(pb, bad)).status).toBe(403);
  };

  it('cannot change, delete or add a row by a batch', async () => {
    const id = await firstId();
    const row = { seq: 3, entry: '{}', hash: 'f'.repeat(64) };
    for (const what of ['update', 'delete', 'create', 'upsert'] as const) {
      const batch = pb.client.createBatch();
      const history = batch.collection(HISTORY);
      if (what === 'update') history.update(id, { entry: '{}' });
      else if (what === 'delete') history.delete(id);
      else if (what === 'create') history.create(row);
      else history.upsert({ id, ...row });
      await refused(batch.send());
    }
    await unchanged();
  });

  it('cannot open a check by a batch or an edit', async () => {
    const { id } = await checkOf(pb, bad);
    const open = { open: true, status: 'clean' };
    await refused(pb.client.collection(CHECKS).update(id, open));
    for (const what of ['update', 'upsert'] as const) {
      const batch = pb.client.createBatch();
      if (what === 'update') batch.collection(CHECKS).update(id, open);
      else batch.collection(CHECKS).upsert({ id, build: bad.id, ...open });
      await refused(batch.send());
    }
    await unchanged();
  });

  it.each(['seq', 'entry', 'hash', 'created'])('cannot take out, rename or retype the field %s by an import or an edit', async (name) => {
    const history = await pb.client.collections.getOne(HISTORY);
    const others = history.fields.find((field) => field['name'] === name)!['type'] === 'text' ? 'number' : 'text';
    for (const change of [null, { name: 'other' }, { type: others }, { id: 'another_id_1', type: others }, { id: 'another_id_2' }]) {
      const next = withField(history, name, change);
      await imported([next], false).catch(() => {});
      await imported([next], true).catch(() => {});
      await pb.client.collections.update(HISTORY, { fields: next.fields }).catch(() => {});
      await unchanged();
    }
  });

  it('cannot drop, truncate or rename them, nor make views of them, by any way', async () => {
    const all = await pb.client.collections.getFullList();
    for (const name of [HISTORY, CHECKS]) {
      const own = all.find((each) => each.name === name)!;
      await refused(
        imported(
          all.filter((each) => each.name !== name && !each.system),
          true,
        ),
      );
      await refused(imported([{ ...own, name: 'renamed' }]));
      await imported([{ ...own, type: 'view', viewQuery: 'SELECT id FROM users' }]).catch(() => {});
      await pb.client.collections.update(name, { type: 'view', viewQuery: 'SELECT id FROM users' }).catch(() => {});
    }
    await refused(pb.client.collections.truncate(HISTORY));
    await unchanged();
  });

  it('cannot point the checks at other builds', async () => {
    const checks = await pb.client.collections.getOne(CHECKS);
    const users = await pb.client.collections.getOne('users');
    const next = withField(checks, 'build', { collectionId: users.id });
    await refused(pb.client.collections.update(CHECKS, { fields: next.fields }));
    await refused(imported([next]));
    expect((await pb.client.collections.getOne(CHECKS)).fields.find(({ name }) => name === 'build')!['collectionId']).toBe(
      bad.collectionId,
    );
    await unchanged();
  });

  it('leaves a trace of an infected build when all builds are truncated, and the journal knows it', async () => {
    await pb.client.collections.truncate('app_builds');
    const { rows, end } = await seen();
    expect(rows).toHaveLength(3);
    expect(end.ok).toBe(true);
    expect(JSON.parse((rows[2] as unknown as { entry: string }).entry)).toMatchObject({ event: 'infected-build-deleted', build: bad.id });
    before = { rows, end };
    await pb.client.crons.run('av-sweep');
    await eventually('the journal has it', async () =>
      (await readFile(`${pb.dir}/pb_data.av_journal/closings.log`, 'utf8')).includes(`"closed","build":"${bad.id}","seq":3`),
    );
  });
});
