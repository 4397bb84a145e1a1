/** Who operates this process, and by what right: bearer, trusted proxy, session. */
import { randomBytes } from 'node:crypto';
import type { Context, MiddlewareHandler } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import type { AccessConfig } from '../config.ts';
import type { AccessEvents } from '../telemetry/access-events.ts';
import { EndedSessions } from './ended-sessions.ts';
import { isSameFormToken } from './form-token.ts';
import { createForwardAuth, type ForwardAuth, MAX_NAME, personName } from './forward-auth.ts';
import type { Access, Operator, OperatorEnv } from './operator.ts';
import { originOf } from './same-origin.ts';
import { isSameSecret } from './secrets.ts';
import { newSessionId, type SealedSession, SessionSealer } from './session-cookie.ts';
import type { Superusers } from './superuser-check.ts';

export interface AccessParts {
  readonly config: AccessConfig;
  /** Null in a process that knows no PocketBase: then nobody is a superuser. */
  readonly superusers: Superusers | null;
  readonly events: AccessEvents;
  readonly now?: () => number;
}

/** An operator and what the request rests on. */
export interface Identity {
  readonly operator: Operator;
  /** A bearer is sent by a program on purpose; the others come with every request, also with one that another site caused. */
  readonly by: 'bearer' | 'proxy' | 'cookie';
  /** What forms of this operator must send back: another text with each request. */
  readonly csrf: string;
}

/** What the console needs beyond the routes of other roles. */
export interface ConsoleAccess extends Access {
  /** Taken as OPERATOR_TOKEN by this process alone: for calls of one role to another within it. Never leaves it. */
  readonly internalToken: string;
  readonly superusers: Superusers | null;
  identify(c: Context): Promise<Identity | null>;
  /** Null when a change by this operator may go on; otherwise why it is refused. */
  refusalOf(c: Context, identity: Identity, formToken: unknown): string | null;
  /** Counts a request as activity: the session lives on from now. Its cookie is written once a minute at most. */
  keepAlive(c: Context): Promise<void>;
  isOperatorToken(given: string): boolean;
  /** Begins a session. */
  begin(c: Context, operator: Operator): Promise<void>;
  /** Also for whoever has a copy of the cookie, in this process. */
  end(c: Context): Promise<void>;
  /** Whether the request brings a session, good or not. */
  hasCookie(c: Context): boolean;
  /** That the limits of logins count by. */
  addressOf(c: Context): string;
}

const REISSUE_MS = 60_000;
/** How long a session is believed while PocketBase cannot be asked about its superuser. PocketBase itself then refuses their changes. */
const GRACE_MS = 10 * 60_000;
/** The name of whoever has OPERATOR_TOKEN and names nobody. */
const BY_TOKEN = 'operator';
/** That it is only said: whoever has the token may say any name. */
const SAID = ' (operator token)';
const NEEDS_LOGIN = 'log in, or send a superuser token of PocketBase or OPERATOR_TOKEN as `Authorization: Bearer …`';

export function createAccess(parts: AccessParts): ConsoleAccess {
  return new OperatorAccess(parts);
}

class OperatorAccess implements ConsoleAccess {
  readonly internalToken = randomBytes(32).toString('base64url');
  readonly superusers: Superusers | null;
  readonly required: MiddlewareHandler<OperatorEnv>;
  readonly #config: AccessConfig;
  readonly #events: AccessEvents;
  readonly #now: () => number;
  readonly #sealer: SessionSealer;
  readonly #ended = new EndedSessions();
  readonly #forward: ForwardAuth;
  readonly #cookie: string;
  readonly #isTls: boolean;

  constructor({ config, superusers, events, now = Date.now }: AccessParts) {
    this.#config = config;
    this.superusers = superusers;
    this.#events = events;
    this.#now = now;
    this.#sealer = new SessionSealer(config.sessionSecret, config, now);
    this.#forward = createForwardAuth({ ...config.forwardAuth, trustedProxies: config.trustedProxies });
    this.#isTls = config.publicUrl?.startsWith('https:') ?? false;
    // The prefix makes browsers refuse a cookie of this name from a subdomain or over plain http.
    this.#cookie = this.#isTls ? '__Host-pocketwarden' : 'pocketwarden';
    this.required = async (c, next) => await this.#require(c, next);
  }

  async operatorOf(c: Context): Promise<Operator | null> {
    return (await this.identify(c))?.operator ?? null;
  }

