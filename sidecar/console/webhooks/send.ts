/** One delivery over HTTP, signed as https://www.standardwebhooks.com says. */
import { createHmac } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { guardedLookup, literalProblem } from './endpoint.ts';

export interface SendOptions {
  readonly secret: string;
  /** Hosts and addresses that may be private. */
  readonly allowed: ReadonlySet<string>;
  readonly timeoutMs: number;
  /** Unix seconds. */
  now(): number;
  readonly lookup?: LookupFunction;
}

const CUT = 'the connection was cut';

/** Posts the body; resolves with null when it was accepted (2xx), else with why not, as one line. Never rejects, follows no redirect. */
export function createSender(options: SendOptions): (url: URL, id: string, body: string, stop?: AbortSignal) => Promise<string | null> {
  const lookup = options.lookup ?? guardedLookup(options.allowed);
  return (url, id, body, stop) => {
    const problem = literalProblem(url, options.allowed);
    if (problem !== null) return Promise.resolve(problem);
    const timestamp = String(options.now());
    const headers = {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
      'User-Agent': 'Pocketwarden',
      'Webhook-Id': id,
      'Webhook-Timestamp': timestamp,
      'Webhook-Signature': signatureOf(id, timestamp, body, options.secret),
    };
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    return new Promise<string | null>((resolve) => {
      const late = AbortSignal.timeout(options.timeoutMs);
      const signal = stop === undefined ? late : AbortSignal.any([late, stop]);
      const request = send(url, { method: 'POST', headers, lookup, agent: false, signal }, (response) => {
        response.resume().on('error', () => {});
        const status = response.statusCode ?? 0;
        resolve(status >= 200 && status < 300 ? null : `it answered ${status}`);
        // What it has to say beyond its status is not waited for.
        response.on('data', () => response.destroy());
      });
      request.on('upgrade', ({ statusCode }, socket) => {
        socket.destroy();
        resolve(`it answered ${statusCode}`);
      });
      request.on('error', (error) => resolve(late.aborted ? `no answer within ${options.timeoutMs / 1000} s` : reasonOf(error)));
      // The last that happens to any request, also to one that Node ends without a word.
      request.on('close', () => resolve(CUT));
      request.end(body);
    }).catch(reasonOf);
  };
}

/** `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. */
export function signatureOf(id: string, timestamp: string, body: string, secret: string): string {
  return `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}

/** Without the URL, which Node puts into some messages. */
function reasonOf(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : null;
  const known: Record<string, string> = {
    ECONNREFUSED: 'the connection was refused',
    ECONNRESET: CUT,
    ENOTFOUND: 'its name is not known',
    EAI_AGAIN: 'its name could not be looked up',
    ERR_INVALID_CHAR: 'its id cannot stand in a header',
  };
  return (code !== null && known[code]) || (code ?? error.message.slice(0, 200));
}
