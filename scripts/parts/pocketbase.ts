import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { firstThatWorks } from './attempts.ts';
import { cacheRoot, type Entry, lookUp, makeInCache } from './cache.ts';
import { download } from './download.ts';
import { goBuild } from './go-build.ts';
import { POCKETBASE } from './pins.ts';
import type { Report } from './report.ts';
import { findProgram, run } from './run.ts';
import { unzipMember } from './unzip.ts';
import { formatRange, formatVersion, isWithin, parseVersion, type VersionRange } from './version.ts';

export interface PocketBase {
  readonly bin: string;
  readonly version: string;
}

/** 0.40 alone: the hooks rely on details that PocketBase changes between minor versions. */
const SUPPORTED: VersionRange = { atLeast: [0, 40, 4], below: [0, 41, 0] };

/**
 * A PocketBase that runs: POCKETBASE_BIN, else one on PATH of a supported version, else the cache, else the official release,
 * else built from source with Go. Throws with every reason when none works; an explicit path that does not serve is an error.
 */
export async function obtainPocketBase(report: Report): Promise<PocketBase> {
  const explicit = process.env.POCKETBASE_BIN;
  if (explicit !== undefined && explicit !== '') return explicitly(explicit);
  const root = cacheRoot();
  const entry = (make: Entry<PocketBase>['make']): Entry<PocketBase> => ({ name: cacheName(), check: supportedIn, make });
  return firstThatWorks(
    'PocketBase',
    [
      { from: 'PATH', take: onPath },
      { from: 'the cache', take: () => lookUp(root, { name: cacheName(), check: supportedIn }) },
      {
        from: 'the official release',
        take: () =>
          makeInCache(
            root,
            entry((folder) => fromRelease(folder, report)),
            report,
          ),
      },
      {
        from: 'source',
        take: () =>
          makeInCache(
            root,
            entry((folder) => goBuild(POCKETBASE.go, join(folder, 'pocketbase'), report)),
            report,
          ),
      },
    ],
    report,
    `Install Go 1.21 or newer, or set POCKETBASE_BIN to a PocketBase ${POCKETBASE.version}.`,
  );
}

function cacheName(): string {
  return `pocketbase-${POCKETBASE.version}-${process.platform}-${process.arch}`;
}

async function explicitly(bin: string): Promise<PocketBase> {
  const found = await supported(bin);
  if (found === null) throw new Error(`POCKETBASE_BIN=${bin} is not a PocketBase ${formatRange(SUPPORTED)}. Correct it or unset it.`);
  return found;
}

async function onPath(): Promise<PocketBase | null> {
  const bin = await findProgram('pocketbase');
  return bin === null ? null : supported(bin);
}

function supportedIn(folder: string): Promise<PocketBase | null> {
  return supported(join(folder, 'pocketbase'));
}

async function supported(bin: string): Promise<PocketBase | null> {
  // Even for its version it runs the hooks and migrations it finds, a binary under the temporary folder those of the working directory.
  const result = await run(bin, ['--version', `--hooksDir=${bin}.none`, `--migrationsDir=${bin}.none`], { timeoutMs: 20_000 });
  const version = result.code === 0 ? parseVersion(result.stdout) : null;
  return version !== null && isWithin(version, SUPPORTED) ? { bin, version: formatVersion(version) } : null;
}

async function fromRelease(folder: string, report: Report): Promise<void> {
  const release = POCKETBASE.releases[`${process.platform}-${process.arch}`];
  if (release === undefined) throw new Error(`none is pinned for ${process.platform}-${process.arch}`);
  const archive = join(folder, 'release.zip');
  await download(release.url, release.sha256, archive, report);
  const bin = join(folder, 'pocketbase');
  await writeFile(bin, unzipMember(await readFile(archive), 'pocketbase'));
  await chmod(bin, 0o755);
  await rm(archive);
}
