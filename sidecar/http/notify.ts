import { createHmac, timingSafeEqual } from 'node:crypto';

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
