import { chmod, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { firstThatWorks } from './attempts.ts';
import { cacheRoot, lookUp, makeInCache } from './cache.ts';
import { type GoLimits, type GoSource, goBuild, standardPackages } from './go-build.ts';
import { BBOLT, CRANE, TRIVY_DB } from './pins.ts';
import type { Report } from './report.ts';
import { findProgram, run } from './run.ts';

export type GoToolName = 'trivy-db' | 'bbolt' | 'crane';

interface GoTool {
  readonly pin: { readonly version: string; readonly go: GoSource };
  /** The variable that names a program to be used in its place. */
  readonly variable: string;
  /** In place of one Go build at `bin`. */
  readonly make?: (bin: string, report: Report, limits: GoLimits) => Promise<void>;
  /** Its version; null when the program is another one or does not run, empty when it is the right one and does not know. */
  readonly versionOf: (bin: string, limits: GoLimits) => Promise<string | null>;
}

/** What is in the cache must run on a machine that has nothing else. */
const BARE = { PATH: '/usr/bin:/bin' };

const TOOLS: Readonly<Record<GoToolName, GoTool>> = {
  'trivy-db': { pin: TRIVY_DB, variable: 'TRIVY_DB_BIN', versionOf: versionOfTrivyDb, make: makeTrivyDb },
  bbolt: { pin: BBOLT, variable: 'BBOLT_BIN', versionOf: (bin, limits) => said(bin, limits, ['version'], /bbolt Version: ([\w.+-]+)/) },
  crane: { pin: CRANE, variable: 'CRANE_BIN', versionOf: (bin, limits) => said(bin, limits, ['version'], /^v?(\d[\w.+-]*)\s*$/m) },
};

/**
 * The path of a tool that runs: what its variable (TRIVY_DB_BIN, BBOLT_BIN, CRANE_BIN) names, else one on PATH of exactly the pinned
 * version, else the cache, else built from the pinned Go module. Throws with every reason when none works; an explicit path that
 * does not serve is an error. `limits` is for all programs that are run on the way; who waits for another process to build goes on waiting.
 */
export async function obtainGoTool(name: GoToolName, report: Report, limits: GoLimits = {}): Promise<string> {
  const { pin, variable, versionOf, make = (bin) => goBuild(pin.go, bin, report, limits) } = TOOLS[name];
  const explicit = process.env[variable];
  if (explicit !== undefined && explicit !== '') {
    if ((await versionOf(explicit, limits)) === null)
      throw new Error(`${variable}=${explicit} is not a ${name} that runs. Correct it or unset it.`);
    return explicit;
  }
  const entry = {
    name: `${name}-${pin.version}-${process.platform}-${process.arch}`,
    check: async (folder: string) => ((await versionOf(join(folder, name), { ...limits, env: BARE })) === null ? null : join(folder, name)),
    make: (folder: string) => make(join(folder, name), report, limits),
  };
  const onPath = async () => {
    const bin = await findProgram(name);
    return bin !== null && (await versionOf(bin, limits)) === pin.version ? bin : null;
  };
  return firstThatWorks(
    name,
    [
      { from: 'PATH', take: onPath },
      { from: 'the cache', take: () => lookUp(cacheRoot(), entry) },
      { from: 'source', take: () => makeInCache(cacheRoot(), entry, report) },
    ],
    report,
    `Install Go 1.21 or newer, or set ${variable} to a ${name} ${pin.version}.`,
  );
}

async function said(bin: string, limits: GoLimits, args: readonly string[], version: RegExp): Promise<string | null> {
  const { code, stdout } = await run(bin, args, { timeoutMs: 20_000, ...limits });
  return code === 0 ? (version.exec(stdout)?.[1] ?? null) : null;
}

/** Its `--version` is 0.0.1 for ever. What Go notes in a program built by `go install` tells; in our own build that is `(devel)`. */
async function versionOfTrivyDb(bin: string, limits: GoLimits): Promise<string | null> {
  if ((await said(bin, limits, ['--help'], /(build a database file)/)) === null) return null;
  const content = (await readFile(bin)).toString('latin1');
  return /\tgithub\.com\/aquasecurity\/trivy-db\tv([\w.-]+)\t/.exec(content)?.[1] ?? '';
}

/**
 * Whatever trivy-db is asked, it first lists the standard library (pkg/vulnsrc/ghsa, init), and panics where there is no Go or no
 * place for Go's cache. The list of the Go that built it is kept beside it, and told by what golang.org/x/tools/go/packages calls a
 * driver: so it runs without Go, and starts in 10 ms instead of 300.
 */
async function makeTrivyDb(bin: string, report: Report, limits: GoLimits): Promise<void> {
  await goBuild(TRIVY_DB.go, `${bin}.bin`, report, limits);
  const names = await standardPackages(TRIVY_DB.go.toolchain, limits);
  const packages = names.map((name) => ({ ID: name, Name: basename(name), PkgPath: name }));
  await writeFile(`${bin}.std.json`, JSON.stringify({ Compiler: 'gc', Roots: names, Packages: packages }));
  const here = 'here=$(dirname "$(readlink -f "$0")")';
  await writeProgram(`${bin}.driver`, [here, `exec cat "$here/${basename(bin)}.std.json"`]);
  await writeProgram(bin, [here, `GOPACKAGESDRIVER="$here/${basename(bin)}.driver" exec "$here/${basename(bin)}.bin" "$@"`]);
}

async function writeProgram(path: string, lines: readonly string[]): Promise<void> {
  await writeFile(path, `${['#!/bin/sh', ...lines].join('\n')}\n`);
  await chmod(path, 0o755);
}
