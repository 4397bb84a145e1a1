/** What the test starts: compose.yaml on free ports, with files of its own. */
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { plantedSources, plantVulnerability, writeVulnerableRoot } from '../../test/harness/trivy-db-input.ts';
import type { Report } from '../parts/report.ts';
import { runOrThrow } from '../parts/run.ts';
import { obtainTrivy } from '../parts/trivy.ts';
import { writeTestSignatures } from '../test-signatures.ts';
import type { Compose } from './compose.ts';
import { override } from './override.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Stack {
  readonly compose: Compose;
  readonly pocketbase: string;
  readonly console: string;
  readonly trivyDb: string;
  readonly passwordFile: string;
  readonly secrets: Readonly<Record<string, string>>;
  readonly rootfs: string;
  /** Null where none was built yet: then nobody scans. */
  readonly trivy: string | null;
  /** For whatever a Trivy of this machine keeps. */
  readonly home: string;
}

const secretNames = [
  'superuser_password',
  'agent_password',
  'av_notify_secret',
  'av_history_key',
  'operator_token',
  'session_secret',
  'result_webhook_secret',
] as const;

/** The files that a reader of the README would have: secrets by our own script, and what the test puts over compose.yaml. */
export async function prepareStack(compose: Compose, folder: string, report: Report): Promise<Stack> {
  const below = (name: string) => join(folder, name);
  const [port, consolePort, trivyDbPort] = [await freePort(), await freePort(), await freePort()];
  await mkdir(below('deploy'));
  await cp(join(root, 'deploy/make-secrets.sh'), below('deploy/make-secrets.sh'));
  await runOrThrow('sh', [below('deploy/make-secrets.sh')]);
  await writeTestSignatures(below('signatures'));
  await plantVulnerability(below('lists'));
  await writeVulnerableRoot(below('rootfs'));
  const trivy = await obtainTrivy(report, { build: false });
  const files = {
    secrets: { folder: below('secrets'), names: secretNames },
    signatures: below('signatures'),
    lists: { folder: below('lists'), names: await readdir(below('lists')) },
    rootfs: below('rootfs'),
    hasTrivy: trivy !== null,
  };
  await writeFile(below('override.json'), JSON.stringify(override(files)));
  const secret = async (name: string) => [name, await readFile(join(folder, 'secrets', name), 'utf8')] as const;
  return {
    compose: compose.stack([join(root, 'compose.yaml'), below('override.json')], {
      COMPOSE_PROJECT_NAME: `pocketwarden-test-${process.pid}`,
      COMPOSE_PROFILES: 'trivy-db',
      PB_PORT: String(port),
      CONSOLE_PORT: String(consolePort),
      TRIVY_DB_PORT: String(trivyDbPort),
      TRIVY_DB_URL: 'http://trivy-db:8080',
      TRIVY_DB_SOURCES: plantedSources.join(','),
      TRIVY_DB_MIN_FREE_MIB: '1',
      TRIVY_DB_CANARY: 'alpine 3.20 labpkg 1.2.3-r0 CVE-2099-0001',
    }),
    pocketbase: `http://127.0.0.1:${port}`,
    console: `http://127.0.0.1:${consolePort}`,
    trivyDb: `http://127.0.0.1:${trivyDbPort}`,
    passwordFile: below('secrets/superuser_password'),
    secrets: Object.fromEntries(await Promise.all(secretNames.map(secret))),
    rootfs: below('rootfs'),
    trivy,
    home: folder,
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
