/** What operators change: start, cancel, clear the lock, publish an older build. Bodies are ignored; everything is in the path. */
import type { Context, Hono } from 'hono';
import { bodyLimit } from '../http/body-limit.ts';
import type { Access, OperatorEnv } from '../http/operator.ts';
import type { ServerEnv } from '../roles/role.ts';
import { BUILD_ID } from './api.ts';
import { type Builder, BuilderRefusal } from './model.ts';

export type Change = 'start' | 'cancel' | 'clear-lock' | 'publish';

export interface ChangeEvents {
  /** Somebody asked for a change; `refused` says why it was not made, null when it was. `build` is the one it is about, where one is. */
  asked(change: Change, by: string, build: string | null, refused: BuilderRefusal['code'] | null): void;
}

export interface ChangeParts {
  readonly builder: Builder;
  readonly access: Access;
  readonly events: ChangeEvents;
  /** What was answered before may no longer be so. */
  changed(): void;
}

const MAX_BODY_BYTES = 16 * 1024;

const statuses = {
  busy: 409,
  'lock-live': 409,
  'not-running': 409,
  'not-publishable': 409,
  'no-such-build': 404,
  'no-space': 507,
  stopping: 503,
} as const satisfies Readonly<Record<BuilderRefusal['code'], number>>;

export function addChanges(routes: Hono<ServerEnv>, parts: ChangeParts): void {
  const { builder, access } = parts;
  const small = bodyLimit(MAX_BODY_BYTES, (c, status) => c.json({ error: 'this request needs no body, and not one this large' }, status));
  routes.post('/api/build', access.required, small, (c) =>
    change(c, parts, 'start', null, async (by) => ({ message: 'Build started successfully', id: await builder.start(by) })),
  );
  routes.post('/api/build/cancel', access.required, small, (c) =>
    change(c, parts, 'cancel', null, async (by) => {
      await builder.cancel(by);
      return { message: 'Build stopped' };
    }),
  );
  routes.post('/api/clear-lock', access.required, small, (c) =>
    change(c, parts, 'clear-lock', null, async (by) => {
      await builder.clearLock(by);
      return { message: 'Lock file cleared successfully' };
    }),
  );
  routes.post('/api/builds/:id/publish', access.required, small, (c) => {
    const id = c.req.param('id');
    return change(c, parts, 'publish', BUILD_ID.test(id) ? id : null, async (by) => {
      if (!BUILD_ID.test(id)) throw new BuilderRefusal('no-such-build', 'there is no build of this id: GET /api/builds lists them');
      await builder.publish(id, by);
      return { message: `Build ${id} is published` };
    });
  });
}

type Done = { readonly message: string; readonly id?: string };

async function change(
  c: Context<OperatorEnv>,
  parts: ChangeParts,
  what: Change,
  build: string | null,
  work: (by: string) => Promise<Done>,
): Promise<Response> {
  const by = c.var.operator.name;
  try {
    const done = await work(by);
    parts.events.asked(what, by, done.id ?? build, null);
    return c.json({ success: true, ...done });
  } catch (thrown) {
    if (!(thrown instanceof BuilderRefusal)) throw thrown;
    const { code, message } = thrown;
    parts.events.asked(what, by, build, code);
    return c.json({ success: false, message, error: message, code }, statuses[code]);
  } finally {
    parts.changed();
  }
}
