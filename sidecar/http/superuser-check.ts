/** What PocketBase says of its superusers: of a password, and of a token. */
import { createHash } from 'node:crypto';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { z } from 'zod';
import { withDeadline } from '../pocketbase/deadline.ts';
import { createHttpFetch } from '../pocketbase/http-fetch.ts';
import { addressKey } from './client-address.ts';

export type LoginAnswer =
  | { readonly kind: 'ok'; readonly name: string; readonly token: string }
  /** Wrong e-mail or password. */
  | { readonly kind: 'refused' }
  /** PocketBase wants a second factor, which this page cannot ask for. */
  | { readonly kind: 'mfa' }
  /** PocketBase limits logins, or does not know this address. */
  | { readonly kind: 'limited' | 'address' }
  | { readonly kind: 'unreachable'; readonly why: string };

export type TokenAnswer =
  | {
      readonly kind: 'valid';
      readonly name: string /** A newer one for the same person, where PocketBase gives one. */;
      readonly token: string;
    }
  | { readonly kind: 'invalid' }
  | { readonly kind: 'unreachable' };

export interface Superusers {
  logIn(email: string, password: string): Promise<LoginAnswer>;
  /**
   * PocketBase is asked about a token once a minute at most. `stranger`: the address of whoever sends it, when it does not come out of a
   * session of ours. Of strangers few are asked about at once, and few that were wrong an address and minute; beyond: `unreachable`.
   */
  check(token: string, stranger?: string): Promise<TokenAnswer>;
}

const TIMEOUT_MS = 8000;
const REMEMBER_MS = 60_000;
const MAX_REMEMBERED = 1000;
const MAX_TOKEN_CHARS = 4096;
const MOST_STRANGERS_AT_ONCE = 8;
const WRONG_PER_ADDRESS = { points: 30, duration: 60 };

const authAnswer = z.object({
  token: z.string().min(1),
  record: z.object({ email: z.string(), collectionName: z.literal('_superusers') }),
});

/** What PocketBase writes into every token that logs somebody in. Unproven: whoever passes is worth a question. */
const claims = z.object({ type: z.literal('auth'), exp: z.number(), collectionId: z.string().min(1) });

interface Remembered {
  readonly until: number;
  readonly answer: Promise<TokenAnswer>;
  /** It was right once: asking again is no guess. */
  wasValid: boolean;
}

export function createSuperusers(url: string, now: () => number = Date.now): Superusers {
  const ask = createAsk(url);
  const askAbout = async (token: string): Promise<TokenAnswer> => {
    const answer = await ask('auth-refresh', { authorization: token }, {});
    if (answer === null || answer.status === 429 || answer.status >= 500) return { kind: 'unreachable' };
    const parsed = authAnswer.safeParse(answer.body);
    return answer.status === 200 && parsed.success
      ? { kind: 'valid', name: parsed.data.record.email, token: parsed.data.token }
      : { kind: 'invalid' };
  };
  const askForStranger = limited(askAbout);
  const remembered = new Map<string, Remembered>();
  return {
    async logIn(identity, password) {
      return loginAnswer(await ask('auth-with-password', {}, { identity, password }));
    },
    async check(token, stranger) {
      if (!mayBeToken(token, now())) return { kind: 'invalid' };
      const key = createHash('sha256').update(token).digest('base64url');
      const known = remembered.get(key);
      if (known !== undefined && known.until > now()) return await known.answer;
      const wasValid = known?.wasValid ?? false;
      const answer = stranger === undefined || wasValid ? askAbout(token) : askForStranger(token, stranger);
      const entry: Remembered = { until: now() + REMEMBER_MS, answer, wasValid };
      remembered.delete(key);
      // Insertion order is age: whoever sends a thousand wrong tokens makes us forget, never grow.
      if (remembered.size >= MAX_REMEMBERED) remembered.delete(remembered.keys().next().value!);
      remembered.set(key, entry);
      const said = await answer;
      if (said.kind === 'valid') entry.wasValid = true;
      if (said.kind === 'unreachable' && remembered.get(key) === entry) remembered.delete(key);
      return said;
    },
  };
}

/** Anybody may send bearers, and each would cost PocketBase a call. */
function limited(askAbout: (token: string) => Promise<TokenAnswer>): (token: string, address: string) => Promise<TokenAnswer> {
  const wrong = new RateLimiterMemory({ keyPrefix: 'bearer', ...WRONG_PER_ADDRESS });
  let asking = 0;
  return async (token, address) => {
    if (asking >= MOST_STRANGERS_AT_ONCE) return { kind: 'unreachable' };
    asking += 1;
    try {
      const key = addressKey(address);
      if (((await wrong.get(key))?.consumedPoints ?? 0) >= WRONG_PER_ADDRESS.points) return { kind: 'unreachable' };
      const answer = await askAbout(token);
      // Counted afterwards, so that many right ones at once do not look like guesses; few are asked about at once.
      if (answer.kind === 'invalid') await wrong.penalty(key, 1);
      return answer;
    } finally {
      asking -= 1;
    }
  };
}

function mayBeToken(token: string, now: number): boolean {
  const [, payload] = token.length > MAX_TOKEN_CHARS ? [] : (/^[\w-]+\.([\w-]+)\.[\w-]+$/.exec(token) ?? []);
  if (payload === undefined) return false;
  try {
    const parsed = claims.safeParse(JSON.parse(Buffer.from(payload, 'base64url').toString()));
    return parsed.success && parsed.data.exp * 1000 > now;
  } catch {
    return false;
  }
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

type Ask = (action: string, headers: Readonly<Record<string, string>>, body: object) => Promise<Answer | null>;

/** Null when nobody answers in time. */
function createAsk(url: string): Ask {
  const send = createHttpFetch();
  const never = new AbortController().signal;
  return async (action, headers, body) => {
    const address = `${url.replace(/\/+$/, '')}/api/collections/_superusers/${action}`;
    const request = { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) };
    try {
      return await withDeadline(TIMEOUT_MS, action, never, async (signal) => {
        const answer = await send(address, { ...request, signal });
        return { status: answer.status, body: await answer.json().catch(() => null) };
      });
    } catch {
      return null;
    }
  };
}

function loginAnswer(answer: Answer | null): LoginAnswer {
  if (answer === null) return { kind: 'unreachable', why: 'PocketBase does not answer' };
  const parsed = authAnswer.safeParse(answer.body);
  if (answer.status === 200 && parsed.success) return { kind: 'ok', name: parsed.data.record.email, token: parsed.data.token };
  switch (answer.status) {
    case 400:
      return { kind: 'refused' };
    case 401:
      return isMfa(answer.body) ? { kind: 'mfa' } : { kind: 'refused' };
    case 403:
      return { kind: 'address' };
    case 429:
      return { kind: 'limited' };
    default:
      return { kind: 'unreachable', why: `PocketBase answered ${answer.status}` };
  }
}

function isMfa(body: unknown): boolean {
  return z.object({ mfaId: z.string() }).safeParse(body).success;
}
