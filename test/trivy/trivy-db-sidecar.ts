/** The compiled sidecar with the trivy-db role alone, on a small real input. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { obtainGoTool } from '../../scripts/parts/go-tools.ts';
import { obtainTrivy } from '../../scripts/parts/trivy.ts';
import type { BuildRecord } from '../../sidecar/trivy-db/model.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningSidecar, startSidecar } from '../harness/sidecar.ts';

const token = 'an operator token of the tests';

export interface TrivyDbSidecar extends AsyncDisposable {
  readonly sidecar: RunningSidecar;
  /** The lists that the database is built from. */
  readonly cacheDir: string;
  /** As Trivy's `--db-repository` takes it. */
  readonly repository: string;
  /** Builds to the end; resolves with the record, whatever the outcome. */
  build(): Promise<BuildRecord>;
  post(path: string): Promise<unknown>;
}

export async function startTrivyDb(env: Readonly<Record<string, string>> = {}): Promise<TrivyDbSidecar> {
  await using started = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-trivy-db-'));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const cacheDir = join(folder, 'cache');
  const nowhere = { pocketbase: { url: 'http://127.0.0.1:1' }, clamd: { address: '127.0.0.1:1' } };
  const sidecar = started.use(
    await startSidecar({
      ...nowhere,
      until: 'listening',
      env: {
        ROLES: 'trivy-db',
        OPERATOR_TOKEN: token,
        TRIVY_DB_CACHE_DIR: cacheDir,
        TRIVY_DB_OUTPUT_DIR: join(folder, 'output'),
        TRIVY_DB_SOURCES: 'nvd,alpine',
        TRIVY_DB_FETCH: 'none',
        TRIVY_DB_MIN_FREE_MIB: '0',
        TRIVY_DB_BIN: await obtainGoTool('trivy-db', () => {}),
        BBOLT_BIN: await obtainGoTool('bbolt', () => {}),
        ...env,
      },
    }),
  );
  const ask = async (method: string, path: string) => {
    const answer = await fetch(`${sidecar.url}${path}`, { method, headers: { Authorization: `Bearer ${token}` } });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const all = started.move();
  return {
    sidecar,
    cacheDir,
    repository: `127.0.0.1:${sidecar.port}/trivy-db:2`,
    post: (path) => ask('POST', path),
    build: async () => {
      const { id } = (await ask('POST', '/api/build')) as { id: string };
      return eventually(
        `build ${id} has ended`,
        async () => {
          const record = (await ask('GET', `/api/builds/${id}`)) as BuildRecord;
          const { build } = (await ask('GET', '/api/status')) as { build: { status: string } };
          return record.outcome === null || build.status === 'running' ? null : record;
        },
        40_000,
      );
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** What makes each build find `canary` with a real Trivy before it is published. */
export async function withCanary(canary: string): Promise<Record<string, string>> {
  const bin = await obtainTrivy(() => {}, { build: false });
  if (bin === null) throw new Error('there is no Trivy on this machine: npm run test:trivy builds one');
  return { TRIVY_BIN: bin, TRIVY_DB_CANARY: canary };
}
