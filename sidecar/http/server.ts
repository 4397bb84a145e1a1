import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Hono } from 'hono';

export interface HttpServer {
  /** Where it listens, as a URL. */
  readonly url: string;
  readonly port: number;
  /** Open requests get a moment, idle connections none. */
  close(): Promise<void>;
}

const CLOSE_MS = 2000;

/** Resolves when it listens; rejects with a sentence when it cannot. */
// biome-ignore lint/suspicious/noExplicitAny: whatever the app's own bindings are
export async function listen(app: Hono<any>, host: string, port: number): Promise<HttpServer> {
  // Requests here are tiny: whoever needs longer holds a connection open on purpose.
  const serverOptions = { requestTimeout: 10_000, headersTimeout: 5_000, connectionsCheckingInterval: 1_000, maxHeaderSize: 16 * 1024 };
  const server = createAdaptorServer({ fetch: app.fetch, overrideGlobalObjects: false, createServer, serverOptions }) as ReturnType<
    typeof createServer
  >;
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (thrown) {
    throw new Error(listenProblem(thrown, host, port), { cause: thrown });
  }
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${shown}:${address.port}`,
    port: address.port,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeIdleConnections();
      const late = setTimeout(() => server.closeAllConnections(), CLOSE_MS);
      await closed;
      clearTimeout(late);
    },
  };
}

function listenProblem(thrown: unknown, host: string, port: number): string {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : String(thrown);
  if (code === 'EADDRINUSE') return `port ${port} on ${host} is taken: stop what listens there, or set PORT`;
  if (code === 'EACCES') return `port ${port} on ${host} may not be used by this user: set PORT to 1024 or more`;
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') return `${host} is not an address of this machine: set HOST`;
  return `cannot listen on ${host}:${port}: ${code}`;
}
