/**
 * The token of forms, masked anew for every page: a page that is compressed beside what its address says would otherwise give a secret
 * away that stays the same from page to page (BREACH; Django masks for the same reason).
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';

const SECRET_BYTES = 32;

/** What a page shows of a secret of 32 bytes: another text each time. */
export function maskedFormToken(secret: Buffer): string {
  const mask = randomBytes(SECRET_BYTES);
  return Buffer.concat([mask, exclusiveOr(mask, secret)]).toString('base64url');
}

/** Whether two masked tokens hide the same secret. Takes as long for any two of the right length. */
export function isSameFormToken(given: string, ours: string): boolean {
  const [one, other] = [unmasked(given), unmasked(ours)];
  return one !== null && other !== null && timingSafeEqual(one, other);
}

function unmasked(text: string): Buffer | null {
  if (!/^[\w-]{86}$/.test(text)) return null;
  const bytes = Buffer.from(text, 'base64url');
  return exclusiveOr(bytes.subarray(0, SECRET_BYTES), bytes.subarray(SECRET_BYTES));
}

function exclusiveOr(one: Buffer, other: Buffer): Buffer {
  return Buffer.from(one.map((byte, at) => byte ^ other[at]!));
}
