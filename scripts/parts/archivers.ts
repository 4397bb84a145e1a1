import { join } from 'node:path';
import { firstThatWorks } from './attempts.ts';
import { cacheRoot, lookUp, makeInCache } from './cache.ts';
import { type DebianSelection, libraryFolders, systemName, unpackFromDebian } from './debian-packages.ts';
import type { Report } from './report.ts';
import { findProgram, isProgram } from './run.ts';

export interface Archivers {
  /** Where each program is. */
  readonly bin: Readonly<Record<ArchiverName, string>>;
  /** To be added to the environment of each. */
  readonly env: Readonly<Record<string, string>>;
}

const NAMES = [
  '7zz',
  'xz',
  'bzip2',
  'lzip',
  'lz4',
  'lzop',
  'arj',
  'cpio',
  'mksquashfs',
  'genisoimage',
  'qpdf',
  'gcab',
  'msibuild',
] as const;
export type ArchiverName = (typeof NAMES)[number];

const DEBIAN: DebianSelection = {
  what: 'archivers',
  programs: [
    '7zip',
    'xz-utils',
    'bzip2',
    'lzip',
    'lz4',
    'lzop',
    'arj',
    'cpio',
    'squashfs-tools',
    'genisoimage',
    'qpdf',
    'gcab',
    'msitools',
  ],
  mebibytes: 20,
};

/** The programs that people pack their uploads with: those on PATH if all are, else the cache, else Debian's packages, unpacked into it. */
export async function obtainArchivers(report: Report): Promise<Archivers> {
  const system = await systemName();
  const entry = {
    name: `archivers-${system}-${process.arch}`,
    check: (folder: string) => inFolder(folder),
    make: (folder: string) => unpackFromDebian(folder, DEBIAN, report),
  };
  return firstThatWorks(
    'the archivers',
    [
      { from: 'PATH', take: () => complete((name) => findProgram(name), {}) },
      { from: 'the cache', take: () => lookUp(cacheRoot(), entry) },
      { from: `the packages of ${system}`, take: () => makeInCache(cacheRoot(), entry, report) },
    ],
    report,
    `Install them: apt-get install ${DEBIAN.programs.join(' ')}.`,
  );
}

async function inFolder(folder: string): Promise<Archivers | null> {
  const env = { LD_LIBRARY_PATH: (await libraryFolders(folder)).join(':') };
  const find = async (name: string) => {
    // Debian's alternatives are links that an unpacked package lacks.
    const places = [join(folder, 'usr', 'bin', name), join(folder, 'bin', name), join(folder, 'usr', 'bin', `${name}.lzip`)];
    for (const bin of places) if (await isProgram(bin)) return bin;
    return null;
  };
  return complete(find, env);
}

async function complete(find: (name: string) => Promise<string | null>, env: Record<string, string>): Promise<Archivers | null> {
  const found: [string, string][] = [];
  for (const name of NAMES) {
    const bin = await find(name);
    if (bin === null) return null;
    found.push([name, bin]);
  }
  return { bin: Object.fromEntries(found) as Record<ArchiverName, string>, env };
}
