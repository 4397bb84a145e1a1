/** Wiring of the scanner role: PocketBase, the engines, and the worker between them. */
import { hostname } from 'node:os';
import { pid } from 'node:process';
import type { Registry } from '@prometheus-io/client';
import { Hono } from 'hono';
import { createEnginePool, type EnginePool } from '../clamd/pool.ts';
import { systemClock } from '../clock.ts';
import type { PocketBaseConfig, ScannerConfig } from '../config.ts';
import { addNotify } from '../http/notify.ts';
import type { Access } from '../http/operator.ts';
import { scannerReadiness } from '../http/readiness.ts';
import { addScannerRoutes } from '../http/scanner-routes.ts';
import { createBuildStore } from '../pocketbase/build-store.ts';
import { createCheckQueue } from '../pocketbase/check-queue.ts';
import { HealthMonitor } from '../pocketbase/health.ts';
import { Session } from '../pocketbase/session.ts';
import type { Clock } from '../scan/ports.ts';
import { Worker } from '../scan/worker.ts';
import { createEvents } from '../telemetry/events.ts';
import type { Logger } from '../telemetry/log.ts';
import { createMetrics, observe } from '../telemetry/metrics.ts';
import type { Role, ServerEnv } from './role.ts';

export interface ScannerOverrides {
  readonly clock?: Clock;
  readonly engines?: EnginePool;
  readonly workerName?: string;
}

export interface ScannerRoleParts {
  readonly pocketbase: PocketBaseConfig;
  readonly scanner: ScannerConfig;
  readonly access: Pick<Access, 'required'>;
  readonly log: Logger;
  readonly registry: Registry;
}

type Events = ReturnType<typeof createEvents>;

/** Builds everything and starts nothing. */
export function createScannerRole(parts: ScannerRoleParts, overrides: ScannerOverrides = {}): Role {
  const { pocketbase, scanner, access, log, registry } = parts;
  const metrics = createMetrics(registry);
  const events = createEvents(log, metrics);
  const { session, health, engines, store, worker } = createParts(pocketbase, scanner, overrides, events);
  observe(metrics, {
    health: () => health.last,
    hooksReady: () => health.why === null,
    worker: () => worker.state(),
    engines: () => engines.state(),
  });
  const routes = new Hono<ServerEnv>();
  addNotify(routes, { secret: scanner.notifySecret, wake: () => worker.notify(), notified: events.notified, now: () => Date.now() / 1000 });
  addScannerRoutes(routes, {
    access,
    scans: () => worker.scans(),
    worker: () => worker.state(),
    engines: () => engines.state(),
    now: Date.now,
  });
  const asking = new AbortController();
  let monitoring: Promise<void> | null = null;
  return {
    name: 'scanner',
    routes,
    readiness: () => scannerReadiness({ session, health, engines: engines.state(), worker: worker.state() }),
    async start() {
      engines.start();
      monitoring = health.run(asking.signal);
      worker.start();
    },
    async stop() {
      await worker.stop();
      asking.abort();
      await monitoring;
      await engines.stop();
      store[Symbol.dispose]();
    },
    hasten: () => worker.kill(),
  };
}

function createParts(pocketbase: PocketBaseConfig, scanner: ScannerConfig, overrides: ScannerOverrides, events: Events) {
  const clock = overrides.clock ?? systemClock;
  const login = pocketbase.agent === null ? pocketbase.superuser! : ({ ...pocketbase.agent, collection: 'av_agents' } as const);
  const session = new Session({ url: pocketbase.url, ...login, onChange: (why) => events.sessionChanged(why) });
  const health = new HealthMonitor({
    session,
    clock,
    onChange: (why) => events.hooksChanged(why),
    onGate: (answer) => events.gateChanged(answer),
  });
  const engines = overrides.engines ?? createEngines(scanner, clock, events);
  const store = createBuildStore({ url: pocketbase.url, tokens: session });
  const name = overrides.workerName ?? `${hostname()}-${pid}`;
  const queue = createCheckQueue({ session, worker: name, leaseSeconds: scanner.leaseSeconds, maxRetries: scanner.maxRetries });
  const options = { concurrency: scanner.concurrency, leaseMs: scanner.leaseSeconds * 1000, pollMs: scanner.pollSeconds * 1000 };
  const worker = new Worker(options, { queue, store, scanner: engines, clock, events });
  return { session, health, engines, store, worker };
}

function createEngines({ engines }: ScannerConfig, clock: Clock, events: Events): EnginePool {
  const options = {
    addresses: engines.addresses,
    stallMs: engines.stallSeconds * 1000,
    timeoutMs: engines.timeoutSeconds * 1000,
    maxSignatureAgeMs: engines.maxSignatureAgeHours * 3_600_000,
    allowTestSignatures: engines.allowTestSignatures,
  };
  return createEnginePool({ ...options, onEvent: (event) => events.engineChanged(event) }, clock);
}
