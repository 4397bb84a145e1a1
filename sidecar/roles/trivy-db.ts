/** Wiring of the trivy-db role: the builder and its schedule, its routes, and the registry that Trivy asks. */
import { constants, access as mayAccess } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Registry } from '@prometheus-io/client';
import { type Context, Hono } from 'hono';
import type { TrivyDbConfig } from '../config.ts';
import type { Access } from '../http/operator.ts';
import { type Part, roleReadiness } from '../http/readiness.ts';
import { listen } from '../http/server.ts';
import type { Logger } from '../telemetry/log.ts';
import { createTrivyDbEvents } from '../telemetry/trivy-db-events.ts';
import { createTrivyDbMetrics, observeTrivyDb } from '../telemetry/trivy-db-metrics.ts';
import { BuildLogFiles, BuildLogWriter } from '../trivy-db/build-log.ts';
import { TrivyDbBuilder } from '../trivy-db/builder.ts';
import type { ServeCandidate } from '../trivy-db/canary.ts';
import { freeBytes } from '../trivy-db/disk.ts';
import { layoutOf } from '../trivy-db/layout.ts';
import { BuildLock } from '../trivy-db/lock.ts';
import { nextUpdateOf } from '../trivy-db/metadata.ts';
import type { Builder, BuildLogs } from '../trivy-db/model.ts';
import { createRegistryRoutes, type RegistryParts } from '../trivy-db/registry.ts';
import { createTrivyDbRoutes } from '../trivy-db/routes.ts';
import { runSchedule } from '../trivy-db/schedule.ts';
import type { Role, ServerEnv } from './role.ts';

export interface TrivyDbRole extends Role {
  readonly builder: Builder;
  readonly logs: BuildLogs;
}

type Events = ReturnType<typeof createTrivyDbEvents>;
/** With the address that limits count by, where proxies are trusted to say it. */
type AddressedAccess = Access & { addressOf?(c: Context): string };

/** Builds everything and starts nothing. */
export function createTrivyDbRole(config: TrivyDbConfig, access: AddressedAccess, log: Logger, registry: Registry): TrivyDbRole {
  const events = createTrivyDbEvents(log, createTrivyDbMetrics(registry));
  const layout = layoutOf(config.outputDir);
  const logs = new BuildLogFiles(layout.logs);
  const lock = new BuildLock(resolve(config.lockFile));
  const logFiles = { open: (id: string) => BuildLogWriter.open(layout.logs, id), remove: (id: string) => logs.remove(id) };
  const published: typeof events.published = (...what) => {
    events.published(...what);
    watch.lookAgain();
  };
  const notStarted: typeof events.notStarted = (thrown) => {
    events.notStarted(thrown);
    watch.notStarted(thrown);
  };
  const builder = new TrivyDbBuilder({ config, lock, logs: logFiles, events: { ...events, published }, serveCandidate });
  observeTrivyDb(registry, builder, () => freeBytes(layout.root));
  const stopping = new AbortController();
  const watch = new Watch(builder, {
    TRIVY_DB_LOCK_FILE: resolve(config.lockFile),
    TRIVY_DB_OUTPUT_DIR: layout.root,
    TRIVY_DB_CACHE_DIR: resolve(config.cacheDir),
  });
  let schedule: Promise<void> = Promise.resolve();
  return {
    name: 'trivy-db',
    builder,
    logs,
    routes: routesOf(builder, logs, access, config, events, stopping.signal),
    readiness: () => roleReadiness({ trivyDb: watch.part }, watch.warnings),
    async start() {
      // What is thrown here is what /readyz says.
      await builder.open().catch((thrown) => {
        throw new Error(watch.reason(thrown), { cause: thrown });
      });
      await watch.begin(stopping.signal);
      schedule = scheduled(config, builder, { ...events, notStarted }, stopping.signal);
    },
    async stop() {
      stopping.abort();
      await builder.stop();
      await schedule;
    },
    // A stop ends a running build at once as it is.
    async hasten() {},
  };
}

function routesOf(
  builder: Builder,
  logs: BuildLogs,
  access: AddressedAccess,
  config: TrivyDbConfig,
  events: Events,
  stopping: AbortSignal,
): Hono<ServerEnv> {
  const { username, password } = config.registry;
  const auth = username === null || password === null ? null : { username, password };
  const parts = { builder, logs, access, now: () => Date.now(), events, login: auth, stopping };
  return new Hono<ServerEnv>()
    .route('/', createTrivyDbRoutes({ ...parts, ...(access.addressOf && { addressOf: (c) => access.addressOf!(c) }) }))
    .route('/', createRegistryRoutes({ builder, auth, pulled: events.pulled }));
}

