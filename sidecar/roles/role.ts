/** What the process knows of a role: HTTP routes, readiness, a beginning and an end. */
import type { HttpBindings } from '@hono/node-server';
import type { Hono } from 'hono';
import type { RoleName } from '../config-variables.ts';
import type { Readiness } from '../http/readiness.ts';

/** The environment of every Hono app that is mounted on the one server. */
export type ServerEnv = { Bindings: Partial<HttpBindings> };

export interface Role {
  readonly name: RoleName;
  /** Mounted at the root. */
  readonly routes: Hono<ServerEnv>;
  readiness(): Readiness;
  /** Begins to work, once the server listens. Rejects with a sentence when it cannot, and is then asked again later. */
  start(): Promise<void>;
  /** Ends what runs within its own drain time. Called once, also when the start failed half-way. */
  stop(): Promise<void>;
  /** Hastens a stop under way. */
  hasten(): Promise<void>;
}
