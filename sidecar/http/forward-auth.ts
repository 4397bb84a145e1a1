/** The headers of a reverse proxy that has already asked who somebody is. */
import type { Context } from 'hono';
import ipaddr from 'ipaddr.js';
import type { ServerEnv } from '../roles/role.ts';
import { networksOf } from './client-address.ts';
import { isSameSecret } from './secrets.ts';

export interface ForwardAuthConfig {
  /** Addresses or networks of the proxy. */
  readonly addresses: readonly string[];
  readonly secret: string | null;
  /** Of proxies that vouch for nobody and only tell whose request it is. */
  readonly trustedProxies?: readonly string[];
}

export interface ForwardAuth {
  /** Who the trusted proxy says it is; null from anybody else, and where it says nothing. */
  userOf(c: Context): string | null;
  /** Whose address the request counts for, in limits and logs alone: the client's as a trusted proxy saw it, else that of the connection. */
  addressOf(c: Context): string;
}

/** Throws a sentence for an address that is none: a proxy that nobody can be must not go unnoticed. */
export function createForwardAuth({ addresses, secret, trustedProxies = [] }: ForwardAuthConfig): ForwardAuth {
  const mayVouch = networksOf(addresses, 'FORWARD_AUTH_ADDRESSES');
  const isTrusted = networksOf(trustedProxies, 'TRUSTED_PROXIES');
  const isProxy = (c: Context) =>
    secret !== null && mayVouch(incomingOf(c)?.socket.remoteAddress) && isSameSecret(onlyOne(c, 'x-forward-auth-secret') ?? '', secret);
  return {
    userOf(c) {
      if (!isProxy(c)) return null;
      const user = onlyOne(c, 'x-auth-request-user');
      return user === null ? null : personName(user);
    },
    addressOf(c) {
      const remote = incomingOf(c)?.socket.remoteAddress ?? 'unknown';
      if (!isTrusted(remote) && !isProxy(c)) return remote;
      // The last entry is the proxy's own; those before it are whatever the client wrote.
      const seen = c.req.header('x-forwarded-for')?.split(',').at(-1)?.trim() ?? '';
      return ipaddr.isValid(seen) ? seen : remote;
    },
  };
}

/**
 * Null unless the header was sent exactly once: a proxy that adds its own instead of replacing the client's sends two, and Node would
 * join them. Names are compared as sent: `X_Auth_Request_User` is another header, which nobody reads.
 */
function onlyOne(c: Context, name: string): string | null {
  const values = incomingOf(c)?.headersDistinct[name];
  return values?.length === 1 ? (values[0] ?? null) : null;
}

function incomingOf(c: Context): NonNullable<ServerEnv['Bindings']['incoming']> | undefined {
  return (c.env as ServerEnv['Bindings'] | undefined)?.incoming;
}

/** Characters of a name that is shown and recorded. */
export const MAX_NAME = 200;

/** A name that can be shown and recorded; null where there is none in it. */
export function personName(text: string): string | null {
  const name = text.replace(/[\p{Cc}\p{Cf}]/gu, '').trim();
  return name === '' || name.length > MAX_NAME ? null : name;
}
