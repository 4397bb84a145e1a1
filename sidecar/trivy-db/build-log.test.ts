import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, open, readdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { BuildLogFiles, BuildLogWriter, SHORT_BYTES } from './build-log.ts';
import { MAX_LINE_BYTES } from './build-log-format.ts';
import { INDEX_HEADER, indexRecord, MARK_LINES } from './build-log-index.ts';
import type { BuildLogReader, LogLine } from './model.ts';

const id = '20261121T160812Z-3fa2c1';
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /;
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-log-'));
});

afterEach(async () => {
  vi.restoreAllMocks();
  await rm(folder, { recursive: true });
});

const file = (ending: 'log' | 'idx', build = id) => join(folder, `${build}.${ending}`);

async function readerOf(build = id): Promise<BuildLogReader> {
  const reader = await new BuildLogFiles(folder).of(build);
  if (reader === null) throw new Error('no log');
  return reader;
}

async function writeLines(count: number, build = id): Promise<void> {
  const writer = await BuildLogWriter.open(folder, build);
  for (let line = 1; line <= count; line++) writer.write(`line ${line}`);
  await writer.close();
}

const bare = ({ text }: LogLine) => text.replace(time, '');

/** All lines by number and text, however they are asked for. */
async function expectLines(reader: BuildLogReader, total: number): Promise<void> {
  expect(await reader.total()).toBe(total);
  for (const [first, last] of [
    [1, 3],
    [MARK_LINES - 1, MARK_LINES + 2],
    [total - 2, total],
    [total, total + 50],
    [1, total],
  ] as const) {
    const lines = await reader.read(first, last);
    const numbers = Array.from({ length: Math.min(last, total) - first + 1 }, (_, index) => first + index);
    expect(lines.map(({ number }) => number)).toEqual(numbers);
    expect(lines.map(bare)).toEqual(numbers.map((number) => `line ${number}`));
  }
}

