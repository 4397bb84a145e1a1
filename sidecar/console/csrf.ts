/** What stands before every page: who it is, the token of their forms, and the headers that keep browsers narrow. */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Context, MiddlewareHandler } from 'hono';
import { html } from 'hono/html';
import type { ConsoleAccess, Identity } from '../http/access.ts';
import { bodyLimit } from '../http/body-limit.ts';
import type { Operator } from '../http/operator.ts';
import type { ConsoleEnv, Html, Page, PageStatus } from './console-env.ts';

/** Nothing inline, nothing from elsewhere, in no frame of anybody. uPlot sets its styles through the CSSOM, which this allows. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join('; ');

/** `same-origin`, not `no-referrer`: under that one browsers send `Origin: null` with our own forms. */
export const pageHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  c.header('Content-Security-Policy', POLICY);
  c.header('Referrer-Policy', 'same-origin');
  c.header('Permissions-Policy', 'camera=(), geolocation=(), microphone=(), payment=(), usb=()');
  c.header('Cross-Origin-Opener-Policy', 'same-origin');
  c.header('X-Content-Type-Options', 'nosniff');
};

/** Forms carry some reasons and ids, never a file. */
export const formLimit = bodyLimit(256 * 1024, (c, status) =>
  c.text('This form holds more than 256 KiB. Select fewer things at once.', status),
);

/** What live.ts sends with the pages it fetches by itself: `idle` must not keep a session alive. */
export const LIVE_HEADER = 'X-Live';

/** Whose page it is. `here`: where a login leads back to. */
export interface Viewer {
  readonly operator: Operator;
  readonly csrf: string;
  readonly here: string;
}

/** The whole document of a page for this operator. */
export type Render = (page: Page, viewer: Viewer) => Promise<Html>;

/** Logged-in operators only; whoever is not is sent to the login, and a change without the token of its form is refused. */
export function pageGuard(access: ConsoleAccess, render: Render): MiddlewareHandler<ConsoleEnv> {
  return async (c, next) => {
    const identity = await access.identify(c);
    const isRead = c.req.method === 'GET' || c.req.method === 'HEAD';
    const here = isRead ? hereOf(c) : '/';
    const live = c.req.header(LIVE_HEADER);
    if (identity === null) {
      if (live !== undefined || isStream(c.req.path)) return c.text('Log in again.', 401);
      const query = new URLSearchParams({
        to: here,
        ...(access.hasCookie(c) ? { ended: '1' } : {}),
      });
      return c.redirect(`/login?${query}`, 303);
    }
    const viewer: Viewer = { operator: identity.operator, csrf: identity.csrf, here };
    c.set('operator', identity.operator);
    c.set('csrf', identity.csrf);
    c.set('show', async (page, status = 200) => {
      const text = String(await render(page, viewer));
      return mayShrink(c.req.header('accept-encoding'), identity, text) ? await shrunk(c, text, status) : c.html(text, status);
    });
    if (!isRead) {
      const form = await c.req.parseBody().catch(() => ({}) as Record<string, unknown>);
      const refusal = access.refusalOf(c, identity, form['csrf']);
      if (refusal !== null) return c.html(await render(refused(refusal), viewer), 403);
    }
    await next();
    const isActivity = live !== 'idle' && !isStream(c.req.path) && c.req.path !== '/logout';
    if (isActivity && identity.by === 'cookie') await access.keepAlive(c);
    return undefined;
  };
}

function hereOf(c: Context): string {
  const { pathname, search } = new URL(c.req.url);
  return `${pathname}${search}`;
}

const SMALL = 1400;

/**
 * A page that holds what is nobody's business beside what its address says may not be compressed for whoever another site can make ask
 * for it (BREACH). A cookie of ours is never sent for another site, though for a site beside us it is, and therefore the token of forms
 * is another text on every page; what a proxy adds is always sent.
 */
function mayShrink(accepted: string | undefined, { by }: Identity, text: string): boolean {
  return by === 'cookie' && text.length > SMALL && /\bgzip\b/.test(accepted ?? '');
}

async function shrunk(c: Context<ConsoleEnv>, text: string, status: PageStatus): Promise<Response> {
  const body = await promisify(gzip)(text, { level: 4 });
  const headers = { 'Content-Type': 'text/html; charset=utf-8', 'Content-Encoding': 'gzip', Vary: 'Accept-Encoding' };
  return c.body(new Uint8Array(body), status, headers);
}

const refused = (why: string): Page => ({
  title: 'Refused',
  section: null,
  body: html`<h1>Nothing was changed</h1>
<p>This was refused: ${why}. Go back, load the page again and repeat it.</p>`,
});

/** They come back by themselves every few minutes, whether anybody looks or not. */
function isStream(path: string): boolean {
  return path === '/events' || path.endsWith('/stream');
}
