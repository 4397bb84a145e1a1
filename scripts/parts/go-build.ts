import { access, constants } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { cacheRoot } from './cache.ts';
import { type Report, withPatience } from './report.ts';
import { findProgram, runOrThrow } from './run.ts';
import { parseVersion } from './version.ts';

export interface GoSource {
  readonly module: string;
  readonly sum: string;
  readonly package: string;
  /** The Go release that builds it; an older Go fetches this one by itself. */
  readonly toolchain: string;
  readonly ldflags: string;
}

/**
 * Builds a program out of a Go module at `output`. The module is accepted only with its pinned `h1:` sum, whatever GONOSUMDB or
 * GOFLAGS say, and it is built inside its own tree, where its own go.sum decides about every module below it.
 */
export async function goBuild(source: GoSource, output: string, report: Report): Promise<void> {
  const go = await findProgram('go', ['/usr/local/go/bin', '/usr/lib/go/bin']);
  if (go === null) throw new Error('Go is not installed (the package golang-go, or https://go.dev/dl)');
  const env = await goEnvironment(go, source.toolchain);
  report(`building ${source.module} with Go (minutes the first time)`);
  await withPatience(report, `building ${source.module}`, async () => {
    const module = JSON.parse(await runOrThrow(go, ['mod', 'download', '-json', source.module], { env })) as { Sum?: string; Dir?: string };
    if (module.Sum !== source.sum || module.Dir === undefined)
      throw new Error(`the module's sum is ${module.Sum}, not ${source.sum}; refused`);
    const flags = ['-mod=readonly', '-trimpath', '-buildvcs=false', '-ldflags', source.ldflags];
    await runOrThrow(go, ['build', ...flags, '-o', output, source.package], { env, cwd: module.Dir });
  });
}

async function goEnvironment(go: string, toolchain: string): Promise<NodeJS.ProcessEnv> {
  const version = parseVersion(
    await runOrThrow(go, ['env', 'GOVERSION'], { env: { ...process.env, GOTOOLCHAIN: 'local' } }).catch(() => ''),
  );
  const wanted = parseVersion(toolchain);
  if (version === null || wanted === null || (version[0] === 1 && version[1] < 21))
    throw new Error(`Go ${version?.join('.') ?? ''} is too old to fetch Go ${toolchain} by itself: install Go 1.21 or newer`);
  const newEnough = version[0] > wanted[0] || version[1] >= wanted[1];
  const env = { ...process.env, GOTOOLCHAIN: newEnough ? 'local' : `go${toolchain}`, GOFLAGS: '', GOWORK: 'off', CGO_ENABLED: '0' };
  if (await isWritable(homedir())) return env;
  return { ...env, GOPATH: join(cacheRoot(), 'go'), GOCACHE: join(cacheRoot(), 'go', 'build') };
}

async function isWritable(folder: string): Promise<boolean> {
  return access(folder, constants.W_OK).then(
    () => true,
    () => false,
  );
}
