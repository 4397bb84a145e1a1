import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Hono } from 'hono';
import type { ServerEnv } from '../roles/role.ts';
import { bodyLimit } from './body-limit.ts';

export interface SignedNotification {
  /** X-AV-Timestamp: Unix seconds. */
  readonly timestamp: string | undefined;
  /** X-AV-Signature: hex HMAC-SHA256 of `timestamp.body`. */
  readonly signature: string | undefined;
  readonly body: string;
}

/** A recorded notification is worthless after this, and clocks may differ by as much. */
export const MAX_AGE_SECONDS = 300;

/** null when the notification comes from whoever knows the secret, just now; otherwise why it is refused. */
export function refusalOf({ timestamp, signature, body }: SignedNotification, secret: string, nowSeconds: number): string | null {
  if (timestamp === undefined || !/^\d{1,12}$/.test(timestamp)) return 'X-AV-Timestamp is missing or not a number';
  if (signature === undefined || !/^[0-9a-f]{64}$/.test(signature)) return 'X-AV-Signature is missing or not an HMAC-SHA256 in hex';
  const expected = createHmac('sha256', secret).update(`${timestamp}.${body}`).digest();
  if (!timingSafeEqual(expected, Buffer.from(signature, 'hex')))
    return 'the signature is wrong: AV_NOTIFY_SECRET differs between PocketBase and the sidecar';
  if (Math.abs(nowSeconds - Number(timestamp)) > MAX_AGE_SECONDS) return 'the notification is too old, or the clocks differ by minutes';
  return null;
}

export interface NotifyParts {
  readonly secret: string | null;
  /** There may be work. Must return at once. */
  wake(): void;
  notified(accepted: boolean, why: string): void;
  /** Unix seconds. */
  now(): number;
}

const MAX_NOTIFICATION_BYTES = 16 * 1024;

/** POST /notify. Answers before anything is done about it; what the body says is not believed, it only wakes. */
export function addNotify(app: Hono<ServerEnv>, parts: NotifyParts): void {
  const tooLarge = bodyLimit(MAX_NOTIFICATION_BYTES, (c, status) =>
    c.json({ error: 'too large for a notification, or without a length' }, status),
  );
  app.post('/notify', tooLarge, async (c) => {
    if (parts.secret === null) return c.json({ error: 'AV_NOTIFY_SECRET is not set in the sidecar, so it polls only' }, 503);
    const body = await c.req.text();
    const signed = { timestamp: c.req.header('x-av-timestamp'), signature: c.req.header('x-av-signature'), body };
    const refusal = refusalOf(signed, parts.secret, parts.now());
    parts.notified(refusal === null, refusal ?? '');
    if (refusal !== null) return c.json({ error: refusal }, 401);
    setImmediate(() => parts.wake());
    return c.json({ accepted: true }, 202);
  });
}
