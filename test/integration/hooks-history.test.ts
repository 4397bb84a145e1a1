/** The history walked from end to end, whatever was done to it by raw SQL, and the charts made of it. */
import Client from 'pocketbase';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { StatsAnswer, VerifyAnswer } from '../../pb_hooks/lib/wire.ts';
import { checkOf, claim, clean, clearAll, form, giveBack, infected, settle, unscannable, upload } from '../harness/builds.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';

/** Appends rows as the product does, spread evenly from so many hours ago until now. */
const maker = (count: number, hoursAgo: number) => `
routerAdd('POST', '/host/fill', (e) => {
  $app.runInTransaction((tx) => {
    const insert = tx.db().newQuery('INSERT INTO av_scan_history (id, seq, entry, hash, created) VALUES ({:id}, {:seq}, {:entry}, {:hash}, {:created})')
    const start = Date.now() - ${hoursAgo} * 3600000
    let hash = ''
    for (let i = 0; i < ${count}; i++) {
      const created = new Date(start + i * ${(hoursAgo * 3_600_000) / count}).toISOString().replace('T', ' ')
      const status = i % 100 === 0 ? 'infected' : i % 50 === 0 ? 'error' : 'clean'
      const files = [1, 2, 3].map((n) => ({ name: 'file_' + n + '_of_build_' + i + '.zip', sha256: 'a'.repeat(64), size: 1000000, verdict: 'clean' }))
      const entry = JSON.stringify({ at: created, build: 'b' + i, check: 'c' + i, engine: { name: 'main', signatures: 27512, version: '1.4.3' }, event: 'settled', files, open: status === 'clean', rescan: i % 200 === 0, revision: 1, status, waited: i % 200 === 0 ? undefined : 4.5, wasOpen: i % 200 === 0 || undefined, worker: 'w' })
      hash = $security.hs256(hash + entry, 'test history key')
      insert.bind({ id: 'h' + String(i).padStart(14, '0'), seq: i + 1, entry, hash, created }).execute()
    }
  })
  e.noContent(204)
})`;

const verifyOf = (pb: { client: Client }, query = ''): Promise<VerifyAnswer> => pb.client.send(`/api/av/history/verify${query}`, {});
const statsOf = (pb: { client: Client }, query = ''): Promise<StatsAnswer> => pb.client.send(`/api/av/stats${query}`, {});

/** For histories that are written by SQL: a sweep that comes in between would take that for an older database, and add to them. */
const noJournal = { AV_JOURNAL_DIR: '/dev/null/journal' };