  async identify(c: Context): Promise<Identity | null> {
    const bearer = bearerOf(c);
    if (bearer !== null) return await this.#byBearer(c, bearer);
    const session = await this.#session(c);
    const user = session?.via === 'superuser' ? null : this.#forward.userOf(c);
    if (user !== null) {
      const operator: Operator = { name: user, via: 'proxy', pocketbaseToken: null };
      return { operator, by: 'proxy', csrf: this.#sealer.formToken(`proxy:${user}`) };
    }
    if (session === null) return null;
    const { name, via, pocketbaseToken, id } = session;
    return { operator: { name, via, pocketbaseToken }, by: 'cookie', csrf: this.#sealer.formToken(`session:${id}`) };
  }

  refusalOf(c: Context, identity: Identity, formToken: unknown): string | null {
    if (identity.by === 'bearer') return null;
    if (originOf(c, this.#config.publicUrl) === 'foreign') return this.#refused(c, identity, 'another site sent it');
    const isOurs = typeof formToken === 'string' && isSameFormToken(formToken, identity.csrf);
    return isOurs ? null : this.#refused(c, identity, 'the form is older than this session');
  }

  async keepAlive(c: Context): Promise<void> {
    const session = await this.#session(c);
    const now = this.#now();
    if (session === null || now - session.seenAt < REISSUE_MS) return;
    const answer = session.pocketbaseToken === null ? null : await this.superusers?.check(session.pocketbaseToken);
    const renewed = answer?.kind === 'valid' ? { pocketbaseToken: answer.token, verifiedAt: now } : {};
    await this.#write(c, { ...session, ...renewed, seenAt: now });
  }

  isOperatorToken(given: string): boolean {
    return this.#config.operatorToken !== null && isSameSecret(given, this.#config.operatorToken);
  }

  async begin(c: Context, { name, via, pocketbaseToken }: Operator): Promise<void> {
    if (via === 'proxy') throw new Error('whom the proxy vouches for needs no session');
    await this.#forget(c);
    const now = this.#now();
    const { operatorToken } = this.#config;
    const tokenDigest = via === 'token' && operatorToken !== null ? this.#sealer.tokenDigest(operatorToken) : null;
    await this.#write(c, { id: newSessionId(), name, via, pocketbaseToken, tokenDigest, issuedAt: now, seenAt: now, verifiedAt: now });
  }

  async end(c: Context): Promise<void> {
    await this.#forget(c);
    deleteCookie(c, this.#cookie, { path: '/', secure: this.#isTls });
  }

  hasCookie(c: Context): boolean {
    return getCookie(c, this.#cookie) !== undefined;
  }

  addressOf(c: Context): string {
    return this.#forward.addressOf(c);
  }

  async #require(c: Context<OperatorEnv>, next: () => Promise<void>): Promise<Response | undefined> {
    const identity = await this.identify(c);
    if (identity === null) return c.json({ error: NEEDS_LOGIN }, 401, { 'WWW-Authenticate': 'Bearer' });
    const isChange = !['GET', 'HEAD', 'OPTIONS'].includes(c.req.method);
    if (isChange && identity.by !== 'bearer' && originOf(c, this.#config.publicUrl) !== 'ours') {
      return c.json({ error: `refused: ${this.#refused(c, identity, 'it does not come from a page of this console')}` }, 403);
    }
    c.set('operator', identity.operator);
    await next();
    return undefined;
  }

  #refused(c: Context, { operator }: Identity, why: string): string {
    this.#events.foreignRequest(operator.name, c.req.path, why);
    return why;
  }

  /** A wrong bearer is nobody, whatever else the request brings. */
  async #byBearer(c: Context, bearer: string): Promise<Identity | null> {
    const csrf = this.#sealer.formToken('bearer');
    const isInternal = isSameSecret(bearer, this.internalToken);
    if (isInternal || this.isOperatorToken(bearer)) {
      const person = onBehalfOf(c.req.header('x-on-behalf-of')) ?? BY_TOKEN;
      const name = isInternal ? person : byToken(person);
      return { operator: { name, via: 'token', pocketbaseToken: null }, by: 'bearer', csrf };
    }
    const answer = await this.superusers?.check(bearer, this.addressOf(c));
    if (answer?.kind !== 'valid') return null;
    return { operator: { name: answer.name, via: 'superuser', pocketbaseToken: bearer }, by: 'bearer', csrf };
  }

  /** The session of the cookie, if what it rests on still holds. */
  async #session(c: Context): Promise<SealedSession | null> {
    const cookie = getCookie(c, this.#cookie);
    const session = cookie === undefined ? null : await this.#sealer.open(cookie);
    if (session === null || this.#ended.has(session.id)) return null;
    if (session.via === 'token') {
      const { operatorToken } = this.#config;
      return operatorToken !== null && session.tokenDigest === this.#sealer.tokenDigest(operatorToken) ? session : null;
    }
    if (session.pocketbaseToken === null || this.superusers === null) return null;
    const answer = await this.superusers.check(session.pocketbaseToken);
    if (answer.kind === 'unreachable') return this.#now() - session.verifiedAt < GRACE_MS ? session : null;
    return answer.kind === 'valid' && answer.name === session.name ? session : null;
  }

  async #write(c: Context, session: SealedSession): Promise<void> {
    const options = { path: '/', httpOnly: true, sameSite: 'Strict', secure: this.#isTls } as const;
    const sealed = await this.#sealer.seal(session);
    // Somebody may have logged out while this request was under way.
    if (!this.#ended.has(session.id)) setCookie(c, this.#cookie, sealed, options);
  }

  /** The session that the request brings is over, whatever it rests on. */
  async #forget(c: Context): Promise<void> {
    const cookie = getCookie(c, this.#cookie);
    const session = cookie === undefined ? null : await this.#sealer.open(cookie);
    if (session !== null) this.#ended.add(session.id, session.issuedAt + this.#config.maxMs, this.#now());
  }
}

/** PocketBase takes its tokens without `Bearer` too; Basic is for whoever stands before us. */
function bearerOf(c: Context): string | null {
  const header = c.req.header('authorization');
  if (header === undefined) return null;
  return /^Bearer (.+)$/i.exec(header)?.[1] ?? (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(header) ? header : null);
}

function byToken(person: string): string {
  if (person === BY_TOKEN || person.endsWith(SAID)) return person;
  const room = person.slice(0, MAX_NAME - SAID.length).replace(/[\uD800-\uDBFF]$/, '');
  return `${room}${SAID}`;
}

/** Percent-encoded, because headers hold no other alphabet. */
function onBehalfOf(header: string | undefined): string | null {
  if (header === undefined) return null;
  try {
    return personName(decodeURIComponent(header));
  } catch {
    return personName(header);
  }
}