/** Our own registry, with nothing in it but the candidate, on a port of this machine that nobody was told of. */
const serveCandidate: ServeCandidate = async (candidate) => {
  const builder: RegistryParts['builder'] = {
    published: async () => candidate,
    byDigest: async (digest) => (digest === candidate.digest || digest === candidate.archive.digest ? candidate : null),
  };
  const routes = createRegistryRoutes({ builder, auth: null, pulled() {} });
  const server = await listen(routes, '127.0.0.1', 0);
  return { address: `127.0.0.1:${server.port}`, [Symbol.asyncDispose]: () => server.close() };
};

async function scheduled(config: TrivyDbConfig, builder: TrivyDbBuilder, events: Events, signal: AbortSignal): Promise<void> {
  if (config.schedule === null) return;
  const tell = (nextAt: string | null, isWaiting: boolean) => {
    builder.nextScheduledAt = nextAt;
    builder.isWaiting = isWaiting;
  };
  const start = (by: string, unlessSince: Date) => builder.start(by, unlessSince);
  const parts = { expression: config.schedule, jitterMs: config.jitterMs, start, tell, events };
  await runSchedule(parts, signal).catch((thrown) => events.failed('the schedule of the Trivy DB ended', thrown));
}

const LOOK_MS = 30_000;
type Paths = Readonly<Record<'TRIVY_DB_LOCK_FILE' | 'TRIVY_DB_OUTPUT_DIR' | 'TRIVY_DB_CACHE_DIR', string>>;

/** A database this many intervals old means that builds fail, or that nobody starts them. */
const STALE_INTERVALS = 2;

/**
 * What /readyz answers, looked at from time to time: it must not wait for a disk. Whoever reaches the port may read it, so that it names
 * variables and never a path.
 */
class Watch {
  readonly #builder: Builder;
  readonly #paths: Paths;
  part: Part = { ready: false, why: 'the role has not started yet' };
  warnings: readonly string[] = [];
  #notStarted: string | null = null;

  constructor(builder: Builder, paths: Paths) {
    this.#builder = builder;
    this.#paths = paths;
  }

  async begin(signal: AbortSignal): Promise<void> {
    await this.#look();
    const timer = setInterval(() => void this.#look(), LOOK_MS);
    signal.addEventListener('abort', () => clearInterval(timer), { once: true });
  }

  /** After something was published. */
  lookAgain(): void {
    this.#notStarted = null;
    void this.#look();
  }

  /** A scheduled build that could not begin leaves no record. */
  notStarted(thrown: unknown): void {
    this.#notStarted = `The last scheduled build of the Trivy DB could not begin: ${this.reason(thrown)}`;
    void this.#look();
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    try {
      const { TRIVY_DB_OUTPUT_DIR, TRIVY_DB_CACHE_DIR } = this.#paths;
      for (const folder of [TRIVY_DB_OUTPUT_DIR, TRIVY_DB_CACHE_DIR])
        await mayAccess(folder, constants.R_OK | constants.W_OK | constants.X_OK);
      this.part = { ready: true, why: null };
      this.warnings = [...(this.#notStarted === null ? [] : [this.#notStarted]), ...(await this.#findWarnings())];
    } catch (thrown) {
      this.part = { ready: false, why: `a folder of the Trivy DB cannot be written: ${this.reason(thrown)}` };
    }
  }

  /** Why, with the names of variables in place of what they name. */
  reason(thrown: unknown): string {
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    // The longest first: one may lie in another.
    const longest = Object.entries(this.#paths).sort(([, a], [, b]) => b.length - a.length);
    return longest.reduce((said, [variable, path]) => said.replaceAll(path, variable), text);
  }

  async #findWarnings(): Promise<string[]> {
    const published = await this.#builder.published();
    if (published === null) return ['No Trivy DB has been published yet: start a build.'];
    const builtAt = Date.parse(published.builtAt);
    const interval = (nextUpdateOf(published.metadata) ?? builtAt) - builtAt;
    if (Date.now() < builtAt + STALE_INTERVALS * interval) return [];
    return [`The published Trivy DB was built at ${published.builtAt} and is old: look at why builds fail, or set TRIVY_DB_SCHEDULE.`];
  }
}
