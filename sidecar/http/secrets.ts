import { createHash, timingSafeEqual } from 'node:crypto';

/** Takes as long whatever was given, and however long it is. */
export function isSameSecret(given: string, secret: string): boolean {
  return timingSafeEqual(digest(given), digest(secret));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
