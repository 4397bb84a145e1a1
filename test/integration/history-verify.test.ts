/** `npm run history:verify` on databases made by a real PocketBase, whole and tampered with. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Verified } from '../../scripts/history/report.ts';
import { openSnapshot } from '../../scripts/history/snapshot.ts';
import { claim, clean, infected, settle, upload } from '../harness/builds.ts';
import { startPocketBase } from '../harness/pocketbase.ts';

const script = fileURLToPath(new URL('../../scripts/history-verify.ts', import.meta.url));
const ROWS = 10;
let folder: string;
/** Of a PocketBase that was stopped, and of one that was killed: the latter with its write-ahead log. */
let stopped: string;
let killed: string;
let keyFile: string;
let last: { seq: number; hash: string };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-verify-'));
  keyFile = join(folder, 'key');
  await writeFile(keyFile, 'test history key\n', { mode: 0o600 });
  const pb = await startPocketBase();
  try {
    for (let n = 1; n <= ROWS; n++) {
      await upload(pb, { 'a.txt': String(n) });
      const { checks } = await claim(pb, { max: 1 });
      await settle(pb, [n % 3 === 0 ? infected(checks[0]!, 'Tëst.Virus-😀\u2028-\ud800') : clean(checks[0]!)]);
    }
    ({ last } = await pb.client.send('/api/av/history/verify', {}));
    await pb.kill('SIGKILL');
    killed = join(folder, 'killed');
    await cp(join(pb.dir, 'pb_data'), killed, { recursive: true });
    await pb.restart();
    await pb.kill('SIGTERM');
    stopped = join(folder, 'stopped.db');
    await copyFile(join(pb.dir, 'pb_data', 'data.db'), stopped);
  } finally {
    await pb.stop();
  }
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function run(args: string[], env: NodeJS.ProcessEnv = {}): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [script, ...args], { env: { PATH: process.env['PATH'], ...env } });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

async function tampered(...queries: string[]): Promise<string> {
  const path = join(await mkdtemp(join(folder, 'tampered-')), 'data.db');
  await copyFile(stopped, path);
  const database = new DatabaseSync(path, { defensive: false });
  for (const query of queries) database.exec(query);
  database.close();
  return path;
}

const verified = async (path: string, ...more: string[]) => {
  const { code, stdout, stderr } = await run([path, '--key-file', keyFile, '--json', ...more]);
  expect(stderr).toBe('');
  return { code, ...(JSON.parse(stdout) as Verified) };
};

async function headFile(content: unknown): Promise<string> {
  const path = join(await mkdtemp(join(folder, 'head-')), 'history-anchor.json');
  await writeFile(path, JSON.stringify(content));
  return path;
}

