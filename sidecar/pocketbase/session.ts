import { BaseAuthStore, ClientResponseError, default as PocketBase, type RecordModel } from 'pocketbase';
import { ScanError } from '../scan/errors.ts';
import { apiError, loginProblem } from './api-error.ts';
import { withDeadline } from './deadline.ts';
import { createHttpFetch } from './http-fetch.ts';

export interface SessionOptions {
  readonly url: string;
  /** Of PocketBase's superusers (default), or of our agents, who may do nothing but scan. */
  readonly collection?: '_superusers' | 'av_agents';
  readonly email: string;
  readonly password: string;
  /** Told of every change between logged in (null) and the sentence that says why not. */
  readonly onChange?: (why: string | null) => void;
}

export interface ApiCall {
  readonly path: string;
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly body?: object;
  readonly timeoutMs: number;
}

/** Where the files and the token for them are. */
export interface TokenSource {
  token(signal: AbortSignal): Promise<string>;
  /** After a 401 with `stale`: another token. */
  renewed(stale: string, signal: AbortSignal): Promise<string>;
}

const LOGIN_TIMEOUT_MS = 10_000;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;
/** A token is replaced after this part of its life. */
const RENEW_AFTER = 0.75;

/**
 * One login, shared by everything that talks to PocketBase. Logs in when first asked, again before the token runs out
 * and after any 401, for ever; after a failed login callers get its reason at once until the next attempt is due.
 */
export class Session implements TokenSource {
  readonly #options: SessionOptions;
  readonly #client: PocketBase;
  // The SDK's type asks for all of a fetch; it uses no more than this.
  readonly #fetch = createHttpFetch() as unknown as typeof fetch;
  #login: Promise<void> | null = null;
  #renewAt = Number.POSITIVE_INFINITY;
  #retryAt = 0;
  #retryMs = FIRST_RETRY_MS;
  #why: string | null = 'it has not logged in yet';

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#client = new PocketBase(options.url, new BaseAuthStore());
    // Otherwise the SDK cancels parallel calls to the same path and replaces the signal it is given.
    this.#client.autoCancellation(false);
  }

  /** null while logged in, otherwise why not. */
  get why(): string | null {
    return this.#why;
  }

  async token(signal: AbortSignal): Promise<string> {
    const { authStore } = this.#client;
    if (authStore.token === '') await this.#loggedIn(signal);
    else if (performance.now() >= this.#renewAt) await this.#loggedIn(signal).catch((thrown) => this.#stillValid(thrown, signal));
    return authStore.token;
  }

  async renewed(stale: string, signal: AbortSignal): Promise<string> {
    if (this.#client.authStore.token === stale) this.#client.authStore.clear();
    return await this.token(signal);
  }

  /** The parsed JSON of a 2xx answer; anything else is thrown as a ScanError. A 401 is answered by one new login. */
  async send(call: ApiCall, signal: AbortSignal): Promise<unknown> {
    const token = await this.token(signal);
    try {
      return await this.#sendOnce(call, token, signal);
    } catch (thrown) {
      if (!(thrown instanceof ClientResponseError) || thrown.status !== 401) throw apiError(thrown, call.path);
    }
    const renewed = await this.renewed(token, signal);
    try {
      return await this.#sendOnce(call, renewed, signal);
    } catch (thrown) {
      throw apiError(thrown, call.path);
    }
  }

  #sendOnce(call: ApiCall, token: string, signal: AbortSignal): Promise<unknown> {
    const { path, method, body } = call;
    const headers = { Authorization: token };
    return withDeadline(call.timeoutMs, path, signal, (inner) =>
      this.#client.send<unknown>(path, { method, headers, signal: inner, fetch: this.#fetch, ...(body === undefined ? {} : { body }) }),
    );
  }

  /** A token that could not be replaced in time is used until PocketBase refuses it. */
  #stillValid(thrown: unknown, signal: AbortSignal): void {
    signal.throwIfAborted();
    if (this.#client.authStore.token === '') throw thrown;
  }

  /** One login at a time, whoever asks; it goes on when the caller who began it gives up. */
  async #loggedIn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#login === null) {
      if (performance.now() < this.#retryAt) throw new ScanError('store-unavailable', this.#why ?? 'the last login failed');
      this.#login = this.#logIn().finally(() => {
        this.#login = null;
      });
    }
    await orAbort(this.#login, signal);
  }

  async #logIn(): Promise<void> {
    const { collection = '_superusers', email, password, url } = this.#options;
    const never = new AbortController().signal;
    try {
      await withDeadline(LOGIN_TIMEOUT_MS, 'the login', never, (signal) =>
        this.#client
          .collection<RecordModel>(collection)
          .authWithPassword(email, password, { signal, requestKey: null, fetch: this.#fetch }),
      );
    } catch (thrown) {
      this.#retryAt = performance.now() + this.#retryMs;
      this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
      this.#change(loginProblem(thrown, url, { collection, email }));
      throw new ScanError('store-unavailable', this.#why ?? 'the login failed', { cause: thrown });
    }
    this.#retryMs = FIRST_RETRY_MS;
    this.#retryAt = 0;
    this.#renewAt = performance.now() + lifeMs(this.#client.authStore.token) * RENEW_AFTER;
    this.#change(null);
  }

  #change(why: string | null): void {
    if (this.#why === why) return;
    this.#why = why;
    this.#options.onChange?.(why);
  }
}

/** Where the clocks of both machines differ so much that a new token looks old, only a 401 can tell. */
function lifeMs(token: string): number {
  try {
    const payload: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    const exp = typeof payload === 'object' && payload !== null && 'exp' in payload ? Number(payload.exp) : Number.NaN;
    const ms = exp * 1000 - Date.now();
    return ms > 0 ? ms : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

async function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
