import { join } from 'node:path';
import { cacheRoot, lookUp, makeInCache } from './cache.ts';
import { goBuild } from './go-build.ts';
import { TRIVY } from './pins.ts';
import type { Report } from './report.ts';
import { findProgram, run } from './run.ts';
import { formatRange, isWithin, parseVersion, type VersionRange } from './version.ts';

/** What was observed about Trivy's fallbacks and freshness holds for this minor version. */
const SUPPORTED: VersionRange = { atLeast: [0, 74, 0], below: [0, 75, 0] };

/**
 * A Trivy that runs: TRIVY_BIN, else the one on PATH of a supported version, else the cache, else, with `build`, built from source,
 * which takes eight minutes and 4 GiB of memory on two cores. Null when there is none and none is to be built. An explicit path
 * that does not serve is an error.
 */
export async function obtainTrivy(report: Report, { build }: { readonly build: boolean }): Promise<string | null> {
  const explicit = process.env.TRIVY_BIN;
  if (explicit !== undefined && explicit !== '') {
    if ((await supported(explicit)) === null)
      throw new Error(`TRIVY_BIN=${explicit} is not a Trivy ${formatRange(SUPPORTED)}. Correct it or unset it.`);
    return explicit;
  }
  const onPath = await findProgram('trivy');
  const entry = {
    name: `trivy-${TRIVY.version}-${process.platform}-${process.arch}`,
    check: (folder: string) => supported(join(folder, 'trivy')),
    make: (folder: string) => goBuild(TRIVY.go, join(folder, 'trivy'), report),
  };
  const found = (onPath === null ? null : await supported(onPath)) ?? (await lookUp(cacheRoot(), entry));
  if (found !== null || !build) return found;
  report('Trivy is built from source: about eight minutes on two cores, once');
  return makeInCache(cacheRoot(), entry, report);
}

async function supported(bin: string): Promise<string | null> {
  // Without a cache folder that cannot exist it would also report the database of whoever runs this.
  const { code, stdout } = await run(bin, ['--version', '--cache-dir', `${bin}.none`], { timeoutMs: 30_000 });
  const version = code === 0 ? parseVersion(/^Version: (\S+)/m.exec(stdout)?.[1] ?? '') : null;
  return version !== null && isWithin(version, SUPPORTED) ? bin : null;
}
