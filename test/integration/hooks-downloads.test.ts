/** How often a build was downloaded, and what the record says of one in which something is found after it was open. */
import { readdir } from 'node:fs/promises';
import { request as rawRequest } from 'node:http';
import { join } from 'node:path';
import Client from 'pocketbase';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BuildAnswer, ClaimedCheck, HealthAnswer, SettleItem } from '../../pb_hooks/lib/wire.ts';
import { type Build, checkOf, claim, clean, clearAll, download, form, infected, settle, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { preparePocketBase, type RunningPocketBase, servePocketBase, startPocketBase } from '../harness/pocketbase.ts';

/** The smallest picture there is, so that PocketBase can make a thumbnail of it. */
const png = Uint8Array.from(
  Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64'),
);

describe('downloads', () => {
  let pb: RunningPocketBase;
  beforeAll(async () => {
    pb = await startPocketBase();
  });
  afterAll(() => pb?.stop());

  const statusOf = (build: Build, client: Client = pb.client): Promise<BuildAnswer> => client.send(`/api/av/builds/${build.id}`, {});
  const counted = async (build: Build) => (await statusOf(build)).downloads;
  const range = (build: Build, value: string) => download(pb, build, { headers: { Range: value } });
  const sweep = async (build: Build, expected: number) => {
    await pb.client.crons.run('av-sweep');
    await eventually('the sweep has added them', async () => (await checkOf(pb, build))['downloads'] === expected);
  };
  const opened = async (files: Parameters<typeof upload>[1] = { a: 'some bytes' }): Promise<Build> => {
    const build = await upload(pb, files);
    await clearAll(pb);
    return build;
  };
  const rescanned = async (build: Build, verdict: (check: ClaimedCheck) => SettleItem) => {
    const body = { reason: 'look again' };
    await pb.client.send(`/api/av/checks/${(await checkOf(pb, build)).id}/rescan`, { method: 'POST', body });
    const { checks } = await claim(pb);
    expect(
      await settle(
        pb,
        checks.map((check) => verdict(check)),
      ),
    ).toMatchObject([{ ok: true }]);
  };
  /** What PocketBase tells of a topic, as it comes. */
  const follow = async (topic: string) => {
    const stop = new AbortController();
    const stream = (await fetch(`${pb.url}/api/realtime`, { signal: stop.signal })).body!.pipeThrough(new TextDecoderStream());
    let text = '';
    const reading = (async () => {
      for await (const chunk of stream) text += chunk;
    })().catch(() => {});
    const clientId = await eventually('the connection has its id', () => /"clientId":"(\w+)"/.exec(text)?.[1]);
    await pb.client.send('/api/realtime', { method: 'POST', body: { clientId, subscriptions: [topic] } });
    return {
      text: () => text,
      async [Symbol.asyncDispose]() {
        stop.abort();
        await reading;
      },
    };
  };
  const lastEntry = async () => {
    const rows = await pb.client.collection('av_scan_history').getList(1, 1, { sort: '-seq' });
    return JSON.parse(rows.items[0]!['entry']);
  };

  it('are those that begin at the first byte', async () => {
    const build = await opened({ 'a.png': png, b: 'more bytes' });
    for (const value of ['bytes=1-', 'bytes=5-9', 'bytes=-3', 'bytes=3-5,0-1']) expect((await range(build, value)).status).toBe(206);
    await download(pb, build, { method: 'HEAD' });
    expect((await download(pb, build, { query: '?thumb=100x100' })).status).toBe(200);
    expect(await counted(build)).toBe(0);
    await download(pb, build);
    await download(pb, build, { name: build.files[1]! });
    expect((await range(build, 'bytes=0-')).status).toBe(206);
    expect((await range(build, 'bytes=0-3')).status).toBe(206);
    expect(await counted(build)).toBe(4);
  });

  it('are those that left: none that was refused, and none of another build', async () => {
    const build = await opened();
    const other = await opened();
    const closed = await upload(pb, { a: 'a' });
    for (let i = 0; i < 3; i++) expect((await download(pb, closed)).status).toBe(403);
    await download(pb, build);
    await clearAll(pb);
    expect(await Promise.all([build, other, closed].map(counted))).toEqual([1, 0, 0]);
  });

  it('are counted however many run at once, and written once a minute', async () => {
    const builds = await Promise.all(Array.from({ length: 5 }, () => upload(pb, { a: 'some bytes' })));
    await clearAll(pb);
    const before = await Promise.all(builds.map((build) => checkOf(pb, build)));
    await Promise.all(Array.from({ length: 100 }, (_, i) => download(pb, builds[i % 5]!)));
    expect(await Promise.all(builds.map((build) => checkOf(pb, build)))).toEqual(before);
    expect(await Promise.all(builds.map(counted))).toEqual([20, 20, 20, 20, 20]);
    for (const build of builds) await sweep(build, 20);
    await download(pb, builds[0]!);
    expect(await counted(builds[0]!)).toBe(21);
    await sweep(builds[0]!, 21);
    expect(await counted(builds[0]!)).toBe(21);
    expect((await checkOf(pb, builds[0]!))['updated']).toBe(before[0]!['updated']);
  });

  it('are told to superusers alone', async () => {
    const build = await opened();
    expect(await statusOf(build)).toHaveProperty('downloads', 0);
    expect(await statusOf(build, new Client(pb.url))).not.toHaveProperty('downloads');
  });

  it('begin anew with each opening', async () => {
    const build = await opened();
    await download(pb, build);
    await sweep(build, 1);
    await pb.client.collection('app_builds').update(build.id, form({ b: 'b' }, 'files+'));
    await clearAll(pb);
    expect(await checkOf(pb, build)).toMatchObject({ open: true, downloads: 0 });
    expect(await counted(build)).toBe(0);
  });

  it('and the time it was open stand with a later finding, which whoever follows the check sees', async () => {
    const build = await opened();
    const { id, opened_at: openedAt } = await checkOf(pb, build);
    await pb.sql(`UPDATE av_build_checks SET opened_at = '2026-01-01 00:00:00.000Z' WHERE id = '${id}'`);
    await download(pb, build);
    await sweep(build, 1);
    await download(pb, build);
    await rescanned(build, clean);
    expect(await checkOf(pb, build)).toMatchObject({ opened_at: '2026-01-01 00:00:00.000Z', open: true });
    expect(await lastEntry()).not.toHaveProperty('openSeconds');
    const health = async (): Promise<HealthAnswer> => pb.client.send('/api/av/health', {});
    const { foundLater } = await health();
    await using followed = await follow(`av_build_checks/${id}`);
    await rescanned(build, infected);
    await eventually('the event has come', () => /"open":false.*"status":"infected"/.test(followed.text()));
    const entry = await lastEntry();
    expect(entry).toMatchObject({ event: 'settled', status: 'infected', wasOpen: true, open: false, downloads: 2 });
    const openFor = (Date.now() - Date.parse('2026-01-01T00:00:00Z')) / 1000;
    expect(Math.abs(entry.openSeconds - openFor)).toBeLessThan(60);
    expect(await checkOf(pb, build)).toMatchObject({ opened_at: '' });
    expect(await counted(build)).toBe(2);
    expect((await health()).foundLater).toBe(foundLater + 1);
    expect(Math.abs(Date.parse(String(openedAt)) - Date.now())).toBeLessThan(60_000);
    await rescanned(build, infected);
    expect(await lastEntry()).not.toHaveProperty('downloads');
    expect((await health()).foundLater).toBe(foundLater + 1);
  });

  it('are not counted twice where a download is cut and goes on', async () => {
    const size = 8 * 1024 * 1024;
    const build = await opened({ a: new Uint8Array(size) });
    const path = `/api/files/${build.collectionId}/${build.id}/${build.files[0]}`;
    const got = await new Promise<number>((resolve, reject) => {
      rawRequest(`${pb.url}${path}`, (response) => {
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > 1024) response.destroy();
        });
        response.on('close', () => resolve(bytes));
      })
        .on('error', reject)
        .end();
    });
    expect(got).toBeLessThan(size);
    expect((await range(build, `bytes=${got}-`)).status).toBe(206);
    expect(await counted(build)).toBe(1);
  });
});

it('counts what an older version opened from its verdict on', async () => {
  const folder = await preparePocketBase();
  const build = await (async () => {
    const older = await servePocketBase(folder);
    const made = await upload(older, { a: 'a' });
    await clearAll(older);
    await older.stop({ keep: true });
    return made;
  })();
  const later = (await readdir(join(folder.dir, 'pb_migrations'))).filter((name) => name >= '9000000006');
  expect(await folder.run(['migrate', 'down', String(later.length)], 'y\n')).toMatchObject({ code: 0 });
  await using pb = await servePocketBase(folder);
  const { scan_time: scanTime, opened_at: openedAt, open, downloads } = await checkOf(pb, build);
  expect({ open, openedAt, downloads }).toEqual({ open: true, openedAt: scanTime, downloads: 0 });
  expect(scanTime).toMatch(/^20/);
});
