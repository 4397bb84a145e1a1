import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const PAUSE_MS = 50;
const ATTEMPT_MS = 2_000;

/** Asks again and again until `ask` answers null; gives up after `limitMs` with the last thing it said, or when the signal aborts. */
async function until(
  what: string,
  ask: (signal: AbortSignal) => Promise<string | null>,
  limitMs: number,
  signal: AbortSignal,
): Promise<void> {
  for (const deadline = Date.now() + limitMs; ; ) {
    signal.throwIfAborted();
    const problem = await ask(AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_MS)])).catch((error: Error) => explain(error));
    if (problem === null) return;
    if (Date.now() > deadline) throw new Error(`${what} was not ready within ${limitMs / 1000} s: ${problem}`);
    await sleep(PAUSE_MS, undefined, { signal });
  }
}

/** Resolves when the URL answers 200. What it answers otherwise becomes the reason in the error. */
export function untilHttpOk(what: string, url: string, limitMs: number, signal: AbortSignal): Promise<void> {
  const ask = async (attempt: AbortSignal) => {
    const response = await fetch(url, { signal: attempt });
    const body = (await response.text()).slice(0, 1_000);
    return response.ok ? null : `${url} answered ${response.status} ${body}`;
  };
  return until(what, ask, limitMs, signal);
}

/** Resolves when clamd answers PING. It listens only after it has loaded its signatures, a minute for the official ones. */
export function untilPong(port: number, limitMs: number, signal: AbortSignal): Promise<void> {
  const ask = (attempt: AbortSignal) =>
    new Promise<string | null>((resolve, reject) => {
      const socket = createConnection({ host: '127.0.0.1', port, signal: attempt } as never, () => socket.write('zPING\0'));
      let reply = '';
      socket.on('data', (chunk: Buffer) => {
        reply += chunk.toString('latin1');
      });
      socket.on('end', () => resolve(reply === 'PONG\0' ? null : `it answered ${JSON.stringify(reply)}`)).on('error', reject);
    });
  return until('clamd', ask, limitMs, signal);
}

/** Null when PocketBase lets this superuser in, else a sentence with what to do. */
export async function loginProblem(url: string, identity: string, password: string, signal: AbortSignal): Promise<string | null> {
  const response = await fetch(`${url}/api/collections/_superusers/auth-with-password`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ identity, password }),
    signal,
  });
  await response.body?.cancel();
  // Anything else (MFA, rate limit, allow-list) the sidecar reports in its own words.
  if (response.status !== 400) return null;
  return `PocketBase refuses the password of ${identity}: it was set differently before. Change it in the dashboard, or give the right one in POCKETBASE_SUPERUSER_PASSWORD, or choose another POCKETBASE_SUPERUSER_EMAIL.`;
}

function explain(error: Error): string {
  return error.cause instanceof Error ? error.cause.message : error.message;
}
