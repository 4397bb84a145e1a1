/** The Trivy database as operators and Trivy see it. Everything here throws with what is wrong. */
import { eventually } from '../../test/harness/eventually.ts';
import { run } from '../parts/run.ts';
import type { Compose } from './compose.ts';

const FINDING = 'CVE-2099-0001 labpkg 1.2.3-r0';
const BUILD_MS = 120_000;

interface Ended {
  readonly outcome: string | null;
  readonly error: string | null;
  readonly lastLines: readonly string[];
  readonly phases: readonly { readonly name: string; readonly detail: string }[];
}

export class TrivyDb {
  readonly url: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(url: string, operatorToken: string) {
    this.url = url;
    this.#headers = { Authorization: `Bearer ${operatorToken}` };
  }

  /** Trivy goes on to its next repository for a 503, and takes anything else for the end. */
  async expectNothingYet(): Promise<void> {
    const { status } = await fetch(`${this.url}/v2/trivy-db/manifests/2`);
    if (status !== 503) throw new Error(`the registry answers ${status} before the first build`);
    const stranger = await fetch(`${this.url}/api/build`, { method: 'POST' });
    if (stranger.status !== 401) throw new Error(`a build that a stranger asked for was answered ${stranger.status}`);
  }

  /** The id of the build. */
  async start(): Promise<string> {
    const answer = await fetch(`${this.url}/api/build`, { method: 'POST', headers: this.#headers });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`the start of a build was answered ${answer.status}: ${text}`);
    return (JSON.parse(text) as { id: string }).id;
  }

  /** Resolves when the build is the published one. */
  async published(id: string): Promise<void> {
    const record = await eventually(`build ${id} has ended`, () => this.ended(id), BUILD_MS);
    if (record.outcome !== 'succeeded') throw new Error(`build ${id} ${record.outcome}: ${record.error}\n${record.lastLines.join('\n')}`);
    await eventually(`build ${id} is published`, async () => (await this.publishedId()) === id, 10_000);
  }

  /** Null where none is. */
  async publishedId(): Promise<string | null> {
    const { database } = (await this.#json('/api/status')) as { database: { build_id: string | null } };
    return database.build_id;
  }

  /** Its record; null while it runs. */
  async ended(id: string): Promise<Ended | null> {
    const record = (await this.#json(`/api/builds/${id}`)) as Ended;
    return record.outcome === null ? null : record;
  }

  async expectCanaryFound(id: string): Promise<void> {
    const phases = (await this.ended(id))?.phases ?? [];
    const { detail = '' } = phases.find(({ name }) => name === 'publish') ?? {};
    if (!detail.includes(`Trivy found ${FINDING.split(' ')[0]}`)) throw new Error(`its last phase says: ${detail}`);
  }

  async #json(path: string): Promise<unknown> {
    const answer = await fetch(`${this.url}${path}`, { headers: this.#headers });
    if (!answer.ok) throw new Error(`${path} was answered ${answer.status}: ${await answer.text()}`);
    return await answer.json();
  }
}

/** In a container on the network of the registry, as the image of Trivy would. */
export async function scanInContainer(compose: Compose): Promise<void> {
  expectFinding(await compose.try('run', '--rm', '--no-deps', '-T', 'test-scan'));
}

/** From this machine, through the published port. */
export async function scanFromHere(trivy: string, url: string, rootfs: string, home: string): Promise<void> {
  const repository = `${new URL(url).host}/trivy-db:2`;
  const args = ['rootfs', '--scanners', 'vuln', '--format', 'json', '--db-repository', repository, rootfs];
  const env = { PATH: process.env.PATH, HOME: home, TRIVY_SKIP_VERSION_CHECK: 'true', TRIVY_DISABLE_TELEMETRY: 'true' };
  expectFinding(await run(trivy, args, { env, timeoutMs: 60_000 }));
}

interface Report {
  readonly Results?: readonly {
    readonly Vulnerabilities?: readonly { readonly VulnerabilityID: string; readonly PkgName: string; readonly InstalledVersion: string }[];
  }[];
}

function expectFinding({ code, stdout, stderr }: { code: number | null; stdout: string; stderr: string }): void {
  if (code !== 0) throw new Error(`Trivy ended with ${code}: ${stderr.trim().split('\n').slice(-8).join(' | ')}`);
  const { Results = [] } = JSON.parse(stdout) as Report;
  const found = Results.flatMap(({ Vulnerabilities = [] }) => Vulnerabilities).map(
    (each) => `${each.VulnerabilityID} ${each.PkgName} ${each.InstalledVersion}`,
  );
  if (found.join(', ') !== FINDING) throw new Error(`Trivy found ${found.join(', ') || 'nothing'}, not ${FINDING}`);
}
