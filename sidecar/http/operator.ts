/** Who operates this process. */
import type { Context, MiddlewareHandler } from 'hono';
import type { ServerEnv } from '../roles/role.ts';

export interface Operator {
  /** The superuser's e-mail, what the proxy says, or `operator`; 200 characters at most. Shown, recorded, never trusted as markup. */
  readonly name: string;
  readonly via: 'superuser' | 'token' | 'proxy';
  /** Their own PocketBase token, with which they change checks; null unless they are a superuser. */
  readonly pocketbaseToken: string | null;
}

export type OperatorEnv = ServerEnv & { Variables: { operator: Operator } };

/**
 * Known by, in this order: `Authorization: Bearer` with OPERATOR_TOKEN (then `X-On-Behalf-Of` may name the person behind another role, and
 * they are shown as `<name> (operator token)`) or a PocketBase superuser's token; the session of a superuser, who may more than whom a
 * proxy vouches for; the headers of the trusted proxy; a session of OPERATOR_TOKEN.
 */
export interface Access {
  operatorOf(c: Context<ServerEnv>): Promise<Operator | null>;
  /**
   * For the JSON routes: 401 `{error}` unless logged in; 403 for a change that rests on cookie or proxy and does not come from our own
   * pages.
   */
  readonly required: MiddlewareHandler<OperatorEnv>;
}
