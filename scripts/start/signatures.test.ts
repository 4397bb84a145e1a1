import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { lineSplitter } from './log.ts';
import { dateInHeader, obtainSignatures } from './signatures.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-signatures-'));
  vi.stubEnv('XDG_CACHE_HOME', folder);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

/** Without freshclam nothing is asked of the network. */
const clamd = { clamd: 'clamd', freshclam: null, clamdscan: null, version: '1.4.6', env: {} };

async function official(made: Date): Promise<string> {
  const directory = join(folder, 'pocketwarden', 'signatures');
  await writeTo(directory, 'main.cvd', 'ClamAV-VDB:16 Sep 2021 08-32 -0400:62:');
  const [, day, month, year, time] = /^\w+, (\d+) (\w+) (\d+) (\d\d:\d\d)/.exec(made.toUTCString()) ?? [];
  await writeTo(directory, 'daily.cld', `ClamAV-VDB:${day} ${month} ${year} ${time?.replace(':', '-')} +0000:27400:`);
  return directory;
}

async function writeTo(directory: string, name: string, text: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, name), text);
}

describe('signatures', () => {
  it('are the test set where there are no official ones', async () => {
    const test = join(folder, 'test');
    expect(await obtainSignatures(clamd, test, () => {})).toMatchObject({ kind: 'test', directory: test });
    expect(await readdir(test)).not.toEqual([]);
  });

  it('are the official set of yesterday', async () => {
    const directory = await official(new Date(Date.now() - 86_400_000));
    expect(await obtainSignatures(clamd, join(folder, 'test'), () => {})).toMatchObject({ kind: 'official', directory });
  });

  it('are not an official set that the sidecar would refuse for its age', async () => {
    const lines: string[] = [];
    await official(new Date(Date.now() - 8 * 86_400_000));
    expect(await obtainSignatures(clamd, join(folder, 'test'), (line) => lines.push(line))).toMatchObject({ kind: 'test' });
    expect(lines.join()).toContain('too old');
  });

  it.each([
    ['ClamAV-VDB:17 Sep 2026 04-26 -0400:27400:2076000:90:x:y:raynman:1789', '2026-09-17T08:26:00.000Z'],
    ['ClamAV-VDB:7 Jan 2026 10-00 +0000:1:', '2026-01-07T10:00:00.000Z'],
    ['not a database', undefined],
  ])('have their date in %j', (header, date) => {
    expect(dateInHeader(header)?.toISOString()).toBe(date);
  });
});

describe('cutting output into lines', () => {
  it('joins what was split, across characters too, and keeps the last words', () => {
    const lines: string[] = [];
    const splitter = lineSplitter((line) => lines.push(line));
    const bytes = Buffer.from('first\r\nzweite Zeile für uns\nlast words');
    for (const byte of bytes) splitter.push(Buffer.from([byte]));
    splitter.end();
    expect(lines).toEqual(['first', 'zweite Zeile für uns', 'last words']);
  });
});
