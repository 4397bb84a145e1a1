/** Wiring: the roles that are switched on, behind one HTTP server, and the order in which they start and stop. */
import { Registry } from '@prometheus-io/client';
import { HOOKS_VERSION } from '../pb_hooks/lib/wire.ts';
import type { Config } from './config.ts';
import { createAccess } from './http/access.ts';
import { createApp } from './http/app.ts';
import { peerInProcess, peerOverHttp } from './http/peers.ts';
import { combined, type Readiness } from './http/readiness.ts';
import { type HttpServer, listen } from './http/server.ts';
import { createSuperusers } from './http/superuser-check.ts';
import { createConsoleRole } from './roles/console.ts';
import type { Role } from './roles/role.ts';
import { RoleRunner } from './roles/role-runner.ts';
import { createScannerRole, type ScannerOverrides } from './roles/scanner.ts';
import { createTrivyDbRole } from './roles/trivy-db.ts';
import { accessEvents } from './telemetry/access-events.ts';
import { processEvents } from './telemetry/events.ts';
import { createLog, type Logger } from './telemetry/log.ts';
import { observeProcess } from './telemetry/process-metrics.ts';
import { version } from './version.ts';

export interface ServiceOverrides extends ScannerOverrides {
  readonly log?: Logger;
}

export interface Service extends AsyncDisposable {
  /** Listens and begins to work; resolves when it listens, rejects with a sentence when it cannot. Repeating it returns the same start. */
  start(): Promise<void>;
  /** Lets what runs end within its drain time and gives the rest back. Repeating it returns the stop under way. */
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
  const registry = new Registry();
  const events = processEvents(log);
  observeProcess(registry, version, HOOKS_VERSION);
  const who = accessEvents(log, registry);
  const superusers = config.pocketbase === null ? null : createSuperusers(config.pocketbase.url);
  const access = createAccess({ config: config.access, superusers, events: who });
  const { pocketbase, scanner, trivyDb, console } = config;
  const roles: RoleRunner[] = [];
  const add = (role: Role) => roles.push(new RoleRunner(role, events));
  if (scanner !== null && pocketbase !== null) add(createScannerRole({ pocketbase, scanner, access, log, registry }, overrides));
  if (trivyDb !== null) add(createTrivyDbRole(trivyDb, access, log, registry));
  if (console !== null && pocketbase !== null) {
    const here = peerInProcess(() => app, access.internalToken);
    const { operatorToken, publicUrl } = config.access;
    const peerAt = (url: string | null) => (url === null || operatorToken === null ? null : peerOverHttp(url, operatorToken));
    const peers = {
      scanner: scanner === null ? peerAt(console.scannerUrl) : here,
      trivyDb: trivyDb === null ? peerAt(console.trivyDbUrl) : here,
    };
    const own = { config: console, pocketbase, access, accessEvents: who, publicUrl, hasOperatorToken: operatorToken !== null };
    add(createConsoleRole({ ...own, peers, log, registry }));
  }
  const readiness = () => combined(roles.map((role) => role.readiness()));
  const app = createApp({
    readiness,
    access,
    metrics: registry,
    metricsToken: config.http.metricsToken,
    routes: roles.map(({ role }) => role.routes),
    requestFailed: events.requestFailed,
  });
  return new RoleService(roles, () => listen(app, config.http.host, config.http.port), readiness, events);
}

type Events = ReturnType<typeof processEvents>;

class RoleService implements Service {
  readonly #roles: readonly RoleRunner[];
  readonly #listen: () => Promise<HttpServer>;
  readonly #events: Events;
  readonly readiness: () => Readiness;
  #started: Promise<void> | null = null;
  #stopped: Promise<void> | null = null;
  #server: HttpServer | null = null;

  constructor(roles: readonly RoleRunner[], listenNow: () => Promise<HttpServer>, ask: () => Readiness, events: Events) {
    this.#roles = roles;
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
    const hastened = Promise.all(this.#roles.map(({ role }) => role.hasten()));
    await this.stop();
    await hastened;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #start(): Promise<void> {
    if (this.#stopped !== null) throw new Error('a stopped service is not started again');
    this.#server = await this.#listen();
    // Stopped while it began to listen: #stop waits for this and closes what there is.
    if (this.#stopped !== null) return;
    await Promise.all(this.#roles.map((each) => each.start()));
    this.#events.started({ version, url: this.#server.url });
  }

  /** The server closes last: whoever watches /readyz is to see why. */
  async #stop(): Promise<void> {
    this.#events.stopping();
    await this.#started?.catch(() => {});
    await Promise.all(this.#roles.map((each) => each.stop()));
    await this.#server?.close();
    this.#events.stopped();
  }
}
