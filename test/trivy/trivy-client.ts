/** A stock Trivy as somebody else's machine would run it: with nothing of ours but the address of the registry. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../scripts/parts/run.ts';
import { obtainTrivy } from '../../scripts/parts/trivy.ts';

export interface Scan {
  /** Exit code. */
  readonly code: number | null;
  /** `CVE-… package version`, as found. */
  readonly findings: readonly string[];
  /** What Trivy wrote for humans. */
  readonly log: string;
}

export interface ScanOptions {
  /** References as `--db-repository` takes them, in this order. */
  readonly from: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly flags?: readonly string[];
}

export interface TrivyClient extends AsyncDisposable {
  scan(rootfs: string, options: ScanOptions): Promise<Scan>;
  /** The metadata of the database it has; its two dates decide whether it asks for another. */
  metadata(): Promise<{ Version: number; NextUpdate: string; UpdatedAt: string; DownloadedAt: string }>;
  /** As if all of it had happened two days ago. */
  age(): Promise<void>;
}

/** With a cache of its own, empty at first. */
export async function trivyClient(): Promise<TrivyClient> {
  const bin = await obtainTrivy(() => {}, { build: false });
  if (bin === null) throw new Error('there is no Trivy on this machine: npm run test:trivy builds one');
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-trivy-'));
  const metadataFile = join(folder, 'cache', 'db', 'metadata.json');
  const metadata = async () => JSON.parse(await readFile(metadataFile, 'utf8'));
  return {
    scan: async (rootfs, { from, env = {}, flags = [] }) => {
      const repositories = from.flatMap((reference) => ['--db-repository', reference]);
      const args = [
        'rootfs',
        '--scanners',
        'vuln',
        '--format',
        'json',
        '--cache-dir',
        join(folder, 'cache'),
        ...repositories,
        ...flags,
        rootfs,
      ];
      const quiet = { TRIVY_SKIP_VERSION_CHECK: 'true', TRIVY_DISABLE_TELEMETRY: 'true', TRIVY_NO_PROGRESS: 'true' };
      const { code, stdout, stderr } = await run(bin, args, {
        env: { PATH: process.env.PATH, HOME: folder, ...quiet, ...env },
        timeoutMs: 50_000,
      });
      return { code, findings: findingsIn(stdout), log: stderr };
    },
    metadata,
    age: async () => {
      const before = new Date(Date.now() - 48 * 3_600_000).toISOString();
      await writeFile(metadataFile, JSON.stringify({ ...(await metadata()), NextUpdate: before, UpdatedAt: before, DownloadedAt: before }));
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

interface Report {
  readonly Results?: readonly {
    readonly Vulnerabilities?: readonly { readonly VulnerabilityID: string; readonly PkgName: string; readonly InstalledVersion: string }[];
  }[];
}

function findingsIn(json: string): string[] {
  if (json.trim() === '') return [];
  const { Results = [] } = JSON.parse(json) as Report;
  return Results.flatMap(({ Vulnerabilities = [] }) => Vulnerabilities).map(
    (each) => `${each.VulnerabilityID} ${each.PkgName} ${each.InstalledVersion}`,
  );
}
