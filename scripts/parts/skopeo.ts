import { join } from 'node:path';
import { firstThatWorks } from './attempts.ts';
import { cacheRoot, lookUp, makeInCache } from './cache.ts';
import { type DebianSelection, libraryFolders, systemName, unpackFromDebian } from './debian-packages.ts';
import type { Report } from './report.ts';
import { findProgram, run } from './run.ts';

export interface Skopeo {
  readonly bin: string;
  /** To be added to its environment. */
  readonly env: Readonly<Record<string, string>>;
}

const DEBIAN: DebianSelection = { what: 'skopeo', programs: ['skopeo'], mebibytes: 6 };

/**
 * A skopeo that runs: SKOPEO_BIN, else the one on PATH, else the cache, else Debian's package, unpacked into the cache. Its default
 * policy and registries are the machine's where it has some: say `--policy` or `--insecure-policy`.
 */
export async function obtainSkopeo(report: Report): Promise<Skopeo> {
  const explicit = process.env.SKOPEO_BIN;
  if (explicit !== undefined && explicit !== '') {
    const found = await running(explicit, {});
    if (found === null) throw new Error(`SKOPEO_BIN=${explicit} is not a skopeo that runs. Correct it or unset it.`);
    return found;
  }
  const system = await systemName();
  const entry = {
    name: `skopeo-${system}-${process.arch}`,
    check: async (folder: string) =>
      running(join(folder, 'usr', 'bin', 'skopeo'), { LD_LIBRARY_PATH: (await libraryFolders(folder)).join(':') }),
    make: (folder: string) => unpackFromDebian(folder, DEBIAN, report),
  };
  const onPath = async () => {
    const bin = await findProgram('skopeo');
    return bin === null ? null : running(bin, {});
  };
  return firstThatWorks(
    'skopeo',
    [
      { from: 'PATH', take: onPath },
      { from: 'the cache', take: () => lookUp(cacheRoot(), entry) },
      { from: `the packages of ${system}`, take: () => makeInCache(cacheRoot(), entry, report) },
    ],
    report,
    'Install skopeo (apt-get install skopeo, brew install skopeo), or set SKOPEO_BIN.',
  );
}

async function running(bin: string, env: Readonly<Record<string, string>>): Promise<Skopeo | null> {
  const { code, stdout } = await run(bin, ['--version'], { timeoutMs: 20_000, env: { ...process.env, ...env } });
  return code === 0 && stdout.includes('skopeo') ? { bin, env } : null;
}
