/** How the console reaches the other roles. */
import type { Hono } from 'hono';
import type { PeerFetch } from '../console/console-env.ts';
import type { ServerEnv } from '../roles/role.ts';

/** Callers who are less patient bring a signal of their own; stopping a build takes its time. */
const TIMEOUT_MS = 60_000;

/** Within one process: no connection, and a token that never leaves it. */
export function peerInProcess(app: () => Hono<ServerEnv>, internalToken: string): PeerFetch {
  return async (path, init = {}) => await app().request(path, { ...init, headers: authorized(init, internalToken) });
}

/** At `url`, with OPERATOR_TOKEN. Rejects when its answer does not begin within a minute. */
export function peerOverHttp(url: string, token: string): PeerFetch {
  const base = url.replace(/\/+$/, '');
  return async (path, init = {}) => {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error(`${base} does not answer`)), TIMEOUT_MS);
    const signal = init.signal ? AbortSignal.any([init.signal, late.signal]) : late.signal;
    try {
      // A redirect would carry the token elsewhere.
      return await fetch(`${base}${path}`, { ...init, headers: authorized(init, token), redirect: 'error', signal });
    } finally {
      clearTimeout(timer);
    }
  };
}

/** The header that names the person for whom another role is asked. */
export function onBehalfOf(name: string): Record<string, string> {
  return { 'X-On-Behalf-Of': encodeURIComponent(name) };
}

function authorized(init: RequestInit, token: string): Headers {
  const headers = new Headers(init.headers);
  headers.set('Authorization', `Bearer ${token}`);
  return headers;
}
