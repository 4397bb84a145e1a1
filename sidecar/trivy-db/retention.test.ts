import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BuildRecords, emptyRecord } from './build-records.ts';
import { layoutOf } from './layout.ts';
import type { Stores } from './leftovers.ts';
import { Publications } from './publications.ts';
import { removeOld } from './retention.ts';

const [one, two, three, four] = [1, 2, 3, 4].map((day) => `2026112${day}T000000Z-000000`) as [string, string, string, string];
let stores: Stores;

beforeEach(async () => {
  const layout = layoutOf(await mkdtemp(join(tmpdir(), 'pocketwarden-retention-')));
  await mkdir(layout.builds);
  await mkdir(layout.records);
  stores = { layout, records: new BuildRecords(layout), publications: new Publications(layout) };
});
afterEach(() => rm(stores.layout.root, { recursive: true }));

async function publish(id: string, publishedAt: string): Promise<void> {
  await mkdir(stores.layout.build(id).path, { recursive: true });
  const before = (await stores.records.read(id)) ?? { ...emptyRecord(id), outcome: 'succeeded' };
  await stores.records.save({ ...before, publishedAt: [...before.publishedAt, publishedAt] });
  await stores.publications.flip({ buildId: id, publishedAt });
}

const keep = async (keepBuilds: number) => {
  await removeOld(stores, { keepBuilds, keepLogs: 100 }, null, async () => {});
  return stores.publications.ids();
};

it('keeps what was published last, not what was begun last: nobody wants what was rolled back from', async () => {
  await publish(one, '2026-11-21T01:00:00Z');
  await publish(two, '2026-11-22T01:00:00Z');
  await publish(three, '2026-11-23T01:00:00Z');
  await publish(one, '2026-11-23T02:00:00Z');
  await publish(four, '2026-11-24T01:00:00Z');
  expect(await keep(2)).toEqual([four, three, one]);
  expect(await keep(1)).toEqual([four, one]);
});

it('keeps the one whose place was taken, whatever its record says: clients have its manifest and come for its archive', async () => {
  await publish(one, '2026-11-21T01:00:00Z');
  await publish(two, '2026-11-22T01:00:00Z');
  await stores.publications.flip({ buildId: one, publishedAt: '2026-11-22T02:00:00Z' });
  await publish(three, '2026-11-23T01:00:00Z');
  await stores.publications.flip({ buildId: three, publishedAt: '2026-11-23T02:00:00Z' });
  expect(await keep(1)).toEqual([three, one]);
  expect(await keep(0)).toEqual([three, one]);
});

it('removes nothing where nobody can tell what is published', async () => {
  await publish(one, '2026-11-21T01:00:00Z');
  await publish(two, '2026-11-22T01:00:00Z');
  await writeFile(stores.layout.published, '{');
  await expect(keep(0)).rejects.toThrow(/does not name the published build/);
  expect(await stores.publications.ids()).toEqual([two, one]);
});
