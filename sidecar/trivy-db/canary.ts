/** The canary scan: a real Trivy must find a known vulnerability with the very artifact that is about to be published. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BuildFailure } from './build-error.ts';
import type { Publication } from './model.ts';
import type { Run } from './programs.ts';

export interface Canary {
  /** Of Alpine. */
  readonly release: string;
  readonly packageName: string;
  readonly version: string;
  readonly cve: string;
}

/** Serves one publication as a registry of its own that only this machine reaches. */
export type ServeCandidate = (publication: Publication) => Promise<{ /** `host:port` */ readonly address: string } & AsyncDisposable>;

export interface CanaryScan {
  readonly trivy: string;
  readonly canary: Canary;
  readonly publication: Publication;
  /** An empty folder for the root file system and Trivy's cache. */
  readonly folder: string;
}

const ADVICE = 'The published database stays. Check TRIVY_DB_CANARY and TRIVY_BIN; if both are right, the lists are not whole.';

/** Resolves with a sentence when the vulnerability is found; rejects with a BuildFailure in every other case. */
export async function scanForCanary({ trivy, canary, publication, folder }: CanaryScan, serve: ServeCandidate, run: Run): Promise<string> {
  const root = join(folder, 'root');
  const report = join(folder, 'report.json');
  await writeAlpine(root, canary);
  await using registry = await serve(publication);
  const where = ['--cache-dir', join(folder, 'cache'), '--db-repository', `${registry.address}/trivy-db:2`];
  const args = ['rootfs', '--scanners', 'vuln', '--format', 'json', '--output', report, ...where, root];
  await run('trivy', trivy, args, { cwd: folder, env: quiet, onLine: (text) => text.replace(OWN_TIME, ''), advice: ADVICE });
  const found = await foundIn(report);
  const { cve, packageName, version, release } = canary;
  if (!found.some((each) => each.VulnerabilityID === cve && each.PkgName === packageName))
    throw new BuildFailure(`Trivy did not find ${cve} in ${packageName} ${version} of Alpine ${release} with the new database. ${ADVICE}`);
  return `Trivy found ${cve} with the new database.`;
}

const OWN_TIME = /^\d{4}-\d\d-\d\dT[\d:]+(?:Z|[+-][\d:]+)\t/;

/** As variables: a Trivy that does not know one ignores it, where a flag would be an error. */
const quiet = {
  TRIVY_NO_PROGRESS: 'true',
  TRIVY_OFFLINE_SCAN: 'true',
  TRIVY_SKIP_VERSION_CHECK: 'true',
  TRIVY_DISABLE_TELEMETRY: 'true',
};

const reportSchema = z.object({
  Results: z
    .array(z.object({ Vulnerabilities: z.array(z.object({ VulnerabilityID: z.string(), PkgName: z.string() })).optional() }))
    .optional(),
});

async function foundIn(report: string) {
  try {
    const { Results = [] } = reportSchema.parse(JSON.parse(await readFile(report, 'utf8')));
    return Results.flatMap(({ Vulnerabilities = [] }) => Vulnerabilities);
  } catch (thrown) {
    throw new BuildFailure(`Trivy wrote no report that could be read (${thrown instanceof Error ? thrown.name : 'unknown'}). ${ADVICE}`);
  }
}

/** The files by which Trivy knows an Alpine and its packages. */
async function writeAlpine(root: string, { release, packageName, version }: Canary): Promise<void> {
  const full = release.split('.').length > 2 ? release : `${release}.0`;
  const installed = [
    'C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=',
    `P:${packageName}`,
    `V:${version}`,
    'A:x86_64',
    'S:1000',
    'I:2000',
    'T:canary',
    'U:https://example.invalid',
    'L:MIT',
    `o:${packageName}`,
    't:1700000000',
  ];
  await mkdir(join(root, 'etc'), { recursive: true });
  await mkdir(join(root, 'lib/apk/db'), { recursive: true });
  await writeFile(join(root, 'etc/alpine-release'), `${full}\n`);
  await writeFile(
    join(root, 'etc/os-release'),
    `NAME="Alpine Linux"\nID=alpine\nVERSION_ID=${full}\nPRETTY_NAME="Alpine Linux v${release}"\n`,
  );
  await writeFile(join(root, 'lib/apk/db/installed'), `${installed.join('\n')}\n\n`);
}
