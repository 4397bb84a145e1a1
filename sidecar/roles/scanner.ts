/** Wiring of the scanner role: PocketBase, the engines, and the worker between them. */
import { hostname } from 'node:os';
import { pid } from 'node:process';
import type { Registry } from '@prometheus-io/client';
import { Hono } from 'hono';
import { createEnginePool, type EngineEvent, type EnginePool, type EngineState } from '../clamd/pool.ts';
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
import { createVoids } from '../pocketbase/voids.ts';
import type { Clock } from '../scan/ports.ts';
import { Voider } from '../scan/voider.ts';
import { Worker } from '../scan/worker.ts';
import { createEvents } from '../telemetry/events.ts';
import type { Logger } from '../telemetry/log.ts';
import { createMetrics, observe } from '../telemetry/metrics.ts';
import type { Role, ServerEnv } from './role.ts';

export interface ScannerOverrides {
  readonly clock?: Clock;
  readonly engines?: (onEvent: (event: EngineEvent) => void) => EnginePool;
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
  const { session, health, engines, store, worker, voider } = createParts(pocketbase, scanner, overrides, events);
  observe(metrics, {
    health: () => health.last,
    hooksReady: () => health.why === null,
    worker: () => worker.state(),
    engines: () => engines.state(),
    voidsWaiting: () => voider.waiting.length,
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
  let background: Promise<unknown> | null = null;
  return {
    name: 'scanner',
    routes,
    readiness: () => scannerReadiness({ session, health, engines: engines.state(), worker: worker.state(), lies: voider.waiting }),
    async start() {
      engines.start();
      background = Promise.all([health.run(asking.signal), voider.run(asking.signal)]);
      worker.start();
    },
    async stop() {
      await worker.stop();
      asking.abort();
      await background;
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
  const voider = new Voider({ voids: createVoids(session), clock, events });
  const onEvent = (event: EngineEvent) => {
    events.engineChanged(event);
    if (event.kind === 'engine-lied') voider.report(event.lie);
  };
  const engines = overrides.engines?.(onEvent) ?? createEngines(scanner, clock, onEvent);
  const store = createBuildStore({ url: pocketbase.url, tokens: session });
  const name = overrides.workerName ?? `${hostname()}-${pid}`;
  const { leaseSeconds, maxRetries } = scanner;
  const signatures = () => lowestSignatures(engines.state());
  const queue = createCheckQueue({ session, worker: name, leaseSeconds, maxRetries, signatures });
  const options = { concurrency: scanner.concurrency, leaseMs: leaseSeconds * 1000, pollMs: scanner.pollSeconds * 1000 };
  const worker = new Worker(options, { queue, store, scanner: engines, clock, events });
  return { session, health, engines, store, worker, voider };
}

/** Any of them may judge the next build. */
function lowestSignatures(engines: readonly EngineState[]): number | null {
  const numbers = engines.filter(({ ready }) => ready).map(({ engine }) => engine?.signatures ?? 'test');
  return numbers.reduce<number | null>(
    (lowest, number, at) => (number === 'test' || (at > 0 && lowest === null) ? null : Math.min(lowest ?? number, number)),
    null,
  );
}

function createEngines({ engines }: ScannerConfig, clock: Clock, onEvent: (event: EngineEvent) => void): EnginePool {
  const options = {
    addresses: engines.addresses,
    stallMs: engines.stallSeconds * 1000,
    timeoutMs: engines.timeoutSeconds * 1000,
    maxSignatureAgeMs: engines.maxSignatureAgeHours * 3_600_000,
    allowTestSignatures: engines.allowTestSignatures,
  };
  return createEnginePool({ ...options, onEvent }, clock);
}
