import { createHash, timingSafeEqual } from 'node:crypto';

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
  return given !== undefined && timingSafeEqual(digest(given), digest(token));
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(?:::1|(?:::ffff:)?127(?:\.\d{1,3}){3})$/.test(address);
}

/** Of equal length, whatever was given. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