describe('GET /api/av/history/verify', () => {
  let pb: RunningPocketBase;
  beforeAll(async () => {
    pb = await startPocketBase({ env: noJournal });
    for (let i = 0; i < 10; i++) {
      await upload(pb, { 'a.txt': String(i) });
      await clearAll(pb);
    }
    await pb.sql('CREATE TABLE kept AS SELECT * FROM av_scan_history');
  });
  afterAll(() => pb?.stop());
  beforeEach(async () => {
    await pb.sql('DELETE FROM av_scan_history');
    await pb.sql('INSERT INTO av_scan_history SELECT * FROM kept');
  });

  it('proves a whole history, from its start or from a known row', async () => {
    const all = await verifyOf(pb);
    expect(all).toMatchObject({ ok: true, from: 1, to: 10, more: false, broken: null });
    expect(all.last).toEqual({ seq: 10, hash: expect.stringMatching(/^[0-9a-f]{64}$/) });
    const rows = await pb.client.collection('av_scan_history').getFullList({ sort: 'seq' });
    expect(all.last.hash).toBe(rows[9]!['hash']);
    expect(await verifyOf(pb, `?after=4&hash=${rows[3]!['hash']}`)).toEqual({ ...all, from: 5 });
    expect(await verifyOf(pb, `?after=10&hash=${rows[9]!['hash']}`)).toEqual({ ...all, from: 11 });
    await upload(pb, { 'a.txt': 'more' });
    await clearAll(pb);
    expect(await verifyOf(pb, `?after=10&hash=${all.last.hash}`)).toMatchObject({ ok: true, from: 11, to: 11, last: { seq: 11 } });
  });

  it('says of an empty one that it is whole', async () => {
    await pb.sql('DELETE FROM av_scan_history');
    expect(await verifyOf(pb)).toEqual({ ok: true, from: 1, to: 0, last: { seq: 0, hash: '' }, more: false, broken: null });
  });

  it.each([
    ['a changed entry', ["UPDATE av_scan_history SET entry = replace(entry, 'clean', 'CLEAN') WHERE seq = 4"], 4, 'changed'],
    ['a space in an entry', ["UPDATE av_scan_history SET entry = entry || ' ' WHERE seq = 4"], 4, 'changed'],
    ['an empty entry', ["UPDATE av_scan_history SET entry = '' WHERE seq = 4"], 4, 'changed'],
    ['an entry of bytes', ["UPDATE av_scan_history SET entry = X'00ff' WHERE seq = 4"], 4, 'changed'],
    ['a changed hash', ["UPDATE av_scan_history SET hash = 'x' WHERE seq = 1"], 1, 'changed'],
    ['a changed time', ["UPDATE av_scan_history SET created = '2020-01-01 00:00:00.000Z' WHERE seq = 4"], 4, 'changed'],
    ['a missing row', ['DELETE FROM av_scan_history WHERE seq = 4'], 4, 'missing'],
    ['a missing first row', ['DELETE FROM av_scan_history WHERE seq = 1'], 1, 'missing'],
    [
      'a missing row with the gap closed',
      [
        'DELETE FROM av_scan_history WHERE seq = 4',
        'UPDATE av_scan_history SET seq = -(seq - 1) WHERE seq > 4',
        'UPDATE av_scan_history SET seq = -seq WHERE seq < 0',
      ],
      4,
      'changed',
    ],
    [
      'two rows in each other’s place',
      [
        'UPDATE av_scan_history SET seq = -4 WHERE seq = 4',
        'UPDATE av_scan_history SET seq = 4 WHERE seq = 5',
        'UPDATE av_scan_history SET seq = 5 WHERE seq = -4',
      ],
      4,
      'changed',
    ],
    [
      'a row between two',
      ["INSERT INTO av_scan_history (id, seq, entry, hash, created) SELECT 'forged', 4.5, entry, hash, created FROM kept WHERE seq = 4"],
      4.5,
      'inserted',
    ],
    ['a row before the first', ["INSERT INTO av_scan_history (id, seq, entry, hash) VALUES ('forged', 0, '{}', 'x')"], 0, 'inserted'],
    [
      'a row far before the first',
      ["INSERT INTO av_scan_history (id, seq, entry, hash) VALUES ('forged', -9e18, '{}', 'x')"],
      -9e18,
      'inserted',
    ],
    ['a row after the last', ["INSERT INTO av_scan_history (id, seq, entry, hash) VALUES ('forged', 11, '{}', 'x')"], 11, 'changed'],
    ['a row far after the last', ["INSERT INTO av_scan_history (id, seq, entry, hash) VALUES ('forged', 9e18, '{}', 'x')"], 11, 'missing'],
    [
      'a row whose number is none',
      ["INSERT INTO av_scan_history (id, seq, entry, hash) VALUES ('forged', 'zzz', '{}', 'x')"],
      11,
      'inserted',
    ],
  ] as const)('finds %s', async (_, queries, seq, why) => {
    for (const query of queries) await pb.sql(query);
    const answer = await verifyOf(pb);
    expect(answer).toMatchObject({ ok: false, more: false, broken: { seq, why } });
    expect(answer.last.seq).toBeLessThan(Math.max(seq, 1));
  });

  it('finds a second row under a number, when the index that forbids it is gone', async () => {
    const index = 'CREATE UNIQUE INDEX `idx_av_scan_history_seq` ON `av_scan_history` (`seq`)';
    await pb.sql('DROP INDEX idx_av_scan_history_seq');
    await pb.sql(
      "INSERT INTO av_scan_history (id, seq, entry, hash, created) SELECT 'forged', seq, entry, hash, created FROM kept WHERE seq = 10",
    );
    expect(await verifyOf(pb)).toMatchObject({ ok: false, broken: { seq: 10, why: 'inserted' } });
    await pb.sql('DELETE FROM av_scan_history');
    await pb.sql(index);
  });

  it('finds rows cut off at the end, for whoever kept the last answer', async () => {
    const { last } = await verifyOf(pb);
    await pb.sql('DELETE FROM av_scan_history WHERE seq > 7');
    expect(await verifyOf(pb)).toMatchObject({ ok: true, to: 7 });
    expect(await verifyOf(pb, `?after=${last.seq}&hash=${last.hash}`)).toMatchObject({ ok: false, broken: { seq: 10, why: 'missing' } });
    await upload(pb, { 'a.txt': 'later' });
    await clearAll(pb);
    await pb.sql('UPDATE av_scan_history SET seq = 10 WHERE seq = 8');
    expect(await verifyOf(pb, `?after=${last.seq}&hash=${last.hash}`)).toMatchObject({ ok: false, broken: { seq: 10, why: 'changed' } });
  });

  it('is for superusers, and for numbers', async () => {
    const ask = (query: string, headers: Record<string, string> = { Authorization: pb.client.authStore.token }) =>
      fetch(`${pb.url}/api/av/history/verify${query}`, { headers }).then(({ status }) => status);
    expect(await ask('', {})).toBe(401);
    for (const bad of ['-1', '1.5', 'x', '1e3', '99999999999999999', "1'"])
      expect(await ask(`?after=${encodeURIComponent(bad)}`), bad).toBe(400);
    expect(await ask('?after=1&hash=zz')).toBe(400);
    expect(await ask('?after=1')).toBe(200);
  });
});

