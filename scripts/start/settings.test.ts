import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { prepareDataFolder } from './data-folder.ts';
import { HELP, readSettings } from './settings.ts';

describe('the settings of npm start', () => {
  it('have defaults, also for empty variables', () => {
    const settings = readSettings({ PB_PORT: '', DATA_DIR: '' });
    expect(settings.ports).toEqual({ pocketbase: 8090, clamd: 3310, sidecar: 8080 });
    expect(settings.dataFolder).toBe(join(process.cwd(), '.data'));
    expect(settings.password).toBeNull();
  });

  it('tell all problems at once', () => {
    const env = { PB_PORT: 'eighty', PORT: '70000', POCKETBASE_SUPERUSER_PASSWORD: 'short', POCKETBASE_SUPERUSER_EMAIL: 'nobody' };
    for (const name of Object.keys(env)) expect(() => readSettings(env)).toThrow(name);
  });

  it('refuse one port for two parts', () => {
    expect(() => readSettings({ PB_PORT: '8080' })).toThrow('three different ports');
  });

  it('are all in the help', () => {
    for (const name of ['PB_PORT', 'CLAMD_PORT', 'PORT', 'DATA_DIR', 'POCKETBASE_SUPERUSER_EMAIL', 'POCKETBASE_SUPERUSER_PASSWORD', 'HOST'])
      expect(HELP).toMatch(new RegExp(`^  ${name} `, 'm'));
  });
});

describe('the data folder', () => {
  async function emptyFolder(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'pocketwarden-data-'));
    onTestFinished(() => rm(path, { recursive: true, force: true }));
    return join(path, 'data');
  }
  const mode = async (path: string) => (await stat(path)).mode & 0o777;

  it('keeps its secrets to its owner, and for ever', async () => {
    const path = await emptyFolder();
    const first = await prepareDataFolder(path, null);
    const secrets = [first.passwordFile, first.notifySecretFile, first.historyKeyFile];
    const before = await Promise.all(secrets.map((file) => readFile(file, 'utf8')));
    expect(new Set(before).size).toBe(3);
    expect(before.every((secret) => secret.length >= 16)).toBe(true);
    expect(await mode(path)).toBe(0o700);
    for (const file of secrets) expect(await mode(file)).toBe(0o600);
    await prepareDataFolder(path, null);
    expect(await Promise.all(secrets.map((file) => readFile(file, 'utf8')))).toEqual(before);
  });

  it('takes a given password without losing the generated one', async () => {
    const path = await emptyFolder();
    const generated = await readFile((await prepareDataFolder(path, null)).passwordFile, 'utf8');
    const given = await prepareDataFolder(path, 'given by hand');
    expect(await readFile(given.passwordFile, 'utf8')).toBe('given by hand');
    expect(await mode(given.passwordFile)).toBe(0o600);
    expect(await readFile((await prepareDataFolder(path, null)).passwordFile, 'utf8')).toBe(generated);
  });

  it('empties what an interrupted clamd left', async () => {
    const path = await emptyFolder();
    const folder = await prepareDataFolder(path, null);
    await writeFile(join(folder.clamdTemporary, 'clamav-left.tmp'), 'left');
    await prepareDataFolder(path, null);
    await expect(stat(join(folder.clamdTemporary, 'clamav-left.tmp'))).rejects.toThrow('ENOENT');
  });
});