describe('npm run history:verify', () => {
  it('proves what PocketBase wrote, to its last row, and says from when to when', async () => {
    const { stdout, code } = await run([stopped, '--key-file', keyFile, '--head', await headFile({ ...last, walk: null })]);
    expect(stdout).toMatch(
      /^row 10, kept outside, is there\nwhole: 10 rows, \d{4}-[\d: .-]+Z to \d{4}-[\d: .-]+Z\nlast row: 10 [0-9a-f]{64}\n$/,
    );
    expect(code).toBe(0);
    expect(await verified(stopped)).toMatchObject({ code: 0, ok: true, rows: ROWS, faults: [], more: 0, head: null, last });
    expect((await run([stopped], { AV_HISTORY_KEY: 'test history key' })).stdout).toContain('proved by --head alone');
    expect((await run([stopped], { AV_HISTORY_KEY_FILE: keyFile })).code).toBe(0);
  });

  it('reads what a killed PocketBase left in its write-ahead log, and touches neither file', async () => {
    const seen = async () =>
      Promise.all(
        (await readdir(killed))
          .sort()
          .map(
            async (name) =>
              `${name} ${(await stat(join(killed, name))).mtimeMs} ${(await readFile(join(killed, name)).catch(() => '')).length}`,
          ),
      );
    const before = await seen();
    expect((await stat(join(killed, 'data.db-wal'))).size).toBeGreaterThan(0);
    expect(await verified(join(killed, 'data.db'), '--head', await headFile(last))).toMatchObject({ code: 0, ok: true, rows: ROWS, last });
    expect(await seen()).toEqual(before);
    const withoutLog = join(await mkdtemp(join(folder, 'cut-')), 'data.db');
    await copyFile(join(killed, 'data.db'), withoutLog);
    const { code } = await run([withoutLog, '--key-file', keyFile, '--head', await headFile(last)]);
    expect([1, 2]).toContain(code);
  });

  it.each<[string, string[], Verified['faults']]>([
    [
      'a changed entry',
      ["UPDATE av_scan_history SET entry = replace(entry, 'infected', 'clean') WHERE seq = 3"],
      [{ seq: 3, why: 'changed' }],
    ],
    ['a space in an entry', ["UPDATE av_scan_history SET entry = entry || ' ' WHERE seq = 4"], [{ seq: 4, why: 'changed' }]],
    ['an entry of bytes', ['UPDATE av_scan_history SET entry = CAST(entry AS BLOB) WHERE seq = 4'], [{ seq: 4, why: 'changed' }]],
    ['a changed hash', ["UPDATE av_scan_history SET hash = 'x' WHERE seq = 4"], [{ seq: 4, why: 'changed' }]],
    ['a changed time', ["UPDATE av_scan_history SET created = '2020-01-01 00:00:00.000Z' WHERE seq = 4"], [{ seq: 4, why: 'changed' }]],
    ['a deleted row', ['DELETE FROM av_scan_history WHERE seq = 4'], [{ seq: 4, to: 4, why: 'missing' }]],
    ['deleted first rows', ['DELETE FROM av_scan_history WHERE seq < 4'], [{ seq: 1, to: 3, why: 'missing' }]],
    [
      'an inserted row, the others moved on',
      [
        'UPDATE av_scan_history SET seq = -(seq + 1) WHERE seq >= 4',
        'UPDATE av_scan_history SET seq = -seq WHERE seq < 0',
        "INSERT INTO av_scan_history (id, seq, entry, hash, created) SELECT 'forged', 4, entry, 'x', created FROM av_scan_history WHERE seq = 3",
      ],
      [{ seq: 4, why: 'inserted' }],
    ],
    [
      'a row between two',
      ["INSERT INTO av_scan_history (id, seq, entry, hash) VALUES ('forged', 4.5, '{}', 'x')"],
      [{ seq: 4.5, why: 'inserted' }],
    ],
    [
      'a row that has no number',
      ["INSERT INTO av_scan_history (id, seq, entry, hash) VALUES ('forged', 'zz', '{}', 'x')"],
      [{ seq: 11, why: 'inserted' }],
    ],
    [
      'rows in each other’s place',
      [
        'UPDATE av_scan_history SET seq = -4 WHERE seq = 4',
        'UPDATE av_scan_history SET seq = 4 WHERE seq = 5',
        'UPDATE av_scan_history SET seq = 5 WHERE seq = -4',
      ],
      [
        { seq: 4, why: 'moved', place: 5 },
        { seq: 5, why: 'moved', place: 4 },
      ],
    ],
  ])('finds %s at its row', async (_, queries, faults) => {
    expect(await verified(await tampered(...queries))).toMatchObject({ code: 1, ok: false, faults, more: 0 });
  });

  it('finds a row that the index was made to hide', async () => {
    const index = (where: string) =>
      `UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX idx_av_scan_history_seq ON av_scan_history (seq)${where}' WHERE name = 'idx_av_scan_history_seq'`;
    const path = await tampered('PRAGMA writable_schema = ON', index(' WHERE seq < 5'));
    for (const queries of [
      ["INSERT INTO av_scan_history (id, seq, entry, hash) VALUES ('forged', 5, '{}', 'x')"],
      ['PRAGMA writable_schema = ON', index('')],
    ]) {
      const database = new DatabaseSync(path, { defensive: false });
      for (const query of queries) database.exec(query);
      database.close();
    }
    expect(await verified(path)).toMatchObject({ code: 1, ok: false, rows: ROWS, faults: [], more: 1 });
  });

  it('tells a cut, a history written anew and an older database by the head that was kept', async () => {
    const head = await headFile({ ...last, walk: null });
    const cut = await tampered('DELETE FROM av_scan_history WHERE seq > 7');
    expect(await verified(cut)).toMatchObject({ code: 0, ok: true, rows: 7 });
    expect(await verified(cut, '--head', head)).toMatchObject({ code: 1, ok: false, faults: [], head: { found: 'gone' } });
    const { stdout } = await run([cut, '--key-file', keyFile, '--head', head]);
    expect(stdout).toContain('row 10, kept outside, is gone: the history was cut or an older database put back\nBROKEN: its end of 7 rows');
    const anew = await tampered('UPDATE av_scan_history SET hash = lower(hex(randomblob(32)))');
    expect(await verified(anew, '--head', head)).toMatchObject({ code: 1, ok: false, head: { found: 'replaced' } });
    const text = (await run([anew, '--key-file', keyFile])).stdout;
    expect(text).toContain('rows 1 to 10 are changed');
    expect(text).toContain('is this the key that it was written with?');
  });

  it.each<[string, () => Promise<string[]>, RegExp]>([
    ['there is no key', async () => [stopped], /AV_HISTORY_KEY/],
    ['the key file is missing', async () => [stopped, '--key-file', join(folder, 'none')], /ENOENT/],
    ['there is no database', async () => [join(folder, 'none.db'), '--key-file', keyFile], /unable to open/],
    ['it is no database', async () => [keyFile, '--key-file', keyFile], /not a database/],
    ['it has no history', async () => [await tampered('DROP TABLE av_scan_history'), '--key-file', keyFile], /no such table/],
    [
      'the head is nonsense',
      async () => [stopped, '--key-file', keyFile, '--head', await headFile({ seq: '1' })],
      /as the console keeps it/,
    ],
    ['nothing is named', async () => [], /Name one database/],
  ])('exits 2 where %s', async (_, args, words) => {
    const { code, stderr, stdout } = await run(await args());
    expect(stderr).toMatch(words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });

  it('knows when a database is written while it is read', async () => {
    const path = await tampered();
    const snapshot = await openSnapshot(path);
    onTestFinished(() => snapshot.close());
    expect(await snapshot.isStale()).toBe(false);
    const database = new DatabaseSync(path);
    database.exec("INSERT INTO av_scan_history (id, seq, entry, hash) VALUES ('later', 11, '{}', 'x')");
    expect(await snapshot.isStale()).toBe(true);
    database.close();
    expect(await snapshot.isStale()).toBe(true);
  });

  it('explains itself', async () => {
    expect(await run(['--help'])).toMatchObject({ code: 0, stdout: expect.stringContaining('usage: npm run history:verify') });
  });
});