describe('a history of 100,000 rows', () => {
  const count = 100_000;
  let pb: RunningPocketBase;
  beforeAll(async () => {
    pb = await startPocketBase({ env: noJournal, hooks: { 'host.pb.js': maker(count, 700) } });
    expect((await statsOf(pb, '?hours=1')).buckets.every(({ clean }) => clean === 0)).toBe(true);
    expect((await fetch(`${pb.url}/host/fill`, { method: 'POST' })).status).toBe(204);
  }, 120_000);
  afterAll(() => pb?.stop());

  it('is proved in calls of bounded work', async () => {
    let last = { seq: 0, hash: '' };
    const times: number[] = [];
    for (let more = true; more; ) {
      const started = performance.now();
      const answer = await verifyOf(pb, `?after=${last.seq}&hash=${last.hash}`);
      times.push(performance.now() - started);
      expect(answer).toMatchObject({ ok: true, from: last.seq + 1 });
      expect(answer.to - last.seq).toBeLessThanOrEqual(5_000);
      ({ last, more } = answer);
    }
    expect(last.seq).toBe(count);
    expect(times).toHaveLength(count / 5_000);
    console.log(`verify: ${Math.round(times.reduce((a, b) => a + b))} ms in all, ${Math.round(Math.max(...times))} ms the longest call`);
  });

  it('is not read where it lies before what is asked for', async () => {
    const { buckets, complete } = await statsOf(pb, '?hours=2');
    const ended = buckets.reduce((sum, { clean, infected, unscannable }) => sum + clean + infected + unscannable, 0);
    expect(complete).toBe(true);
    expect(ended).toBeGreaterThan(((2 - 5 / 60) * count) / 700);
    expect(ended).toBeLessThanOrEqual((2 * count) / 700 + 1);
  });

  it('is counted whole, and the second time from memory', async () => {
    const started = performance.now();
    const month = await statsOf(pb, '?hours=720');
    const first = performance.now() - started;
    expect(month.buckets).toHaveLength(120);
    expect(month).toMatchObject({ hours: 720, bucketSeconds: 21_600, complete: true });
    const sum = (key: 'clean' | 'infected' | 'unscannable' | 'foundLater' | 'arrivals') =>
      month.buckets.reduce((total, bucket) => total + bucket[key], 0);
    expect(['clean', 'infected', 'unscannable', 'foundLater', 'arrivals'].map((key) => sum(key as 'clean'))).toEqual([
      98_000, 1_000, 1_000, 500, 99_500,
    ]);
    expect(month.buckets.every(({ waiting }) => waiting >= 0 && waiting <= 1)).toBe(true);
    const again = performance.now();
    expect(await statsOf(pb, '?hours=720')).toEqual(month);
    const second = performance.now() - again;
    const day = performance.now();
    const today = await statsOf(pb, '?hours=24');
    console.log(
      `stats: 720 h ${Math.round(first)} ms, from memory ${Math.round(second)} ms, 24 h ${Math.round(performance.now() - day)} ms`,
    );
    expect(second).toBeLessThan(Math.max(100, first / 2));
    // Other spans of the same width share what was read; only what is new is counted.
    const other = performance.now();
    expect((await statsOf(pb, '?hours=719')).buckets.slice(1, -1)).toEqual(month.buckets.slice(1, -1));
    expect(performance.now() - other).toBeLessThan(Math.max(100, first / 2));
    expect(today.buckets).toHaveLength(96);
    expect(today.buckets.reduce((total, { clean }) => total + clean, 0)).toBeGreaterThan(2_000);
  });

  it('shows a second row under a number, also where one read ends and the next begins', async () => {
    await pb.sql('DROP INDEX idx_av_scan_history_seq');
    await pb.sql(
      "INSERT INTO av_scan_history (id, seq, entry, hash, created) SELECT 'forged' || seq, seq, entry, hash, created FROM av_scan_history WHERE seq IN (500, 5000)",
    );
    expect(await verifyOf(pb)).toMatchObject({ ok: false, broken: { why: 'inserted' } });
    expect(await verifyOf(pb, '?after=500')).toMatchObject({ ok: false, broken: { why: 'inserted' } });
    expect(await verifyOf(pb, '?after=5000')).toMatchObject({ ok: true, from: 5001 });
  });
});

