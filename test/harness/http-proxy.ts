/** An HTTP proxy on loopback that does to single requests what overloaded servers, bad proxies and networks do. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export type HttpFault =
  /** An answer of somebody else; the request does not arrive. */
  | { readonly kind: 'status'; readonly status: number }
  /** The connection ends after so many bytes of the body: reset, or closed politely with the rest missing. */
  | { readonly kind: 'truncate'; readonly after: number; readonly how: 'reset' | 'end' }
  /** As from a proxy that knows no ranges. */
  | { readonly kind: 'whole' }
  /** So many bytes of the body each 20 ms. */
  | { readonly kind: 'drip'; readonly bytes: number }
  /** The request arrives, its answer does not. */
  | { readonly kind: 'lose answer' };

export interface HttpProxy extends AsyncDisposable {
  readonly url: string;
  /** Connections that clients hold now, and the most they ever held at once. */
  sockets(): { readonly now: number; readonly most: number };
}

/** `rule` decides over each request; null lets it pass. */
export async function startHttpProxy(target: string, rule: (request: IncomingMessage) => HttpFault | null): Promise<HttpProxy> {
  const sockets = new Set<Socket>();
  let most = 0;
  const server = createServer((incoming, outgoing) => {
    const fault = rule(incoming);
    if (fault?.kind === 'status') {
      incoming.resume();
      outgoing.writeHead(fault.status, { 'content-type': 'application/json' }).end(JSON.stringify({ status: fault.status, data: {} }));
    } else forward(target, incoming, outgoing, fault);
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    most = Math.max(most, sockets.size);
    socket.on('error', () => {}).once('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sockets: () => ({ now: sockets.size, most }),
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

function forward(target: string, incoming: IncomingMessage, outgoing: ServerResponse, fault: HttpFault | null): void {
  const { range, ...others } = incoming.headers;
  const headers = fault?.kind === 'whole' ? others : incoming.headers;
  const upstream = request(new URL(incoming.url ?? '/', target), { method: incoming.method!, headers }, (answer) => {
    if (fault?.kind === 'lose answer') {
      answer.resume();
      answer.once('end', () => outgoing.destroy());
      return;
    }
    outgoing.writeHead(answer.statusCode!, answer.headers);
    pass(answer, outgoing, fault).catch(() => outgoing.destroy());
  });
  upstream.on('error', () => outgoing.destroy());
  outgoing.once('close', () => upstream.destroy());
  incoming.pipe(upstream);
}

async function pass(answer: IncomingMessage, outgoing: ServerResponse, fault: HttpFault | null): Promise<void> {
  let sent = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    if (fault?.kind === 'truncate' && sent + chunk.length >= fault.after) {
      if (fault.after > sent) await written(outgoing, chunk.subarray(0, fault.after - sent));
      else outgoing.flushHeaders();
      // What was written leaves before the end does.
      await sleep(20);
      if (fault.how === 'reset') outgoing.socket?.resetAndDestroy();
      else outgoing.socket?.end();
      return;
    }
    sent += chunk.length;
    if (fault?.kind !== 'drip') await written(outgoing, chunk);
    else
      for (let at = 0; at < chunk.length && !outgoing.destroyed; at += fault.bytes) {
        await written(outgoing, chunk.subarray(at, at + fault.bytes));
        await sleep(20);
      }
  }
  outgoing.end();
}

function written(outgoing: ServerResponse, chunk: Buffer): Promise<void> {
  if (outgoing.write(chunk) || outgoing.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      outgoing.off('drain', done).off('close', done);
      resolve();
    };
    outgoing.on('drain', done).on('close', done);
  });
}
