/** Rescans: by themselves when signatures change, by hand for many; always behind uploads, and recorded. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ClaimedCheck, RescanManyAnswer, RescanManyRequest, SettleItem } from '../../pb_hooks/lib/wire.ts';
import {
  type Build,
  checkOf,
  claim,
  clean,
  clearAll,
  download,
  giveBack,
  infected,
  settle,
  unscannable,
  upload,
} from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { preparePocketBase, type RunningPocketBase, servePocketBase, startPocketBase } from '../harness/pocketbase.ts';

const day = 24 * 3_600_000;
const old = 27_000;
const newer = 27_001;

/** A verdict by an engine with this signature set. */
function by(signatures: number, item: SettleItem, name = 'test-engine'): SettleItem {
  if (!('engine' in item)) return item;
  return { ...item, engine: { ...item.engine, name, signatures, signaturesAt: '2026-11-21T06:00:00.000Z' } };
}

const dateOf = (value: unknown) => Date.parse(String(value).replace(' ', 'T'));
const text = (ms: number) => new Date(ms).toISOString().replace('T', ' ');

/** Uploads a build and has it judged. */
async function judged(pb: RunningPocketBase, verdict: (check: ClaimedCheck) => SettleItem, name = 'a.txt'): Promise<Build> {
  const build = await upload(pb, { [name]: name });
  const [check] = (await claim(pb, { max: 1 })).checks;
  await settle(pb, [verdict(check!)], 1);
  return build;
}

async function waiting(pb: RunningPocketBase): Promise<string[]> {
  const rows = await pb.client.collection('av_build_checks').getFullList({ filter: "rescan_at != '' && rescan_at <= @now", sort: 'id' });
  return rows.map((row) => row['build']);
}

const sweep = (pb: RunningPocketBase) => pb.client.crons.run('av-sweep');

/** Sweeps, and resolves when it is over: the next sweep, that began after it, has already made the check of a build without one. */
async function swept(pb: RunningPocketBase): Promise<void> {
  for (const id of ['sweptonce000001', 'swepttwice00001']) {
    await pb.sql(`INSERT INTO app_builds (id, files) VALUES ('${id}', '[]')`);
    await sweep(pb);
    await eventually('the sweep is at work', () => checkOf(pb, { id }));
    await pb.client.collection('app_builds').delete(id);
  }
}