describe('GET /api/av/stats', () => {
  it('counts what arrived, ended and waits', async () => {
    await using pb = await startPocketBase();
    for (let i = 0; i < 6; i++) await upload(pb, { 'a.txt': String(i) });
    const { checks } = await claim(pb, { max: 4 });
    await settle(pb, [clean(checks[0]!), infected(checks[1]!), unscannable(checks[2]!), giveBack(checks[3]!, 'download')], 1);
    await pb.client.send(`/api/av/checks/${checks[0]!.id}/rescan`, { method: 'POST', body: { reason: 'new signatures' } });
    await pb.sql("UPDATE av_build_checks SET not_before = strftime('%Y-%m-%d %H:%M:%fZ', 'now', '+30 minutes') WHERE status = 'pending'");
    const [again] = (await claim(pb, { max: 1 })).checks;
    expect(again).toMatchObject({ rescan: true });
    await settle(pb, [infected(again!)]);
    // What was closed already is not found later, however often it is scanned.
    await pb.client.send(`/api/av/checks/${checks[0]!.id}/rescan`, { method: 'POST', body: { reason: 'newer signatures' } });
    await settle(pb, [infected((await claim(pb, { max: 1 })).checks[0]!)]);
    const { buckets, ...rest } = await statsOf(pb, '?hours=1');
    expect(rest).toEqual({ hours: 1, bucketSeconds: 60, from: buckets[0]!.at, complete: true });
    expect(buckets).toHaveLength(60);
    const total = (key: keyof (typeof buckets)[number]) => buckets.reduce((sum, bucket) => sum + Number(bucket[key]), 0);
    const keys = ['arrivals', 'clean', 'infected', 'unscannable', 'failed', 'foundLater'] as const;
    expect(Object.fromEntries(keys.map((key) => [key, total(key)]))).toEqual({
      arrivals: 6,
      clean: 1,
      infected: 3,
      unscannable: 1,
      failed: 1,
      foundLater: 1,
    });
    expect(buckets.at(-1)!.waiting).toBe(2);
    expect(buckets[0]!.waiting).toBe(0);
    await clearAll(pb);
    await pb.sql("UPDATE av_build_checks SET not_before = '' WHERE status = 'pending'");
    await clearAll(pb);
    const later = await statsOf(pb, '?hours=1');
    expect(later, 'kept for ten seconds').toEqual({ ...rest, buckets });
    const fresh = await statsOf(pb, '?hours=2');
    expect(fresh.buckets.reduce((sum, bucket) => sum + bucket.clean, 0)).toBe(3);
    await upload(pb, { 'a.txt': 'one more' });
    await clearAll(pb);
    expect((await statsOf(pb, '?hours=2')).buckets).toEqual(fresh.buckets);
  });

  it('keeps the length of the queue right for what waited since before the span, and for builds that are gone', async () => {
    await using pb = await startPocketBase();
    const builds = [await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'b.txt': 'b' }), await upload(pb, { 'c.txt': 'c' })];
    await pb.sql(`UPDATE av_build_checks SET pending_since = strftime('%Y-%m-%d %H:%M:%fZ', 'now', '-90 minutes')`);
    await pb.sql(
      `UPDATE av_build_checks SET pending_since = strftime('%Y-%m-%d %H:%M:%fZ', 'now', '-30 minutes') WHERE build = '${builds[2]!.id}'`,
    );
    const { checks } = await claim(pb, { max: 1 });
    await settle(pb, checks.map(clean));
    await pb.client.collection('app_builds').delete(builds.find(({ id }) => id === checks[0]!.build)!.id);
    const { buckets } = await statsOf(pb, '?hours=1');
    expect(buckets[0]!.waiting).toBe(2);
    expect(buckets[40]!.waiting).toBe(3);
    expect(buckets.at(-1)!.waiting).toBe(2);
    expect(buckets.reduce((sum, { arrivals }) => sum + arrivals, 0)).toBe(1);
  });

  it.each([
    ['no JSON', "entry = 'not json'"],
    ['cut short', 'entry = substr(entry, 1, 60)'],
    ['empty', "entry = ''"],
    ['bytes', "entry = X'00ff'"],
    ['a list', "entry = '[1]'"],
    ['of other types', 'entry = \'{"event":"settled","status":{},"waited":"long","wasOpen":[],"open":"x","revision":"zzz","build":7}\''],
    ['of no time', "created = 'yesterday'"],
  ])('counts the others where an entry is %s, as do the pages of uploaders and the making of a check', async (_, forged) => {
    await using pb = await startPocketBase();
    const builds = [await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'b.txt': 'b' })];
    await clearAll(pb);
    await pb.sql(`UPDATE av_scan_history SET ${forged} WHERE seq = (SELECT MAX(seq) FROM av_scan_history)`);
    const { buckets } = await statsOf(pb, '?hours=1');
    expect(buckets.reduce((sum, { clean: cleared }) => sum + cleared, 0)).toBeGreaterThanOrEqual(1);
    const answer = await fetch(`${pb.url}/api/av/builds/${builds[0]!.id}`);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ status: 'clean', usualSeconds: expect.any(Number) });
    await pb.sql(`DELETE FROM av_build_checks WHERE build = '${builds[0]!.id}'`);
    await pb.client.collection('app_builds').update(builds[0]!.id, form({ 'c.txt': 'c' }, 'files+'));
    expect(await checkOf(pb, builds[0]!)).toMatchObject({ status: 'pending', revision: 2 });
    expect(await verifyOf(pb)).toMatchObject({ ok: false });
  });

  it('is for superusers alone, and for 1 to 720 hours', async () => {
    await using pb = await startPocketBase();
    for (const collection of ['av_agents', 'users']) {
      await pb.client
        .collection(collection)
        .create({ email: 'a@agents.example', password: 'correct horse', passwordConfirm: 'correct horse' });
    }
    const member = async (collection: string) => {
      const client = new Client(pb.url);
      await client.collection(collection).authWithPassword('a@agents.example', 'correct horse');
      return client;
    };
    for (const collection of ['av_agents', 'users'])
      await expect(statsOf({ client: await member(collection) })).rejects.toMatchObject({ status: 403 });
    expect((await statsOf(pb)).hours).toBe(24);
    await expect(statsOf({ client: new Client(pb.url) })).rejects.toMatchObject({ status: 401 });
    for (const bad of ['0', '721', '-1', '1.5', 'x'])
      await expect(statsOf(pb, `?hours=${bad}`), bad).rejects.toMatchObject({ status: 400 });
    expect((await statsOf(pb, '?hours=720')).buckets).toHaveLength(120);
    for (const hours of [2, 3, 5, 8, 13, 48, 100, 168, 500])
      expect((await statsOf(pb, `?hours=${hours}`)).buckets.length).toBeLessThanOrEqual(120);
  });
});
