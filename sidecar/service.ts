/** Wiring: the parts of the scanner role, in the order in which they start and stop. */
import { hostname } from 'node:os';
import { pid } from 'node:process';
import { HOOKS_VERSION } from '../pb_hooks/lib/wire.ts';
import { createEnginePool, type EnginePool } from './clamd/pool.ts';
import { systemClock } from './clock.ts';
import type { Config } from './config.ts';
import { createApp } from './http/app.ts';
import { type Readiness, readiness } from './http/readiness.ts';
import { type HttpServer, listen } from './http/server.ts';
import { createBuildStore } from './pocketbase/build-store.ts';
import { createCheckQueue } from './pocketbase/check-queue.ts';
import { HealthMonitor } from './pocketbase/health.ts';
import { Session } from './pocketbase/session.ts';
import type { Clock } from './scan/ports.ts';
import { Worker } from './scan/worker.ts';
import { createEvents } from './telemetry/events.ts';
import { createLog, type Logger } from './telemetry/log.ts';
import { createMetrics, observe } from './telemetry/metrics.ts';
import { version } from './version.ts';

export interface ServiceOverrides {
  readonly clock?: Clock;
  readonly engines?: EnginePool;
  readonly log?: Logger;
  readonly workerName?: string;
}

export interface Service extends AsyncDisposable {
  /** Listens and begins to work; resolves when it listens, rejects with a sentence when it cannot. Repeating it returns the same start. */
  start(): Promise<void>;
  /** Lets running scans end within the drain time and gives the rest back. Repeating it returns the stop under way. */
  stop(): Promise<void>;
  /** As stop, but gives everything back at once; also hastens a stop under way. */
  kill(): Promise<void>;
  /** Where it listens; null before the start. */
  readonly url: string | null;
  readiness(): Readiness;
}

/** Builds everything and starts nothing. A stopped service is not started again. */
export function createService(config: Config, overrides: ServiceOverrides = {}): Service {
  const log = overrides.log ?? createLog(config.logLevel);
  const metrics = createMetrics();
  const events = createEvents(log, metrics);
  const parts = createParts(config, overrides, events);
  const { session, health, engines, worker } = parts;
  const ask = () => readiness({ session, health, engines: engines.state(), worker: worker.state() });
  observe(metrics, {
    version,
    hooksVersion: HOOKS_VERSION,
    health: () => health.last,
    hooksReady: () => health.why === null,
    worker: () => worker.state(),
    engines: () => engines.state(),
  });
  const app = createApp({
    readiness: ask,
    metrics: metrics.registry,
    metricsToken: config.http.metricsToken,
    notifySecret: config.http.notifySecret,
    wake: () => worker.notify(),
    events,
    now: () => Date.now() / 1000,
  });
  return new ScannerService(parts, () => listen(app, config.http.host, config.http.port), ask, events);
}

type Events = ReturnType<typeof createEvents>;
type Parts = ReturnType<typeof createParts>;

function createParts(config: Config, overrides: ServiceOverrides, events: Events) {
  const { pocketbase, worker: limits } = config;
  const clock = overrides.clock ?? systemClock;
  const session = new Session({ ...pocketbase, onChange: (why) => events.sessionChanged(why) });
  const health = new HealthMonitor({
    session,
    clock,
    onChange: (why) => events.hooksChanged(why),
    onGate: (answer) => events.gateChanged(answer),
  });
  const engines = overrides.engines ?? createEngines(config, clock, events);
  const store = createBuildStore({ url: pocketbase.url, tokens: session });
  const name = overrides.workerName ?? `${hostname()}-${pid}`;
  const queue = createCheckQueue({ session, worker: name, leaseSeconds: limits.leaseSeconds, maxRetries: limits.maxRetries });
  const options = { concurrency: limits.concurrency, leaseMs: limits.leaseSeconds * 1000, pollMs: limits.pollSeconds * 1000 };
  const worker = new Worker(options, { queue, store, scanner: engines, clock, events });
  return { session, health, engines, store, worker };
}

function createEngines({ engines }: Config, clock: Clock, events: Events): EnginePool {
  const options = {
    addresses: engines.addresses,
    stallMs: engines.stallSeconds * 1000,
    timeoutMs: engines.timeoutSeconds * 1000,
    maxSignatureAgeMs: engines.maxSignatureAgeHours * 3_600_000,
    allowTestSignatures: engines.allowTestSignatures,
  };
  return createEnginePool({ ...options, onEvent: (event) => events.engineChanged(event) }, clock);
}

class ScannerService implements Service {
  readonly #parts: Parts;
  readonly #listen: () => Promise<HttpServer>;
  readonly #events: Events;
  readonly #asking = new AbortController();
  readonly readiness: () => Readiness;
  #started: Promise<void> | null = null;
  #stopped: Promise<void> | null = null;
  #server: HttpServer | null = null;
  #monitoring: Promise<void> | null = null;

  constructor(parts: Parts, listenNow: () => Promise<HttpServer>, ask: () => Readiness, events: Events) {
    this.#parts = parts;
    this.#listen = listenNow;
    this.readiness = ask;
    this.#events = events;
  }

  get url(): string | null {
    return this.#server?.url ?? null;
  }

  start(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async kill(): Promise<void> {
    const killed = this.#parts.worker.kill();
    await this.stop();
    await killed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #start(): Promise<void> {
    if (this.#stopped !== null) throw new Error('a stopped service is not started again');
    const { engines, health, worker } = this.#parts;
    this.#server = await this.#listen();
    // Stopped while it began to listen: #stop waits for this and closes what there is.
    if (this.#stopped !== null) return;
    engines.start();
    this.#monitoring = health.run(this.#asking.signal);
    worker.start();
    this.#events.started({ version, url: this.#server.url });
  }

  /** The server closes last: whoever watches /readyz is to see why. */
  async #stop(): Promise<void> {
    this.#events.stopping();
    await this.#started?.catch(() => {});
    const { engines, store, worker } = this.#parts;
    await worker.stop();
    this.#asking.abort();
    await this.#monitoring;
    await engines.stop();
    await this.#server?.close();
    store[Symbol.dispose]();
    this.#events.stopped();
  }
}
