import type { Context } from 'hono';
import type { ServerEnv } from '../roles/role.ts';
import { isSameSecret } from './secrets.ts';

export interface MetricsRequest {
  readonly remoteAddress: string | undefined;
  readonly authorization: string | undefined;
  /** Whether a proxy says that it asks for somebody else. */
  readonly isForwarded: boolean;
}

/** With a token only the token counts; without one only clients on this machine, and no proxy on it. */
export function mayReadMetrics(request: MetricsRequest, token: string | null): boolean {
  if (token === null) return !request.isForwarded && isLoopback(request.remoteAddress);
  const given = /^Bearer (.+)$/i.exec(request.authorization ?? '')?.[1];
  return given !== undefined && isSameSecret(given, token);
}

/** Why a part is not ready names addresses and versions: for this machine, as containers ask themselves, and for whoever has the token. */
export function mayReadDetails(request: MetricsRequest, token: string | null): boolean {
  return mayReadMetrics(request, null) || (token !== null && mayReadMetrics(request, token));
}

const FORWARDED = ['forwarded', 'via', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip'];

export function metricsRequestOf(c: Context<ServerEnv>): MetricsRequest {
  return {
    remoteAddress: c.env?.incoming?.socket.remoteAddress,
    authorization: c.req.header('authorization'),
    isForwarded: FORWARDED.some((name) => c.req.header(name) !== undefined),
  };
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(?:::1|(?:::ffff:)?127(?:\.\d{1,3}){3})$/.test(address);
}
