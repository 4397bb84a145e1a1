/** The console role behind the real server, in this process, on a PocketBase; the other roles are whatever the test says they are. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from '@prometheus-io/client';
import { loadConfig } from '../../sidecar/config.ts';
import type { PeerFetch } from '../../sidecar/console/console-env.ts';
import { createAccess } from '../../sidecar/http/access.ts';
import { createApp } from '../../sidecar/http/app.ts';
import { listen } from '../../sidecar/http/server.ts';
import { createSuperusers } from '../../sidecar/http/superuser-check.ts';
import { createConsoleRole } from '../../sidecar/roles/console.ts';
import { accessEvents } from '../../sidecar/telemetry/access-events.ts';
import { createLog } from '../../sidecar/telemetry/log.ts';
import { superuser } from './pocketbase.ts';

export const operatorToken = 'an operator token of the tests';

export interface ConsoleOptions {
  readonly pocketbase: { readonly url: string };
  readonly env?: Readonly<Record<string, string>>;
  readonly scanner?: PeerFetch | null;
  readonly trivyDb?: PeerFetch | null;
  /** Default: a free one. */
  readonly port?: number;
}

export interface RunningConsole extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Its log lines, optionally of one event alone. */
  events(event?: string): Record<string, unknown>[];
  metrics(): Promise<string>;
}

/** Resolves when it listens. */
export async function startConsole(options: ConsoleOptions): Promise<RunningConsole> {
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-console-'));
  const config = loadConfig({
    ROLES: 'console',
    POCKETBASE_URL: options.pocketbase.url,
    POCKETBASE_SUPERUSER_EMAIL: superuser.email,
    POCKETBASE_SUPERUSER_PASSWORD: superuser.password,
    OPERATOR_TOKEN: operatorToken,
    CONSOLE_DATA_DIR: folder,
    // A test counts its builds.
    GATE_PROBE_BUILD: 'false',
    ...options.env,
  });
  const lines: Record<string, unknown>[] = [];
  const log = createLog('debug', { write: (line: string) => void lines.push(JSON.parse(line)) });
  const registry = new Registry();
  const events = accessEvents(log, registry);
  const { access: accessConfig, console: consoleConfig, pocketbase } = config;
  if (accessConfig === null || consoleConfig === null || pocketbase === null) throw new Error('ROLES must name the console');
  const access = createAccess({ config: accessConfig, superusers: createSuperusers(pocketbase.url), events });
  const role = createConsoleRole({
    config: consoleConfig,
    pocketbase,
    access,
    accessEvents: events,
    publicUrl: accessConfig.publicUrl,
    hasOperatorToken: accessConfig.operatorToken !== null,
    peers: { scanner: options.scanner ?? null, trivyDb: options.trivyDb ?? null },
    log,
    registry,
  });
  const requestFailed = (path: string, thrown: unknown) => void lines.push({ event: 'request-failed', path, stack: String(thrown) });
  const app = createApp({ readiness: role.readiness, access, metrics: registry, metricsToken: null, routes: [role.routes], requestFailed });
  const server = await listen(app, '127.0.0.1', options.port ?? 0);
  await role.start();
  return {
    url: server.url,
    port: server.port,
    events: (event) => lines.filter((line) => event === undefined || line['event'] === event),
    metrics: () => registry.metrics(),
    async [Symbol.asyncDispose]() {
      await role.stop();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
