import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { obtainChromium } from './chromium.ts';
import { systemName } from './debian-packages.ts';
import { obtainGoTool } from './go-tools.ts';
import { BBOLT, CRANE, TRIVY, TRIVY_DB } from './pins.ts';
import { run } from './run.ts';
import { obtainSkopeo } from './skopeo.ts';
import { obtainTrivy } from './trivy.ts';

let folder: string;
const platform = `${process.platform}-${process.arch}`;
const silent = () => {};
const variables = ['TRIVY_DB_BIN', 'BBOLT_BIN', 'CRANE_BIN', 'TRIVY_BIN', 'CHROMIUM_BIN', 'SKOPEO_BIN'];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-tools-'));
  vi.stubEnv('XDG_CACHE_HOME', join(folder, 'cache'));
  vi.stubEnv('PATH', `${join(folder, 'bin')}:/usr/bin:/bin`);
  for (const name of variables) vi.stubEnv(name, '');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

/** A program that prints this, whatever it is asked; `hidden` is in its file alone. */
async function program(path: string, prints: string, hidden = ''): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\ncat <<'END'\n${prints}\nEND\nexit 0\n${hidden}\n`);
  await chmod(path, 0o755);
  return path;
}

const onPath = (name: string) => join(folder, 'bin', name);
const cached = (entry: string, name: string) => join(folder, 'cache', 'pocketwarden', entry, name);

const trivyDbHelp = 'NAME:\n   trivy-db build - build a database file';
const buildInfo = (version: string) => `mod\tgithub.com/aquasecurity/trivy-db\tv${version}\th1:x=`;

describe.each([
  ['bbolt', BBOLT.version, (version: string) => [`bbolt Version: ${version}\nGo Version: go1.26.8`, ''], 'BBOLT_BIN'],
  ['crane', CRANE.version, (version: string) => [`v${version}`, ''], 'CRANE_BIN'],
  ['trivy-db', TRIVY_DB.version, (version: string) => [trivyDbHelp, buildInfo(version)], 'TRIVY_DB_BIN'],
] as const)('obtaining %s', (name, pinned, ofVersion, variable) => {
  const entry = `${name}-${pinned}-${platform}`;

  it('takes the explicit path before anything else, whatever its version', async () => {
    await program(onPath(name), ...(ofVersion(pinned) as [string, string]));
    const mine = await program(join(folder, 'mine'), ...(ofVersion('0.0.9') as [string, string]));
    vi.stubEnv(variable, mine);
    expect(await obtainGoTool(name, silent)).toBe(mine);
  });

  it('refuses an explicit path that is another program', async () => {
    await program(onPath(name), ...(ofVersion(pinned) as [string, string]));
    vi.stubEnv(variable, await program(join(folder, 'mine'), 'hello'));
    await expect(obtainGoTool(name, silent)).rejects.toThrow(`${variable}=${join(folder, 'mine')} is not a ${name} that runs`);
  });

  it('takes the pinned version on PATH, and passes over any other', async () => {
    const stored = await program(cached(entry, name), ...(ofVersion(pinned) as [string, string]));
    const bin = await program(onPath(name), ...(ofVersion(pinned) as [string, string]));
    expect(await obtainGoTool(name, silent)).toBe(bin);
    await program(bin, ...(ofVersion('0.0.9') as [string, string]));
    expect(await obtainGoTool(name, silent)).toBe(stored);
  });

  it('says every reason when there is none and none can be built', async () => {
    await program(cached(entry, name), 'half a program');
    await program(onPath('go'), 'go1.19.8');
    await expect(obtainGoTool(name, silent)).rejects.toThrow(/could not be obtained.*\n.*Go 1\.19\.8 is too old/);
  });
});

describe('a trivy-db of our own', () => {
  /** What go builds here runs only with a driver, as trivy-db does where there is no Go, and prints what that tells it. */
  const built = `#!/bin/sh