describe('the log of a build', () => {
  it('is read by line number, each line with its time in UTC', async () => {
    await writeLines(1000);
    const reader = await readerOf();
    await expectLines(reader, 1000);
    expect((await reader.read(5, 5))[0]?.text).toMatch(time);
    expect(await reader.read(1001, 2000)).toEqual([]);
    expect(await reader.read(9, 3)).toEqual([]);
    expect((await reader.read(-5, 2)).map(bare)).toEqual(['line 1', 'line 2']);
  });

  it('keeps hostile lines as they are, one for one', async () => {
    const hostile = [
      '<script>alert(1)</script>',
      '\x1b[31mred\x1b[0m',
      'a\0b',
      '\uD800 half',
      '',
      '2026-11-21T16:08:12.345Z~99 forged',
      '~5 x',
    ];
    const writer = await BuildLogWriter.open(folder, id);
    for (const line of hostile) writer.write(line);
    writer.write('two\nlines\r\nin one\r');
    await writer.close();
    const lines = await (await readerOf()).read(1, 100);
    expect(lines.map(bare)).toEqual([...hostile.map((line) => line.replace('\uD800', '\uFFFD')), 'two lines in one ']);
    expect(lines.every(({ cutBytes, text }) => cutBytes === 0 && time.test(text))).toBe(true);
  });

  it('cuts a line of a megabyte and tells how much is missing', async () => {
    const writer = await BuildLogWriter.open(folder, id);
    writer.write('€'.repeat(400_000));
    writer.write('short', 7);
    await writer.close();
    const [long, short] = await (await readerOf()).read(1, 2);
    const kept = Buffer.byteLength(bare(long!));
    expect(kept).toBeGreaterThan(MAX_LINE_BYTES - 3);
    expect(kept).toBeLessThanOrEqual(MAX_LINE_BYTES);
    expect(long!.cutBytes).toBe(1_200_000 - kept);
    expect([bare(short!), short!.cutBytes]).toEqual(['short', 7]);
  });

  it('shows what is not finished only when it is, and counts on from there', async () => {
    await writeLines(300);
    const reader = await readerOf();
    expect(await reader.total()).toBe(300);
    await appendFile(file('log'), '2026-11-21T16:08:12.345Z line 3');
    await expectLines(reader, 300);
    await appendFile(file('log'), '01\n');
    await expectLines(reader, 301);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['is missing', () => rm(file('idx'))],
    ['is empty', () => writeFile(file('idx'), '')],
    ['is something else', () => writeFile(file('idx'), 'x'.repeat(1000))],
    ['lost its end', async () => truncate(file('idx'), (await stat(file('idx'))).size - 60)],
    [
      'is damaged',
      async () =>
        writeFile(
          file('idx'),
          (await readFile(file('idx'))).map((byte, at) => (at % 50 === 49 ? byte ^ 1 : byte)),
        ),
    ],
    ['is of another log', () => writeFile(file('idx'), Buffer.concat([INDEX_HEADER, indexRecord({ line: 70, offset: 71 })]))],
    ['is ahead of the log', () => appendFile(file('idx'), indexRecord({ line: 9999, offset: 9_999_999 }))],
  ])('is read right when its index %s', async (_what, damage) => {
    await writeLines(2000);
    await damage();
    await expectLines(await readerOf(), 2000);
  });

  it('is read right when it lost its own end', async () => {
    await writeLines(2000);
    const whole = await readFile(file('log'), 'utf8');
    await truncate(file('log'), whole.indexOf('line 1500') + 4);
    await expectLines(await readerOf(), 1499);
  });

  it('is gone on with after its writer died in the middle of a line', async () => {
    await writeLines(999);
    await appendFile(file('log'), '2026-11-21T16:08:12.345Z line 1000');
    await rm(file('idx'));
    const writer = await BuildLogWriter.open(folder, id);
    for (let line = 1001; line <= 1300; line++) writer.write(`line ${line}`);
    await writer.close();
    await expectLines(await readerOf(), 1300);
  });

  it('is whole up to its last line after kill -9 of its writer', { timeout: 60_000 }, async () => {
    const module = JSON.stringify(new URL('build-log.ts', import.meta.url).href);
    const source = `
      const { BuildLogWriter } = await import(${module});
      const writer = await BuildLogWriter.open(${JSON.stringify(folder)}, ${JSON.stringify(id)});
      for (let line = 1; ; line++) {
        writer.write('line ' + line);
        if (line % 1000 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['ignore', 'ignore', 'inherit'] });
    await eventually('a megabyte is written', async () => (await stat(file('log'))).size > 1024 * 1024, 20_000);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const stored = await readFile(file('log'), 'utf8');
    await expectLines(await readerOf(), stored.split('\n').length - 1);
  });

  it('costs what is read, in 1 GB of it', async () => {
    const total = 1024 * PER_MEBIBYTE;
    await writeLarge(1024, [0, 512, 1023]);
    expect((await stat(file('log'))).size).toBeGreaterThan(1e9);
    const bytesRead = await countReads();
    const reader = await readerOf();
    expect(await reader.total()).toBe(total);
    expect(bytesRead()).toBeLessThan(1024);
    const lines = await reader.read(total - 999, total);
    expect(lines.map(({ number }) => number)).toEqual(Array.from({ length: 1000 }, (_, index) => total - 999 + index));
    expect(lines.at(-1)?.text).toMatch(/ 16383$/);
    expect((await reader.read(total / 2 + 1, total / 2 + 1))[0]?.text).toMatch(/ 00000$/);
    for await (const followed of reader.follow(total - 1, AbortSignal.timeout(5000))) {
      expect(followed.map(({ number }) => number)).toEqual([total]);
      break;
    }
    expect(bytesRead()).toBeLessThan(512 * 1024);
  });

  it('of a writer that lost the end of its index costs what is missing there', { timeout: 60_000 }, async () => {
    await writeLarge(64, [60, 61, 62, 63]);
    await truncate(file('idx'), (await stat(file('idx'))).size - 24 * 100);
    const bytesRead = await countReads();
    expect(await (await readerOf()).total()).toBe(1024 * 1024);
    expect(bytesRead()).toBeLessThan(101 * MARK_LINES * 64);
  });
});

const PER_MEBIBYTE = (1024 * 1024) / 64;

/**
 * `mebibytes` of lines of 64 bytes, each mebibyte numbered from 0, with an index as the writer makes it. Only the `written` ones have
 * lines: the others are holes, so that it takes no time, and whoever counts or looks for lines there finds none.
 */
async function writeLarge(mebibytes: number, written: readonly number[]): Promise<void> {
  const block = Buffer.from(
    Array.from({ length: PER_MEBIBYTE }, (_, line) => `2026-11-21T16:08:12.345Z ${'.'.repeat(32)} ${String(line).padStart(5, '0')}\n`).join(
      '',
    ),
  );
  expect(block.length).toBe(1024 * 1024);
  const log = await open(file('log'), 'w');
  for (const at of written) await log.write(block, 0, block.length, at * block.length);
  await log.close();
  const marks = Array.from({ length: (mebibytes * PER_MEBIBYTE) / MARK_LINES }, (_, index) => (index + 1) * MARK_LINES);
  await writeFile(
    file('idx'),
    Buffer.concat([INDEX_HEADER, ...marks.map((lines) => indexRecord({ line: lines + 1, offset: lines * 64 }))]),
  );
}

async function countReads(): Promise<() => number> {
  const probe = await open(file('log'));
  const read = vi.spyOn(Object.getPrototypeOf(probe), 'read');
  await probe.close();
  return () => read.mock.calls.reduce((sum, [, , length]) => sum + Number(length), 0);
}

describe('a log that grows too long', () => {
  it('ends with a line that says so', async () => {
    const writer = await BuildLogWriter.open(folder, id, 1000);
    for (let line = 0; line < 100; line++) writer.write('something that is said again and again');
    await writer.close();
    const reader = await readerOf();
    const texts = (await reader.read(1, 1000)).map(bare);
    expect(texts.slice(-2)).toEqual(['something that is said again and again', 'The log is full: the rest is not kept.']);
    expect(texts.length).toBeLessThan(20);
    expect((await stat(file('log'))).size).toBeLessThan(1100);
  });

  it('gives its room back where the disk is full, while it is read and followed, and goes on', async () => {
    const writer = await BuildLogWriter.open(folder, id);
    const reader = await readerOf();
    const text = 'x'.repeat(1000);
    for (let line = 0; line < 3000; line++) writer.write(text);
    await eventually('all is written', async () => (await reader.total()) === 3000);
    const followed: string[] = [];
    const following = (async () => {
      for await (const lines of reader.follow(2999, AbortSignal.timeout(20_000))) followed.push(...lines.map(bare));
    })();
    writer.shorten();
    writer.write('the end');
    await writer.close();
    await following;
    expect((await stat(file('log'))).size).toBeLessThan(SHORT_BYTES + 1000);
    for (const each of [reader, await new BuildLogFiles(folder).of(id)]) {
      const total = await each!.total();
      expect(total).toBeGreaterThan(1000);
      expect(total).toBeLessThan(1030);
      const lines = (await each!.read(1, total)).map(bare);
      expect(lines.slice(0, total - 2).every((line) => line === text)).toBe(true);
      expect(lines.slice(-2)).toEqual([
        expect.stringMatching(/^The disk is full: [\d,]+ bytes of the log were removed here\.$/),
        'the end',
      ]);
    }
  });

  it('stays as it is where it is short', async () => {
    const writer = await BuildLogWriter.open(folder, id);
    writer.write('one');
    writer.shorten();
    writer.write('two');
    await writer.close();
    expect((await (await readerOf()).read(1, 9)).map(bare)).toEqual(['one', 'two']);
  });
});

describe('whoever follows a log', () => {
  it('gets each line once, as it is written, and ends with the build', async () => {
    const writer = await BuildLogWriter.open(folder, id);
    writer.write('line 1');
    const reader = await readerOf();
    const seen: LogLine[] = [];
    const following = (async () => {
      for await (const lines of reader.follow(0, AbortSignal.timeout(20_000))) seen.push(...lines);
    })();
    for (let line = 2; line <= 600; line++) {
      writer.write(`line ${line}`);
      if (line % 100 === 0) await eventually(`line ${line}`, () => seen.length === line);
    }
    await writer.close();
    await following;
    expect(seen.map(bare)).toEqual(Array.from({ length: 600 }, (_, index) => `line ${index + 1}`));
    expect(seen.map(({ number }) => number)).toEqual(Array.from({ length: 600 }, (_, index) => index + 1));
  });

  it('begins where he left off, and gets nothing of a build that is over but the rest', async () => {
    await writeLines(20);
    const seen: number[] = [];
    for await (const lines of (await readerOf()).follow(17, AbortSignal.timeout(5000))) seen.push(...lines.map(({ number }) => number));
    expect(seen).toEqual([18, 19, 20]);
  });

  it('can leave at any time, also while nothing is written', async () => {
    const writer = await BuildLogWriter.open(folder, id);
    writer.write('only one');
    const leave = new AbortController();
    const seen: string[] = [];
    const following = (async () => {
      for await (const lines of (await readerOf()).follow(0, leave.signal)) seen.push(...lines.map(bare));
    })();
    await eventually('the line', () => seen.length === 1);
    leave.abort();
    await following;
    await writer.close();
  });

  it('hears of the end of a log whose writer died, when the next process closes it', async () => {
    await writeLines(3);
    // As after kill -9: the last record of the index, which says that the log is closed, was never written.
    await truncate(file('idx'), INDEX_HEADER.length);
    const seen: string[] = [];
    const following = (async () => {
      for await (const lines of (await readerOf()).follow(0, AbortSignal.timeout(20_000))) seen.push(...lines.map(bare));
    })();
    await eventually('three lines', () => seen.length === 3);
    const next = await BuildLogWriter.open(folder, id);
    next.write('its process died');
    await next.close();
    await following;
    expect(seen).toEqual(['line 1', 'line 2', 'line 3', 'its process died']);
  });
});

describe('the logs', () => {
  it('are found by build, the latest first of all', async () => {
    const logs = new BuildLogFiles(folder);
    expect(await logs.latest()).toBeNull();
    await writeLines(1, '20261120T000000Z-000001');
    await writeLines(2, '20261121T000000Z-000000');
    expect((await logs.latest())?.buildId).toBe('20261121T000000Z-000000');
    expect(await (await logs.of('20261120T000000Z-000001'))?.total()).toBe(1);
    await logs.remove('20261121T000000Z-000000');
    await logs.remove('20261121T000000Z-000000');
    expect(await logs.of('20261121T000000Z-000000')).toBeNull();
    expect((await logs.latest())?.buildId).toBe('20261120T000000Z-000001');
    expect(await new BuildLogFiles(join(folder, 'nowhere')).latest()).toBeNull();
  });

  it.each(['../secret', 'a/b', '', '.', '..', 'a\0', 'x'.repeat(100)])('are not found under the name %j', async (name) => {
    await writeFile(join(folder, 'secret.log'), 'secret\n');
    const logs = new BuildLogFiles(join(folder, 'logs'));
    expect(await logs.of(name)).toBeNull();
    await logs.remove(name);
    await expect(BuildLogWriter.open(folder, name)).rejects.toThrow(/can be no id/);
    expect(await readdir(folder)).toEqual(['secret.log']);
  });

  it('never follow a symbolic link', async () => {
    await writeFile(join(folder, 'target'), 'secret\n');
    await symlink(join(folder, 'target'), file('log'));
    await expect(BuildLogWriter.open(folder, id)).rejects.toThrow(/ELOOP/);
    expect(await readFile(join(folder, 'target'), 'utf8')).toBe('secret\n');
    expect(await new BuildLogFiles(folder).of(id)).toBeNull();
    expect(await new BuildLogFiles(folder).latest()).toBeNull();
  });

  it('forget nothing when one with this name is written anew', async () => {
    const logs = new BuildLogFiles(folder);
    await writeLines(500);
    expect(await (await logs.of(id))?.total()).toBe(500);
    await logs.remove(id);
    await writeLines(3);
    expect(await (await logs.of(id))?.total()).toBe(3);
  });
});