describe('automatic rescans', () => {
  let pb: RunningPocketBase;
  beforeEach(async () => {
    pb = await startPocketBase();
    return () => pb.stop();
  });

  it('bring back young builds that older signatures judged, whatever the verdict, once and with the gate as it is', async () => {
    const wasClean = await judged(pb, (check) => by(old, clean(check)));
    const wasInfected = await judged(pb, (check) => by(old, infected(check)));
    const wasUnscannable = await judged(pb, (check) => by(old, unscannable(check)));
    const byTestSet = await judged(pb, clean);
    const upToDate = await judged(pb, (check) => by(newer, clean(check)));
    const failed = await judged(pb, (check) => giveBack(check, 'download'));
    await claim(pb, { signatures: newer });
    await sweep(pb);
    const due = [wasClean, wasInfected, wasUnscannable, byTestSet].map(({ id }) => id).sort();
    await eventually('four wait', async () => (await waiting(pb)).length === 4);
    expect((await waiting(pb)).sort()).toEqual(due);
    expect((await checkOf(pb, wasClean)).log).toContain(`Signatures ${newer} are newer than ${old}`);
    expect((await download(pb, wasClean)).status).toBe(200);
    expect((await checkOf(pb, upToDate))['rescan_at']).toBe('');
    expect(await checkOf(pb, failed)).toMatchObject({ status: 'error', reason: 'download', rescan_at: '' });

    const { checks } = await claim(pb, { signatures: newer });
    expect(checks.every(({ rescan }) => rescan)).toBe(true);
    const of = (build: Build) => checks.find((check) => check.build === build.id)!;
    await settle(pb, [
      by(newer, infected(of(wasClean))),
      ...[wasInfected, wasUnscannable, byTestSet].map((build) => by(newer, clean(of(build)))),
    ]);
    expect(await download(pb, wasClean)).toMatchObject({ status: 403, code: 'scan_infected' });
    expect((await download(pb, wasInfected)).status).toBe(200);
    const again = await checkOf(pb, wasInfected);
    expect(again).toMatchObject({ signatures: newer, rescan_at: '' });
    expect(dateOf(again['revisit_at']) - Date.now()).toBeGreaterThan(day * 0.9);
    await swept(pb);
    expect((await claim(pb, { signatures: newer })).checks).toEqual([]);
  });

  it('never stand before an upload, and fill no worker with work that the next upload would wait for', async () => {
    for (let i = 0; i < 12; i++) await upload(pb, { 'a.txt': String(i) });
    const { checks } = await claim(pb, { max: 100 });
    await settle(
      pb,
      checks.map((check) => by(old, clean(check))),
    );
    await claim(pb, { signatures: newer });
    await sweep(pb);
    await eventually('all wait', async () => (await waiting(pb)).length === 12);
    const fresh = await upload(pb, { 'b.txt': 'b' });
    const suspect = await upload(pb, { 'c.txt': 'c' });
    const uploads = (await claim(pb, { max: 100 })).checks;
    expect(uploads.map(({ build }) => build)).toEqual([fresh.id, suspect.id]);
    await settle(pb, [clean(uploads[0]!), giveBack(uploads[1]!, 'engine-reply')]);
    // A suspect upload comes before them too, as soon as somebody is alone.
    expect(await claim(pb, { max: 100 })).toEqual({ checks: [], drain: true });
    const [alone] = (await claim(pb, { max: 100, alone: true })).checks;
    expect(alone).toMatchObject({ build: suspect.id, suspect: true });
    await settle(pb, [clean(alone!)]);
    const rescans = (await claim(pb, { max: 100 })).checks;
    expect(rescans).toHaveLength(8);
    expect((await claim(pb, { max: 100 })).checks).toEqual([]);
    expect((await claim(pb, { max: 100, worker: 'another' })).checks).toHaveLength(4);
    const next = await upload(pb, { 'd.txt': 'd' });
    expect((await claim(pb, { max: 100 })).checks.map(({ build }) => build)).toEqual([next.id]);
    await settle(pb, [clean(rescans[0]!)]);
    expect((await claim(pb, { max: 100 })).checks).toEqual([]);
  });

  it('come after uploads even where they are suspect and have waited for long', async () => {
    const build = await judged(pb, (check) => by(old, clean(check)));
    await pb.sql(`UPDATE av_build_checks SET rescan_at = '${text(Date.now() - day)}'`);
    const [rescan] = (await claim(pb)).checks;
    await settle(pb, [giveBack(rescan!, 'engine-reply')]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'clean', open: true, suspect: true });
    await pb.sql(`UPDATE av_build_checks SET updated = '${text(Date.now() - day)}'`);
    const fresh = await upload(pb, { 'b.txt': 'b' });
    const uploads = await claim(pb, { alone: true });
    expect(uploads.checks.map((check) => check.build)).toEqual([fresh.id]);
    await settle(pb, [giveBack(uploads.checks[0]!, 'engine-reply')]);
    // Of two suspects, the upload; the older rescan does not hide it.
    const [alone] = (await claim(pb, { alone: true })).checks;
    expect(alone).toMatchObject({ build: fresh.id, suspect: true });
    await settle(pb, [clean(alone!)]);
    expect((await claim(pb, { alone: true })).checks).toMatchObject([{ build: build.id, suspect: true, rescan: true }]);
  });

  it('of old builds wait for the end of their interval, and then for signatures that are newer indeed', async () => {
    const first = await judged(pb, (check) => by(old, clean(check)));
    const second = await judged(pb, (check) => by(newer, clean(check)));
    const [long, past] = [text(Date.now() - 40 * day), text(Date.now() - day)];
    await pb.sql(`UPDATE av_build_checks SET judged_at = '${long}', revisit_at = '${text(Date.now() + day)}'`);
    await claim(pb, { signatures: newer });
    await swept(pb);
    expect(await waiting(pb)).toEqual([]);
    await pb.sql(`UPDATE av_build_checks SET revisit_at = '${past}' WHERE build = '${second.id}'`);
    const { updated } = await checkOf(pb, second);
    await sweep(pb);
    await eventually('the second is put off', async () => dateOf((await checkOf(pb, second))['revisit_at']) > Date.now());
    const putOff = await checkOf(pb, second);
    expect(putOff).toMatchObject({ rescan_at: '', updated });
    expect(dateOf(putOff['revisit_at']) - Date.now()).toBeGreaterThan(19 * day);
    expect(dateOf(putOff['revisit_at']) - Date.now()).toBeLessThan(30 * day);
    expect((await checkOf(pb, first))['rescan_at']).toBe('');
    await pb.sql(`UPDATE av_build_checks SET revisit_at = '${past}' WHERE build = '${first.id}'`);
    await sweep(pb);
    await eventually('the first waits', async () => (await waiting(pb)).includes(first.id));
    expect(await waiting(pb)).toEqual([first.id]);
  });

  it('know after a restart of PocketBase what a worker names, and do nothing before or for test signatures', async () => {
    const build = await judged(pb, (check) => by(old, clean(check)));
    await pb.sql(`UPDATE av_build_checks SET revisit_at = '${text(Date.now() - day)}'`);
    await claim(pb);
    await swept(pb);
    await claim(pb, { signatures: newer });
    await pb.kill('SIGTERM');
    await pb.restart();
    await claim(pb);
    await swept(pb);
    expect(await waiting(pb)).toEqual([]);
    await claim(pb, { signatures: newer });
    await sweep(pb);
    await eventually('it waits', async () => (await waiting(pb)).includes(build.id));
    await expect(claim(pb, { signatures: -1 })).rejects.toMatchObject({ status: 400 });
  });

  it('come back a thousand at a time', async () => {
    await judged(pb, (check) => by(old, clean(check)));
    await copies(pb, 1_200);
    await claim(pb, { signatures: newer });
    await sweep(pb);
    await eventually('a thousand wait', async () => (await waiting(pb)).length === 1_000);
    await swept(pb);
    expect((await waiting(pb)).length).toBe(1_000);
    await pb.sql(`UPDATE av_build_checks SET rescan_at = '', signatures = ${newer} WHERE rescan_at != ''`);
    await sweep(pb);
    await eventually('the others wait', async () => (await waiting(pb)).length === 201);
  });

  it('count from the first verdict on the present files', async () => {
    const build = await judged(pb, (check) => by(old, clean(check)));
    await pb.sql(`UPDATE av_build_checks SET judged_at = '${text(Date.now() - 40 * day)}'`);
    const data = new FormData();
    data.append('files+', new Blob(['b']), 'b.txt');
    await pb.client.collection('app_builds').update(build.id, data);
    expect(await checkOf(pb, build)).toMatchObject({ judged_at: '', revisit_at: '' });
    await clearAll(pb);
    const check = await checkOf(pb, build);
    expect(Math.abs(dateOf(check['judged_at']) - Date.now())).toBeLessThan(day / 24);
    expect(dateOf(check['revisit_at']) - Date.now()).toBeLessThan(1.3 * day);
  });
});

