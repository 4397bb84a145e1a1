import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const script = fileURLToPath(new URL('../../scripts/orphans.ts', import.meta.url));
const LONG_AGO = new Date('2020-01-01');

let pocketbase: RunningPocketBase;
let storage: string;
let builds: string;
let stored: string;

beforeAll(async () => {
  pocketbase = await startPocketBase();
  storage = join(pocketbase.dir, 'pb_data/storage');
  const record = await pocketbase.client.collection('app_builds').create({ files: [new File(['content'], 'app.bin')] });
  builds = record.collectionId;
  stored = record.id;
  await makeOld(join(storage, builds, stored));
});
afterAll(() => pocketbase?.stop());

async function makeOld(folder: string): Promise<void> {
  for (const name of await readdir(folder)) await utimes(join(folder, name), LONG_AGO, LONG_AGO);
  await utimes(folder, LONG_AGO, LONG_AGO);
}

async function plant(path: string, old: boolean): Promise<void> {
  const folder = join(storage, path);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'left.bin'), 'x'.repeat(1000));
  if (old) await makeOld(folder);
}

async function orphans(args: string[], env: Record<string, string> = {}): Promise<{ code: number | null; output: string }> {
  const login = {
    POCKETBASE_URL: pocketbase.url,
    POCKETBASE_SUPERUSER_EMAIL: superuser.email,
    POCKETBASE_SUPERUSER_PASSWORD: superuser.password,
  };
  const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, ...login, ...env } });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}

const isThere = (path: string) =>
  access(join(storage, path)).then(
    () => true,
    () => false,
  );

describe('npm run orphans', () => {
  it('lists a folder without a row, and changes nothing', async () => {
    await plant(`${builds}/gonegonegonegon`, true);
    const { code, output } = await orphans([storage]);
    expect(output).toMatch(/gonegonegonegon {2}app_builds {2}1 files/);
    expect(output).toContain('1 orphaned folders');
    expect(output).not.toContain(stored);
    expect(code).toBe(0);
    expect(await isThere(`${builds}/gonegonegonegon`)).toBe(true);
  });

  it('removes only what is listed: not a record, not a running upload, not what it does not know', async () => {
    await plant(`${builds}/o'r'id'1=1||xxx`, true);
    await plant(`${builds}/uploadinguploadi`, false);
    await plant('strangecollection/recordrecordreco', true);
    const { code, output } = await orphans([storage, '--remove']);
    expect(output).toContain('left alone: strangecollection');
    expect(code).toBe(0);
    expect(await isThere(`${builds}/gonegonegonegon`)).toBe(false);
    expect(await isThere(`${builds}/o'r'id'1=1||xxx`)).toBe(false);
    expect(await isThere(`${builds}/uploadinguploadi/left.bin`)).toBe(true);
    expect(await isThere('strangecollection/recordrecordreco/left.bin')).toBe(true);
    expect(await isThere(`${builds}/${stored}`)).toBe(true);
  });

  it("refuses another PocketBase's storage", async () => {
    const other = await mkdtemp(join(tmpdir(), 'pocketwarden-storage-'));
    await mkdir(join(other, builds, 'someoneelsessss'), { recursive: true });
    await makeOld(join(other, builds, 'someoneelsessss'));
    const { code, output } = await orphans([other, '--remove']);
    expect(output).toContain('another PocketBase');
    expect(code).toBe(1);
    await access(join(other, builds, 'someoneelsessss'));
    await rm(other, { recursive: true });
  });

  it('says what is wrong in a sentence', async () => {
    expect(await orphans([])).toMatchObject({ code: 1, output: expect.stringContaining('Name one storage folder') });
    expect(await orphans([storage], { POCKETBASE_SUPERUSER_PASSWORD: 'wrong wrong' })).toMatchObject({ code: 1 });
    expect(await orphans(['--help'])).toMatchObject({ code: 0, output: expect.stringContaining('usage: npm run orphans') });
  });
});
