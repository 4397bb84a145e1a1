import { mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BuildRecords, emptyRecord } from './build-records.ts';
import { type Layout, layoutOf } from './layout.ts';

const id = '20261121T160812Z-3fa2c1';
let layout: Layout;
let records: BuildRecords;

beforeEach(async () => {
  layout = layoutOf(await mkdtemp(`${tmpdir()}/pocketwarden-records-`));
  await mkdir(layout.records);
  records = new BuildRecords(layout);
});
afterEach(async () => {
  vi.useRealTimers();
  await rm(layout.root, { recursive: true });
});

describe('the records', () => {
  it('never show for long what was read in the same tick of the clock as the next change', async () => {
    const tick = new Date();
    const saveInTick = async (outcome: 'succeeded' | null) => {
      await records.save({ ...emptyRecord(id), outcome });
      await utimes(layout.record(id), tick, tick);
      await utimes(layout.records, tick, tick);
    };
    vi.useFakeTimers({ now: tick, toFake: ['Date'] });
    await saveInTick(null);
    expect((await records.all())[0]?.outcome).toBeNull();
    await saveInTick('succeeded');
    vi.setSystemTime(tick.getTime() + 1000);
    expect((await records.all())[0]?.outcome).toBe('succeeded');
  });

  it('show a change by another process, whatever was read before', async () => {
    await records.save(emptyRecord(id));
    await records.all();
    await new BuildRecords(layout).save({ ...emptyRecord(id), outcome: 'failed' });
    expect((await records.all())[0]?.outcome).toBe('failed');
  });

  it('of a version that wrote fewer fields, or more, are read all the same', async () => {
    await writeFile(layout.record(id), JSON.stringify({ id, outcome: 'succeeded', weather: 'fine' }));
    const read = { ...emptyRecord(id), outcome: 'succeeded', startedAt: '2026-11-21T16:08:12.000Z' };
    expect(await records.read(id)).toEqual(read);
    expect(await records.all()).toEqual([read]);
  });

  it.each([
    ['half of one', '{"id":'],
    ['no object', '[]'],
    ['nothing', 'null'],
    ['one of another build', JSON.stringify({ ...emptyRecord(id), id: '20261121T160812Z-000000' })],
    ['one that does not say how it ended', JSON.stringify({ id })],
    ['one that ended as nothing here does', JSON.stringify({ id, outcome: 'postponed' })],
  ])('leave out what is none: %s', async (_what, text) => {
    await writeFile(layout.record(id), text);
    expect(await records.read(id)).toBeNull();
    expect(await records.all()).toEqual([]);
    expect(await records.ids()).toEqual([id]);
    expect(await readFile(layout.record(id), 'utf8')).toBe(text);
  });

  it('do not say that there is none where it could not be read', async () => {
    await mkdir(layout.record(id));
    await expect(records.read(id)).rejects.toThrow(/EISDIR/);
    await expect(records.all()).rejects.toThrow(/EISDIR/);
    expect(await records.read('20261121T160812Z-000000')).toBeNull();
    expect(await records.read('../../etc/passwd')).toBeNull();
  });

  it('are none where there is no folder yet', async () => {
    await rm(layout.records, { recursive: true });
    expect(await records.all()).toEqual([]);
  });
});
