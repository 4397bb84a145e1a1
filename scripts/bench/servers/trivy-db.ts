/** The trivy-db role behind the sidecar's own HTTP surface, with nothing beside it. */
import { Registry } from '@prometheus-io/client';
import { loadConfig } from '../../../sidecar/config.ts';
import { createApp } from '../../../sidecar/http/app.ts';
import type { Operator } from '../../../sidecar/http/operator.ts';
import { listen } from '../../../sidecar/http/server.ts';
import { createTrivyDbRole } from '../../../sidecar/roles/trivy-db.ts';
import { createLog } from '../../../sidecar/telemetry/log.ts';

// Everybody here is logged in: strangers from one address get but a few streams.
const operator: Operator = { name: 'bench', via: 'token', pocketbaseToken: null };
const access = { operatorOf: async () => operator, required: async () => new Response(null, { status: 401 }) };
const metrics = new Registry();
const role = createTrivyDbRole(loadConfig(process.env).trivyDb!, access, createLog('warn'), metrics);
const requestFailed = (_path: string, thrown: unknown) => {
  throw thrown;
};
const app = createApp({ readiness: role.readiness, metrics, metricsToken: null, routes: [role.routes], requestFailed });
const server = await listen(app, '127.0.0.1', 0);
await role.start();
process.send?.(server.url);
process.on('disconnect', () => process.exit());