/** Of the one build there is, and of its check. */
async function copies(pb: RunningPocketBase, count: number): Promise<void> {
  for (const [table, own] of [
    ['app_builds', { id: "printf('b%014d', i)" }],
    ['av_build_checks', { id: "printf('c%014d', i)", build: "printf('b%014d', i)" }],
  ] as const) {
    const { fields } = await pb.client.collections.getOne(table);
    const values = fields.map(({ name }) => (own as Record<string, string>)[name] ?? `source.\`${name}\``);
    await pb.sql(
      `INSERT INTO ${table} (${fields.map(({ name }) => `\`${name}\``)}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
       SELECT ${values} FROM n, (SELECT * FROM ${table} LIMIT 1) source`,
    );
  }
}

describe('POST /api/av/rescan', () => {
  let pb: RunningPocketBase;
  let builds: { clean: Build; infected: Build; unscannable: Build; empty: Build; pending: Build };
  beforeAll(async () => {
    pb = await startPocketBase();
    builds = {
      clean: await judged(pb, (check) => by(old, clean(check))),
      infected: await judged(pb, (check) => by(newer, infected(check, 'Win.Test-1'))),
      unscannable: await judged(pb, (check) => by(old, unscannable(check), 'other')),
      empty: (await pb.client.collection('app_builds').create({})) as unknown as Build,
      pending: await upload(pb, { 'p.txt': 'p' }),
    };
  });
  afterAll(() => pb?.stop());
  beforeEach(() => pb.sql("UPDATE av_build_checks SET rescan_at = ''"));

  const ask = (body: RescanManyRequest | object): Promise<RescanManyAnswer> => pb.client.send('/api/av/rescan', { method: 'POST', body });
  const lastEntry = async () => {
    const { items } = await pb.client.collection('av_scan_history').getList(1, 1, { sort: '-seq' });
    return JSON.parse(items[0]!['entry']);
  };

  it.each([
    [{ status: 'clean' }, ['clean']],
    [{ status: 'error' }, ['unscannable']],
    [{ reason: 'unscannable:encrypted' }, ['unscannable']],
    [{ virusName: 'Win.Test-1' }, ['infected']],
    [{ virusName: 'Win.Test' }, []],
    [{ engine: 'other' }, ['unscannable']],
    [{ engine: 'test-engine' }, ['clean', 'infected']],
    [{ signaturesBelow: newer }, ['clean', 'unscannable']],
    [{ signaturesBelow: newer, status: 'clean' }, ['clean']],
    [{ since: '2020-01-01T00:00:00Z' }, ['clean', 'infected', 'unscannable']],
    [{ until: '2020-01-01T00:00:00.000Z' }, []],
    [{ since: '2020-01-01T00:00:00Z', until: '2099-01-01T00:00:00Z', engine: 'other' }, ['unscannable']],
  ] as const)('selects by %o', async (filter, names) => {
    expect(await ask({ reason: 'a new rule', filter })).toEqual({ asked: names.length, waiting: 0 });
    expect((await waiting(pb)).sort()).toEqual(names.map((name) => builds[name].id).sort());
    const entry = await lastEntry();
    expect(entry).toMatchObject({
      event: 'rescan-requested',
      by: 'warden@example.com',
      note: 'a new rule',
      count: names.length,
      check: '',
      build: '',
    });
    expect(Object.keys(JSON.parse(entry.filter)).sort()).toEqual(Object.keys(filter).sort());
  });

  it('asks for all, says what waits anyway, leaves the gate as it is, and records one decision for many', async () => {
    const before = (await pb.client.collection('av_scan_history').getList(1, 1)).totalItems;
    expect(await ask({ reason: 'after an outage', all: true })).toEqual({ asked: 3, waiting: 1 });
    expect(await ask({ reason: 'once more', all: true })).toEqual({ asked: 0, waiting: 4 });
    expect((await pb.client.collection('av_scan_history').getList(1, 1)).totalItems).toBe(before + 2);
    expect(await lastEntry()).toMatchObject({ count: 4, filter: '{"all":true}' });
    expect(await checkOf(pb, builds.clean)).toMatchObject({ status: 'clean', open: true });
    expect((await checkOf(pb, builds.clean)).log).toContain('Scan asked for by warden@example.com, of 4 builds: after an outage');
    expect((await download(pb, builds.clean)).status).toBe(200);
    expect((await checkOf(pb, builds.empty))['rescan_at']).toBe('');
    expect(await pb.client.send('/api/av/history/verify?after=0', {})).toMatchObject({ ok: true });
    // A newer signature set has nothing to do with it: what a person asks for is scanned.
    const { checks } = await claim(pb, { max: 100 });
    expect(checks.map(({ build }) => build)).toEqual([builds.pending.id]);
    expect((await claim(pb, { max: 100 })).checks.every(({ rescan }) => rescan)).toBe(true);
  });

  it.each([
    [{}],
    [{ filter: {} }],
    [{ all: false }],
    [{ all: true, filter: { status: 'clean' } }],
    [{ filter: [] }],
    [{ filter: { status: 'lost' } }],
    [{ filter: { constructor: 'x' } }],
    [{ filter: { since: 'yesterday' } }],
    [{ filter: { signaturesBelow: '1' } }],
    [{ filter: { status: 'clean', engine: '' } }],
    [{ filter: { 'status` = 1 --': 'x' } }],
  ])('refuses %o and records nothing', async (body) => {
    const before = (await pb.client.collection('av_scan_history').getList(1, 1)).totalItems;
    await expect(ask({ reason: 'a reason', ...body })).rejects.toMatchObject({ status: 400 });
    expect((await pb.client.collection('av_scan_history').getList(1, 1)).totalItems).toBe(before);
  });

  it('wants a reason, and a superuser', async () => {
    await expect(ask({ all: true })).rejects.toMatchObject({ status: 400 });
    expect((await fetch(`${pb.url}/api/av/rescan`, { method: 'POST', body: '{"reason":"because","all":true}' })).status).toBe(401);
  });
});

it('an upgrade spreads what was judged before over thirty days', async () => {
  const folder = await preparePocketBase();
  await using pb = await servePocketBase(folder);
  const build = await judged(pb, (check) => by(old, clean(check)));
  const failed = await judged(pb, (check) => giveBack(check, 'download'));
  await pb.kill('SIGTERM');
  const migrations = (await readdir(join(folder.dir, 'pb_migrations'))).filter((name) => name.endsWith('.js')).sort();
  const since = migrations.length - migrations.indexOf('9000000008_rescans.js');
  expect((await folder.run(['migrate', 'down', String(since)], 'y\n')).output).toContain('Reverted 9000000008_rescans.js');
  await pb.restart();
  const check = await checkOf(pb, build);
  expect(check).toMatchObject({ judged_at: check['scan_time'], signatures: old });
  expect(dateOf(check['revisit_at']) - Date.now()).toBeGreaterThan(-60_000);
  expect(dateOf(check['revisit_at']) - Date.now()).toBeLessThan(30 * day);
  expect(await checkOf(pb, failed)).toMatchObject({ judged_at: '', revisit_at: '', signatures: 0 });
});
