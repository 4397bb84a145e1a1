/**
 * Sessions that live in the browser alone: a sealed cookie, which any replica with the same SESSION_SECRET can open. What is sealed
 * cannot be called back, so each session rests on something that can: the operator's PocketBase token, or OPERATOR_TOKEN.
 */
import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { EncryptJWT, jwtDecrypt } from 'jose';
import { z } from 'zod';
import { maskedFormToken } from './form-token.ts';

const session = z.object({
  id: z.string().min(16),
  name: z.string(),
  via: z.enum(['superuser', 'token']),
  /** The operator's own, for a superuser. */
  pocketbaseToken: z.string().nullable(),
  /** A keyed digest of the OPERATOR_TOKEN it was begun with, for a token. */
  tokenDigest: z.string().nullable(),
  /** Milliseconds since 1970: the login, the last request counted as activity, the last time PocketBase vouched for it. */
  issuedAt: z.number(),
  seenAt: z.number(),
  verifiedAt: z.number(),
});

export type SealedSession = Readonly<z.infer<typeof session>>;

export interface SessionLimits {
  readonly idleMs: number;
  readonly maxMs: number;
}

export class SessionSealer {
  readonly #seal: Uint8Array;
  readonly #sign: Uint8Array;
  readonly #limits: SessionLimits;
  readonly #now: () => number;

  /** Without a secret the key is made up: sessions end with the process. */
  constructor(secret: string | null, limits: SessionLimits, now: () => number = Date.now) {
    const material = secret ?? randomBytes(32).toString('hex');
    this.#seal = derived(material, 'pocketwarden session seal');
    this.#sign = derived(material, 'pocketwarden form tokens');
    this.#limits = limits;
    this.#now = now;
  }

  /** The value of the cookie. */
  seal(value: SealedSession): Promise<string> {
    return new EncryptJWT({ session: value })
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
      .setIssuer('pocketwarden')
      .setExpirationTime(Math.ceil(this.#endOf(value) / 1000))
      .encrypt(this.#seal);
  }

  /** Null for whatever was not sealed by us, is altered, or has run out. */
  async open(text: string): Promise<SealedSession | null> {
    const now = this.#now();
    try {
      const options = {
        issuer: 'pocketwarden',
        keyManagementAlgorithms: ['dir'],
        contentEncryptionAlgorithms: ['A256GCM'],
        currentDate: new Date(now),
      };
      const { payload } = await jwtDecrypt(text, this.#seal, options);
      const parsed = session.safeParse(payload['session']);
      if (!parsed.success || now >= this.#endOf(parsed.data)) return null;
      return parsed.data;
    } catch {
      return null;
    }
  }

  /** What a form must send back: another text each time. `of` names the session, or the person where the proxy vouches. */
  formToken(of: string): string {
    return maskedFormToken(createHmac('sha256', this.#sign).update(`form:${of}`).digest());
  }

  /** Tells whether OPERATOR_TOKEN is still the one a session began with. */
  tokenDigest(token: string): string {
    return createHmac('sha256', this.#sign).update(`token:${token}`).digest('base64url');
  }

  #endOf({ issuedAt, seenAt }: SealedSession): number {
    return Math.min(issuedAt + this.#limits.maxMs, seenAt + this.#limits.idleMs);
  }
}

export function newSessionId(): string {
  return randomBytes(16).toString('base64url');
}

function derived(material: string, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', material, 'pocketwarden', purpose, 32));
}