test -x "$GOPACKAGESDRIVER" || { echo 'panic: go command required' >&2; exit 2; }
echo 'build a database file'
"$GOPACKAGESDRIVER"`;

  it('needs neither Go nor a home folder to run, wherever it is moved', async () => {
    const module = JSON.stringify({ Sum: TRIVY_DB.go.sum, Dir: folder });
    const build = `while [ "$1" != -o ]; do shift; done; cp ${folder}/built "$2"; chmod 755 "$2"`;
    await writeFile(join(folder, 'built'), built);
    const answers = ['env) echo go1.27.0 ;;', `mod) echo '${module}' ;;`, 'list) echo fmt; echo net/http ;;', `build) ${build} ;;`];
    await mkdir(join(folder, 'bin'));
    await writeFile(onPath('go'), `#!/bin/sh\ncase "$1" in\n${answers.join('\n')}\nesac\n`);
    await chmod(onPath('go'), 0o755);
    const bin = await obtainGoTool('trivy-db', silent);
    expect(bin).toBe(cached(`trivy-db-${TRIVY_DB.version}-${platform}`, 'trivy-db'));
    await rename(dirname(bin), join(folder, 'moved'));
    const { stdout } = await run(join(folder, 'moved', 'trivy-db'), [], { env: { PATH: '/usr/bin:/bin' } });
    expect(JSON.parse(stdout.split('\n')[1] ?? '')).toMatchObject({
      Roots: ['fmt', 'net/http'],
      Packages: [
        { ID: 'fmt', Name: 'fmt', PkgPath: 'fmt' },
        { ID: 'net/http', Name: 'http', PkgPath: 'net/http' },
      ],
    });
  });
});

describe('obtaining Trivy', () => {
  const entry = `trivy-${TRIVY.version}-${platform}`;

  it('builds none unless told to', async () => {
    expect(await obtainTrivy(silent, { build: false })).toBeNull();
  });

  it('takes 0.74 on PATH, then the cache, and none of the compromised versions', async () => {
    const stored = await program(cached(entry, 'trivy'), 'Version: 0.74.0');
    const bin = await program(onPath('trivy'), 'Version: 0.74.3\nVulnerability DB:\n  Version: 2');
    expect(await obtainTrivy(silent, { build: false })).toBe(bin);
    await program(bin, 'Version: 0.69.5');
    expect(await obtainTrivy(silent, { build: false })).toBe(stored);
    vi.stubEnv('TRIVY_BIN', bin);
    await expect(obtainTrivy(silent, { build: false })).rejects.toThrow('is not a Trivy at least 0.74.0 and below 0.75.0');
  });
});

describe('obtaining Chromium', () => {
  it('takes a recent one on PATH by any of its names, and passes over an old one', async () => {
    await program(onPath('chromium'), 'Chromium 80.0.3987.87');
    const bin = await program(onPath('google-chrome'), 'Google Chrome 156.0.8078.79 ');
    expect(await obtainChromium(silent)).toEqual({ bin, version: '156.0.8078.79' });
    vi.stubEnv('CHROMIUM_BIN', onPath('chromium'));
    await expect(obtainChromium(silent)).rejects.toThrow('Correct it or unset it');
  });
});

describe('obtaining skopeo', () => {
  it('gives the unpacked one its own libraries, the one of the machine none', async () => {
    const entry = `skopeo-${await systemName()}-${process.arch}`;
    const stored = await program(cached(entry, 'usr/bin/skopeo'), 'skopeo version 1.9.3');
    await mkdir(cached(entry, 'usr/lib/x86_64-linux-gnu'), { recursive: true });
    vi.stubEnv('PATH', `${join(folder, 'bin')}:/bin`);
    expect(await obtainSkopeo(silent)).toEqual({ bin: stored, env: { LD_LIBRARY_PATH: cached(entry, 'usr/lib/x86_64-linux-gnu') } });
    const bin = await program(onPath('skopeo'), 'skopeo version 1.18.0');
    expect(await obtainSkopeo(silent)).toEqual({ bin, env: {} });
  });
});
