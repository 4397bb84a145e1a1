import type { Context, MiddlewareHandler } from 'hono';

/**
 * Lets no body pass that is larger than `maxBytes`, or that does not say how large it is (RFC 9110: 413, 411). Not Hono's own: that builds a
 * new Request around the body, which Node's Request refuses to do with those of @hono/node-server (2.1.8, its globals left alone).
 */
export function bodyLimit(maxBytes: number, refuse: (c: Context, status: 411 | 413) => Response): MiddlewareHandler {
  return async (c, next) => {
    if (c.req.header('transfer-encoding') !== undefined) return refuse(c, 411);
    if (Number(c.req.header('content-length') ?? 0) > maxBytes) return refuse(c, 413);
    await next();
    return undefined;
  };
}
