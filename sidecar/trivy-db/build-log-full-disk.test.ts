import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { BuildLogFiles, BuildLogWriter } from './build-log.ts';

const disk = vi.hoisted(() => ({ isFull: false, refusals: 0 }));

vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  const writeSync = (file: number, bytes: Buffer, from: number, length: number, position: number) => {
    if (!disk.isFull) return real.writeSync(file, bytes, from, length, position);
    // As a disk does that fills up: some of it still fits.
    if (disk.refusals++ === 0) return real.writeSync(file, bytes, from, 10, position);
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  };
  return { ...real, writeSync };
});

it('a log on a full disk goes on when there is space again, and tells what is missing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-log-'));
  try {
    const writer = await BuildLogWriter.open(folder, 'a');
    writer.write('before');
    await eventually('it is on the disk', async () => (await stat(join(folder, 'a.log'))).size > 0);
    disk.isFull = true;
    for (let line = 0; line < 5; line++) writer.write('lost');
    await eventually('they are lost', () => disk.refusals > 1);
    const reader = await new BuildLogFiles(folder).of('a');
    expect(await reader?.total()).toBe(1);
    disk.isFull = false;
    writer.write('after');
    await writer.close();
    const texts = (await reader?.read(1, 9))?.map(({ text }) => text.slice('2026-11-21T16:08:12.345Z '.length));
    expect(texts).toEqual(['before', '5 lines are missing here: they could not be written to the disk', 'after']);
  } finally {
    await rm(folder, { recursive: true });
  }
});
