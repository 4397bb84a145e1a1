import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { installCommand, obtainClamd } from './clamd.ts';
import { obtainDockerCompose } from './docker-compose.ts';
import { DOCKER_COMPOSE, POCKETBASE } from './pins.ts';
import { obtainPocketBase } from './pocketbase.ts';

let folder: string;
const platform = `${process.platform}-${process.arch}`;
const silent = () => {};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-parts-'));
  vi.stubEnv('XDG_CACHE_HOME', join(folder, 'cache'));
  vi.stubEnv('PATH', `${join(folder, 'bin')}:/usr/bin:/bin`);
  for (const name of ['POCKETBASE_BIN', 'CLAMD_BIN', 'DOCKER_COMPOSE_BIN']) vi.stubEnv(name, '');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

/** A program that prints one line, whatever it is asked. */
async function program(path: string, prints: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\necho '${prints}'\n`);
  await chmod(path, 0o755);
  return path;
}

const cached = (name: string) => join(folder, 'cache', 'pocketwarden', name);

describe('obtaining PocketBase', () => {
  it('takes the explicit path before anything else', async () => {
    await program(join(folder, 'bin', 'pocketbase'), 'pocketbase version 0.40.4');
    const bin = await program(join(folder, 'mine'), 'pocketbase version 0.40.9');
    vi.stubEnv('POCKETBASE_BIN', bin);
    expect(await obtainPocketBase(silent)).toEqual({ bin, version: '0.40.9' });
  });

  it('refuses an explicit path that does not serve instead of looking elsewhere', async () => {
    await program(join(folder, 'bin', 'pocketbase'), 'pocketbase version 0.40.4');
    vi.stubEnv('POCKETBASE_BIN', await program(join(folder, 'mine'), 'pocketbase version 0.41.0'));
    await expect(obtainPocketBase(silent)).rejects.toThrow(
      /POCKETBASE_BIN=.*mine is not a PocketBase at least 0\.40\.4 and below 0\.41\.0/,
    );
    vi.stubEnv('POCKETBASE_BIN', join(folder, 'nothing'));
    await expect(obtainPocketBase(silent)).rejects.toThrow('Correct it or unset it');
  });

  it('takes a supported one on PATH before the cache', async () => {
    await program(join(cached(`pocketbase-${POCKETBASE.version}-${platform}`), 'pocketbase'), 'pocketbase version 0.40.4');
    const bin = await program(join(folder, 'bin', 'pocketbase'), 'pocketbase version 0.40.5');
    expect(await obtainPocketBase(silent)).toEqual({ bin, version: '0.40.5' });
  });

  it('passes over an unsupported one on PATH', async () => {
    await program(join(folder, 'bin', 'pocketbase'), 'pocketbase version 0.36.8');
    const bin = await program(join(cached(`pocketbase-${POCKETBASE.version}-${platform}`), 'pocketbase'), 'pocketbase version 0.40.4');
    expect(await obtainPocketBase(silent)).toEqual({ bin, version: '0.40.4' });
  });
});

describe('obtaining clamd', () => {
  it('finds its companions beside it', async () => {
    const clamd = await program(join(folder, 'clam', 'sbin', 'clamd'), 'ClamAV 1.4.6/27000/Sat Nov 21 06:04:42 2026');
    const freshclam = await program(join(folder, 'clam', 'bin', 'freshclam'), 'ClamAV 1.4.6');
    vi.stubEnv('CLAMD_BIN', clamd);
    expect(await obtainClamd(silent)).toMatchObject({ clamd, freshclam, version: '1.4.6', env: {} });
  });

  it.each(['ClamAV 1.0.9', 'ClamAV 2.0.0', 'no version'])('refuses an explicit %s', async (prints) => {
    vi.stubEnv('CLAMD_BIN', await program(join(folder, 'clamd'), prints));
    await expect(obtainClamd(silent)).rejects.toThrow('is not a clamd at least 1.4.0 and below 1.6.0');
  });

  it('knows the one command that installs it', () => {
    expect(installCommand('darwin')).toBe('brew install clamav');
    expect(installCommand('linux')).toContain('apt-get install clamav-daemon');
  });
});

describe('obtaining docker-compose', () => {
  it('takes a version 2 on PATH', async () => {
    const bin = await program(join(folder, 'bin', 'docker-compose'), '2.40.3');
    expect(await obtainDockerCompose(silent)).toBe(bin);
  });

  it('passes over a version 1', async () => {
    await program(join(folder, 'bin', 'docker-compose'), '1.29.2');
    const bin = await program(join(cached(`docker-compose-${DOCKER_COMPOSE.version}-${platform}`), 'docker-compose'), '2.40.3');
    expect(await obtainDockerCompose(silent)).toBe(bin);
  });
});
