import { access, constants } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { cacheRoot } from './cache.ts';
import { type Report, withPatience } from './report.ts';
import { findProgram, runOrThrow } from './run.ts';
import { isWithin, parseVersion } from './version.ts';

export interface GoSource {
  readonly module: string;
  readonly sum: string;
  readonly package: string;
  /** The Go release that builds it; an older Go fetches this one by itself. */
  readonly toolchain: string;
  readonly ldflags: string;
  /** For GOEXPERIMENT. */
  readonly experiment?: string;
  /** The commit that the module proxy must name as the origin of the module. */
  readonly origin?: string;
}

/** What Go gets to see and how long it may go on. */
export interface GoLimits {
  /** In place of our own environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** Ends it, with what it has started. */
  readonly signal?: AbortSignal;
}

interface DownloadedModule {
  readonly Sum?: string;
  readonly Dir?: string;
  readonly Origin?: { readonly Hash?: string };
}

/**
 * Builds a program out of a Go module at `output`. The module is accepted only with its pinned `h1:` sum, whatever GONOSUMDB or
 * GOFLAGS say, and it is built inside its own tree, where its own go.sum decides about every module below it.
 */
export async function goBuild(source: GoSource, output: string, report: Report, limits: GoLimits = {}): Promise<void> {
  const { go, env: base } = await findGo(source.toolchain, limits);
  const env = { ...base, GOEXPERIMENT: source.experiment ?? '' };
  report(`building ${source.module} with Go (minutes the first time)`);
  await withPatience(report, `building ${source.module}`, async () => {
    const module = JSON.parse(await runOrThrow(go, ['mod', 'download', '-json', source.module], { ...limits, env })) as DownloadedModule;
    if (module.Sum !== source.sum || module.Dir === undefined)
      throw new Error(`the module's sum is ${module.Sum}, not ${source.sum}; refused`);
    if (source.origin !== undefined && module.Origin?.Hash !== source.origin)
      throw new Error(`the module comes from commit ${module.Origin?.Hash ?? 'unknown'}, not ${source.origin}; refused`);
    const flags = ['-mod=readonly', '-trimpath', '-buildvcs=false', '-ldflags', source.ldflags];
    await runOrThrow(go, ['build', ...flags, '-o', output, source.package], { ...limits, env, cwd: module.Dir });
  });
}

/** The import paths of the standard library of the Go that builds `toolchain`. */
export async function standardPackages(toolchain: string, limits: GoLimits = {}): Promise<string[]> {
  const { go, env } = await findGo(toolchain, limits);
  return (await runOrThrow(go, ['list', 'std'], { ...limits, env })).trim().split('\n');
}

async function findGo(toolchain: string, limits: GoLimits): Promise<{ go: string; env: NodeJS.ProcessEnv }> {
  const go = await findProgram('go', ['/usr/local/go/bin', '/usr/lib/go/bin']);
  if (go === null) throw new Error('Go is not installed (the package golang-go, or https://go.dev/dl)');
  return { go, env: await goEnvironment(go, toolchain, limits) };
}

async function goEnvironment(go: string, toolchain: string, limits: GoLimits): Promise<NodeJS.ProcessEnv> {
  const given = limits.env ?? process.env;
  const version = parseVersion(
    await runOrThrow(go, ['env', 'GOVERSION'], { ...limits, env: { ...given, GOTOOLCHAIN: 'local' } }).catch(() => ''),
  );
  const wanted = parseVersion(toolchain);
  if (version === null || wanted === null || (version[0] === 1 && version[1] < 21))
    throw new Error(`Go ${version?.join('.') ?? ''} is too old to fetch Go ${toolchain} by itself: install Go 1.21 or newer`);
  const newEnough = isWithin(version, { atLeast: wanted, below: [Number.POSITIVE_INFINITY, 0, 0] });
  const env = { ...given, GOTOOLCHAIN: newEnough ? 'local' : `go${toolchain}`, GOFLAGS: '', GOWORK: 'off', CGO_ENABLED: '0' };
  if (await isWritable(homedir())) return env;
  return { ...env, GOPATH: join(cacheRoot(), 'go'), GOCACHE: join(cacheRoot(), 'go', 'build') };
}

async function isWritable(folder: string): Promise<boolean> {
  return access(folder, constants.W_OK).then(
    () => true,
    () => false,
  );
}
