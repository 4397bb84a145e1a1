import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { firstThatWorks } from './attempts.ts';
import { cacheRoot, type Entry, lookUp, makeInCache } from './cache.ts';
import { type DebianSelection, libraryFolders, systemName, unpackFromDebian } from './debian-packages.ts';
import { download } from './download.ts';
import { CLAMAV } from './pins.ts';
import type { Report } from './report.ts';
import { findProgram, isProgram, run, runOrThrow } from './run.ts';
import { formatRange, formatVersion, isWithin, parseVersion, type VersionRange } from './version.ts';

export interface Clamd {
  readonly clamd: string;
  /** Null where only the daemon could be found. */
  readonly freshclam: string | null;
  readonly clamdscan: string | null;
  readonly version: string;
  /** To be added to the environment of the ClamAV programs, and of no other. */
  readonly env: Readonly<Record<string, string>>;
}

/** As Debian and Ubuntu package it; other versions than 1.4 are none of ours. */
const DEBIAN: DebianSelection = {
  what: 'ClamAV',
  programs: ['clamav-daemon', 'clamav-freshclam', 'clamdscan'],
  version: { pattern: /^1\.4\./, words: '1.4' },
  mebibytes: 27,
};

const SUPPORTED: VersionRange = { atLeast: [1, 4, 0], below: [1, 6, 0] };

/** Not on the PATH of an ordinary user of Debian. */
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/opt/homebrew/sbin', '/usr/local/bin', '/usr/bin'];

/**
 * A clamd that runs: CLAMD_BIN, else one of this machine of a supported version, else the cache, else ClamAV's official package,
 * else Debian's packages; the last two are unpacked into the cache: nothing is installed, root is not needed.
 * Throws with every reason and the one command that would install it.
 */
export async function obtainClamd(report: Report): Promise<Clamd> {
  const explicit = process.env.CLAMD_BIN;
  if (explicit !== undefined && explicit !== '') return explicitly(explicit);
  const root = cacheRoot();
  const system = await systemName();
  const official = `clamav-${CLAMAV.version}-official-${process.arch}`;
  const debian = `clamav-1.4-${system}-${process.arch}`;
  const entry = (name: string, make: Entry<Clamd>['make']): Entry<Clamd> => ({ name, check: inFolder, make });
  return firstThatWorks(
    'clamd',
    [
      { from: 'this machine', take: installed },
      { from: 'the cache', take: async () => (await lookUp(root, entryOf(official))) ?? lookUp(root, entryOf(debian)) },
      {
        from: 'the official release',
        take: () =>
          makeInCache(
            root,
            entry(official, (folder) => fromRelease(folder, report)),
            report,
          ),
      },
      {
        from: `the packages of ${system}`,
        take: () =>
          makeInCache(
            root,
            entry(debian, (folder) => unpackFromDebian(folder, DEBIAN, report)),
            report,
          ),
      },
    ],
    report,
    `Install ClamAV 1.4 with one command (${installCommand()}) or set CLAMD_BIN.`,
  );
}

/** How to install clamd on this kind of system, for humans. */
export function installCommand(platform: NodeJS.Platform = process.platform): string {
  if (platform === 'darwin') return 'brew install clamav';
  return 'apt-get install clamav-daemon on Debian or Ubuntu, dnf install clamd on Fedora, apk add clamav-daemon on Alpine';
}

const entryOf = (name: string) => ({ name, check: inFolder });

async function explicitly(bin: string): Promise<Clamd> {
  const found = await supported(bin, {});
  if (found === null) throw new Error(`CLAMD_BIN=${bin} is not a clamd ${formatRange(SUPPORTED)}. Correct it or unset it.`);
  return found;
}

async function installed(): Promise<Clamd | null> {
  const bin = await findProgram('clamd', SYSTEM_FOLDERS);
  return bin === null ? null : supported(bin, {});
}

/** ClamAV unpacked below a folder, be it under usr (Debian) or usr/local (official). */
async function inFolder(folder: string): Promise<Clamd | null> {
  for (const prefix of [join(folder, 'usr', 'local'), join(folder, 'usr')]) {
    const bin = join(prefix, 'sbin', 'clamd');
    if (await isProgram(bin)) return supported(bin, { LD_LIBRARY_PATH: (await libraryFolders(folder)).join(':') });
  }
  return null;
}

async function supported(bin: string, env: Record<string, string>): Promise<Clamd | null> {
  // Without a readable configuration clamd refuses to tell its version.
  const result = await run(bin, ['--version', '--config-file=/dev/null'], { timeoutMs: 20_000, env: { ...process.env, ...env } });
  const version = result.code === 0 ? parseVersion(result.stdout) : null;
  if (version === null || !isWithin(version, SUPPORTED)) return null;
  const near = [dirname(bin), join(dirname(bin), '..', 'bin')];
  const companion = async (name: string) => (await firstProgram(near, name)) ?? (env.LD_LIBRARY_PATH ? null : findProgram(name));
  return {
    clamd: bin,
    freshclam: await companion('freshclam'),
    clamdscan: await companion('clamdscan'),
    version: formatVersion(version),
    env,
  };
}

async function firstProgram(folders: readonly string[], name: string): Promise<string | null> {
  for (const folder of folders) if (await isProgram(join(folder, name))) return join(folder, name);
  return null;
}

async function fromRelease(folder: string, report: Report): Promise<void> {
  const release = CLAMAV.releases[`${process.platform}-${process.arch}`];
  if (release === undefined) throw new Error(`none is pinned for ${process.platform}-${process.arch}`);
  if ((await findProgram('dpkg-deb')) === null) throw new Error('dpkg-deb is needed to unpack it');
  const archive = join(folder, 'clamav.deb');
  await download(release.url, release.sha256, archive, report);
  await mkdir(folder, { recursive: true });
  await runOrThrow('dpkg-deb', ['-x', archive, folder]);
  await rm(archive);
}
