import { chmod } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { firstThatWorks } from './attempts.ts';
import { cacheRoot, type Entry, lookUp, makeInCache } from './cache.ts';
import { download } from './download.ts';
import { goBuild } from './go-build.ts';
import { DOCKER_COMPOSE } from './pins.ts';
import type { Report } from './report.ts';
import { findProgram, run } from './run.ts';
import { formatRange, isWithin, parseVersion, type VersionRange } from './version.ts';

const SUPPORTED: VersionRange = { atLeast: [2, 20, 0], below: [3, 0, 0] };

/** Where Docker looks for the `docker compose` plugin; the plugin is a whole program and runs without Docker. */
const PLUGIN_FOLDERS = ['/usr/local/lib', '/usr/local/libexec', '/usr/lib', '/usr/libexec'].map((folder) => `${folder}/docker/cli-plugins`);

/**
 * A docker-compose 2 that can validate a compose file (no Docker engine needed): DOCKER_COMPOSE_BIN, else the one of this machine,
 * else the cache, else the official release, else built from source with Go.
 */
export async function obtainDockerCompose(report: Report): Promise<string> {
  const explicit = process.env.DOCKER_COMPOSE_BIN;
  if (explicit !== undefined && explicit !== '') return explicitly(explicit);
  const root = cacheRoot();
  const entry = (make: Entry<string>['make']): Entry<string> => ({ name: cacheName(), check: supportedIn, make });
  const build = (folder: string) => goBuild(DOCKER_COMPOSE.go, join(folder, 'docker-compose'), report);
  return firstThatWorks(
    'docker-compose',
    [
      { from: 'this machine', take: installed },
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
      { from: 'source', take: () => makeInCache(root, entry(build), report) },
    ],
    report,
    `Install Go 1.21 or newer, or set DOCKER_COMPOSE_BIN to a docker-compose ${DOCKER_COMPOSE.version}.`,
  );
}

function cacheName(): string {
  return `docker-compose-${DOCKER_COMPOSE.version}-${process.platform}-${process.arch}`;
}

async function explicitly(bin: string): Promise<string> {
  const found = await supported(bin);
  if (found === null)
    throw new Error(`DOCKER_COMPOSE_BIN=${bin} is not a docker-compose ${formatRange(SUPPORTED)}. Correct it or unset it.`);
  return found;
}

async function installed(): Promise<string | null> {
  const bin = await findProgram('docker-compose', [join(homedir(), '.docker', 'cli-plugins'), ...PLUGIN_FOLDERS]);
  return bin === null ? null : supported(bin);
}

function supportedIn(folder: string): Promise<string | null> {
  return supported(join(folder, 'docker-compose'));
}

async function supported(bin: string): Promise<string | null> {
  const result = await run(bin, ['version', '--short'], { timeoutMs: 20_000 });
  const version = result.code === 0 ? parseVersion(result.stdout) : null;
  return version !== null && isWithin(version, SUPPORTED) ? bin : null;
}

async function fromRelease(folder: string, report: Report): Promise<void> {
  const release = DOCKER_COMPOSE.releases[`${process.platform}-${process.arch}`];
  if (release === undefined) throw new Error(`none is pinned for ${process.platform}-${process.arch}`);
  const bin = join(folder, 'docker-compose');
  await download(release.url, release.sha256, bin, report);
  await chmod(bin, 0o755);
}
