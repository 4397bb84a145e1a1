/** The trivy-db role in this process, on folders of its own, with the real trivy-db and bbolt. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from '@prometheus-io/client';
import { obtainGoTool } from '../../scripts/parts/go-tools.ts';
import { loadConfig, type TrivyDbConfig } from '../../sidecar/config.ts';
import type { Access } from '../../sidecar/http/operator.ts';
import { createTrivyDbRole, type TrivyDbRole } from '../../sidecar/roles/trivy-db.ts';
import { createLog } from '../../sidecar/telemetry/log.ts';
import type { BuildRecord } from '../../sidecar/trivy-db/model.ts';
import { eventually } from './eventually.ts';
import { plantedSources, plantVulnerability } from './trivy-db-input.ts';

export interface TrivyDbFolders extends AsyncDisposable {
  readonly root: string;
  readonly cacheDir: string;
  readonly outputDir: string;
  /** A shell script of the test's own, as a program. Resolves with its path. */
  script(name: string, text: string): Promise<string>;
  /** What a process needs to work here; `more` wins. */
  env(more?: Readonly<Record<string, string>>): Promise<Record<string, string>>;
}

/** With the smallest input in the cache. */
export async function trivyDbFolders(): Promise<TrivyDbFolders> {
  const root = await mkdtemp(join(tmpdir(), 'pocketwarden-builder-'));
  const cacheDir = join(root, 'cache');
  const outputDir = join(root, 'output');
  await plantVulnerability(cacheDir);
  return {
    root,
    cacheDir,
    outputDir,
    async script(name, text) {
      const path = join(root, name);
      await writeFile(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
      return path;
    },
    env: async (more = {}) => ({
      ROLES: 'trivy-db',
      OPERATOR_TOKEN: 'an operator token of the tests',
      TRIVY_DB_CACHE_DIR: cacheDir,
      TRIVY_DB_OUTPUT_DIR: outputDir,
      TRIVY_DB_SOURCES: plantedSources.join(','),
      TRIVY_DB_FETCH: 'none',
      TRIVY_DB_MIN_FREE_MIB: '0',
      TRIVY_DB_BIN: await obtainGoTool('trivy-db', () => {}),
      BBOLT_BIN: await obtainGoTool('bbolt', () => {}),
      ...more,
    }),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

export interface RunningRole extends AsyncDisposable {
  readonly role: TrivyDbRole;
  readonly config: TrivyDbConfig;
  readonly metrics: Registry;
  /** Its log lines so far, parsed. */
  readonly log: readonly Record<string, unknown>[];
  /** Builds to the end; resolves with the record, whatever the outcome. */
  build(by?: string): Promise<BuildRecord>;
  /** Resolves when the build has ended. */
  ended(id: string): Promise<BuildRecord>;
  /** All lines of the log of a build. */
  logOf(id: string): Promise<string>;
}

const everybody: Access = { operatorOf: async () => null, required: (_c, next) => next() };

/** `limits`: what the variables cannot say, because nobody should run with it. */
export async function startTrivyDbRole(
  folders: TrivyDbFolders,
  env: Readonly<Record<string, string>> = {},
  limits: Partial<TrivyDbConfig> = {},
): Promise<RunningRole> {
  const config = { ...loadConfig(await folders.env(env)).trivyDb!, ...limits };
  const metrics = new Registry();
  const log: Record<string, unknown>[] = [];
  const logger = createLog('info', { write: (line: string) => void log.push(JSON.parse(line)) });
  const role = createTrivyDbRole(config, everybody, logger, metrics);
  await role.start();
  const { builder } = role;
  const ended = (id: string) =>
    eventually(`build ${id} has ended`, async () => isEnded(await builder.build(id), (await builder.state()).running), 30_000);
  return {
    role,
    config,
    metrics,
    log,
    ended,
    build: async (by = 'a test') => ended(await builder.start(by)),
    async logOf(id) {
      const reader = await role.logs.of(id);
      const lines = (await reader?.read(1, (await reader.total()) + 1)) ?? [];
      return lines.map(({ text }) => text).join('\n');
    },
    [Symbol.asyncDispose]: () => role.stop(),
  };
}

/** The record is final a little before the lock is free again. */
function isEnded(record: BuildRecord | null, running: BuildRecord | null): BuildRecord | null {
  return record?.outcome === null || running?.id === record?.id ? null : record;
}
