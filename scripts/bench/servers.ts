/** Servers of one measure, each a process of its own. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Layout, layoutOf } from '../../sidecar/trivy-db/layout.ts';
import { manifestOf, packArchive } from '../../sidecar/trivy-db/pack.ts';
import { sidecarFlags } from '../sidecar-flags.ts';

export interface RunningServer extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
}

const scripts = {
  bare: fileURLToPath(new URL('./servers/bare.ts', import.meta.url)),
  'trivy-db': fileURLToPath(new URL('./servers/trivy-db.ts', import.meta.url)),
};

/** Runs as Node runs the sidecar; it ends with this process at the latest. */
export async function startServer(name: keyof typeof scripts, env: Readonly<Record<string, string>>): Promise<RunningServer> {
  const child = fork(scripts[name], { execArgv: [...sidecarFlags], env: { PATH: process.env.PATH, ...env } });
  const exited = once(child, 'exit');
  const url = await Promise.race([
    once(child, 'message'),
    exited.then(([code]) => Promise.reject(new Error(`the server ${name} ended with ${code}`))),
  ]);
  return {
    url: String(url[0]),
    pid: child.pid!,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

export interface TrivyDbData extends AsyncDisposable {
  readonly layout: Layout;
  readonly env: Readonly<Record<string, string>>;
}

export const PUBLISHED_BUILD = '20260101T000000Z-abcdef';

/** Folders of the trivy-db role in which a small build is published. */
export async function trivyDbData(): Promise<TrivyDbData> {
  const root = await mkdtemp(join(tmpdir(), 'trivy-db-'));
  const layout = layoutOf(join(root, 'output'));
  const build = layout.build(PUBLISHED_BUILD);
  for (const folder of [build.path, layout.logs, layout.records, join(root, 'cache')]) await mkdir(folder, { recursive: true });
  const builtAt = '2026-01-01T00:00:00Z';
  const metadata = Buffer.from(
    JSON.stringify({ Version: 2, NextUpdate: '2026-01-02T00:00:00Z', UpdatedAt: builtAt, DownloadedAt: '0001-01-01T00:00:00Z' }),
  );
  await writeFile(build.database, Buffer.alloc(64 * 1024, 1));
  await writeFile(build.metadata, metadata);
  const packed = await packArchive(build.database, metadata, build.archive, () => {}, new AbortController().signal);
  await writeFile(build.manifest, manifestOf(packed, (await readFile(build.database)).length, builtAt));
  await writeFile(layout.published, JSON.stringify({ buildId: PUBLISHED_BUILD, publishedAt: builtAt }));
  return {
    layout,
    env: { ROLES: 'trivy-db', TRIVY_DB_OUTPUT_DIR: layout.root, TRIVY_DB_CACHE_DIR: join(root, 'cache'), TRIVY_DB_FETCH: 'none' },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}
