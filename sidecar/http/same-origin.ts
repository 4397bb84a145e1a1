import type { Context } from 'hono';

/**
 * Whether a browser says that a request comes from one of our own pages. `unsaid`: no browser that sends cookies across sites omits
 * both headers with a change, so it is something else. Sec-Fetch-Site is missing on plain http.
 */
export function originOf(c: Context, publicUrl: string | null): 'ours' | 'foreign' | 'unsaid' {
  const site = c.req.header('sec-fetch-site');
  if (site !== undefined) return site === 'same-origin' ? 'ours' : 'foreign';
  const origin = c.req.header('origin');
  if (origin === undefined) return 'unsaid';
  if (!URL.canParse(origin)) return 'foreign';
  const { host } = new URL(origin);
  const isOurs = host === c.req.header('host') || (publicUrl !== null && origin === new URL(publicUrl).origin);
  return isOurs ? 'ours' : 'foreign';
}

/** A path of this server to go on to after the login; `/` for anything that could lead elsewhere. */
export function localPath(wanted: string | undefined): string {
  if (wanted === undefined || !/^\/[^\\\p{Cc}]*$/u.test(wanted) || wanted.length > 2000) return '/';
  if (!URL.canParse(wanted, 'http://here')) return '/';
  const { host, pathname, search } = new URL(wanted, 'http://here');
  // `/.//elsewhere` is a path here and becomes a host once its dot is gone.
  if (host !== 'here' || pathname.startsWith('//') || pathname === '/login' || pathname === '/logout') return '/';
  return `${pathname}${search}`;
}
