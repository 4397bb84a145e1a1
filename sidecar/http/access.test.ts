import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../config.ts';
import type { ServerEnv } from '../roles/role.ts';
import { createAccess } from './access.ts';
import { createForwardAuth } from './forward-auth.ts';
import type { OperatorEnv } from './operator.ts';
import { localPath } from './same-origin.ts';
import type { Superusers, TokenAnswer } from './superuser-check.ts';

const MINUTE = 60_000;
const superuserToken = 'aaa.bbb.ccc';
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const proxySecret = 'a secret of the proxy';
const operatorToken = 'an operator token of the tests';
const valid: TokenAnswer = { kind: 'valid', name: 'ana@example.com', token: superuserToken };

interface SetUp {
  readonly env?: Record<string, string>;
  /** What PocketBase says of a token; null for a process that knows none. */
  readonly says?: (() => TokenAnswer | Promise<TokenAnswer>) | null;
}

/** Pages that keep sessions alive, a JSON route, and a clock that stands still. */
function setUp({ env = {}, says = () => valid }: SetUp = {}) {
  const clock = { now: 1_800_000_000_000 };
  const secrets = { OPERATOR_TOKEN: operatorToken, SESSION_SECRET: 'a session secret of the tests, long enough' };
  const config = loadConfig({ ROLES: 'trivy-db', TRIVY_DB_OUTPUT_DIR: '/tmp', ...secrets, ...env });
  const superusers: Superusers | null = says === null ? null : { logIn: async () => ({ kind: 'refused' }), check: async () => says() };
  const foreign: string[] = [];
  const foreignRequest = (_name: string, _path: string, why: string) => void foreign.push(why);
  const events = { loggedIn() {}, loginFailed() {}, loggedOut() {}, foreignRequest };
  const access = createAccess({ config: config.access!, superusers, events, now: () => clock.now });
  const app = new Hono<ServerEnv>();
  app.get('/in/:via', async (c) => {
    const via = c.req.param('via') === 'token' ? 'token' : 'superuser';
    await access.begin(c, { name: 'ana@example.com', via, pocketbaseToken: via === 'token' ? null : superuserToken });
    return c.text('in');
  });
  app.get('/page', async (c) => {
    const operator = await access.operatorOf(c);
    await access.keepAlive(c);
    return c.json(operator);
  });
  const routes = new Hono<OperatorEnv>();
  routes.all('/api/thing', access.required, (c) => c.json(c.var.operator));
  app.route('/', routes as unknown as Hono<ServerEnv>);
  app.get('/out', async (c) => {
    await access.end(c);
    return c.text('out');
  });
  app.get('/csrf', async (c) => c.text((await access.identify(c))!.csrf));
  app.post('/form', async (c) => {
    const identity = (await access.identify(c))!;
    return c.text(access.refusalOf(c, identity, (await c.req.parseBody())['csrf']) ?? 'taken');
  });
  const logIn = async (via = 'superuser') => cookieOf(await app.request(`/in/${via}`))!;
  const page = async (cookie: string) => await app.request('/page', { headers: { cookie } });
  return { app, access, clock, foreign, logIn, page };
}

const cookieOf = (answer: Response) => answer.headers.getSetCookie()[0]?.split(';')[0] ?? null;
const whoIs = async (answer: Response | Promise<Response>) => ((await (await answer).json()) as { name: string } | null)?.name ?? null;

describe('a session', () => {
  it('ends after an hour without a request and lives on with one, its cookie written once a minute at most', async () => {
    const { clock, logIn, page } = setUp();
    const first = await logIn();
    clock.now += 59_000;
    expect(cookieOf(await page(first))).toBeNull();
    clock.now += 50 * MINUTE;
    const second = cookieOf(await page(first))!;
    clock.now += 50 * MINUTE;
    expect(await whoIs(page(first))).toBeNull();
    expect(await whoIs(page(second))).toBe('ana@example.com');
    clock.now += 10 * MINUTE;
    expect(await whoIs(page(second))).toBeNull();
  });

  it('ends after twelve hours however busy it is', async () => {
    const { clock, logIn, page } = setUp();
    let cookie = await logIn();
    for (let at = 0; at < 71; at += 1) {
      clock.now += 10 * MINUTE;
      const answer = await page(cookie);
      expect(await whoIs(answer)).toBe('ana@example.com');
      cookie = cookieOf(answer) ?? cookie;
    }
    clock.now += 10 * MINUTE;
    expect(await whoIs(page(cookie))).toBeNull();
  });

  it('rests on the token of its superuser, and outlasts a PocketBase that does not answer by ten minutes', async () => {
    let answer: TokenAnswer = valid;
    const { clock, logIn, page } = setUp({ says: () => answer });
    const cookie = await logIn();
    answer = { kind: 'unreachable' };
    clock.now += 9 * MINUTE;
    expect(await whoIs(page(cookie))).toBe('ana@example.com');
    clock.now += 2 * MINUTE;
    expect(await whoIs(page(cookie))).toBeNull();
    answer = valid;
    expect(await whoIs(page(cookie))).toBe('ana@example.com');
    answer = { kind: 'invalid' };
    expect(await whoIs(page(cookie))).toBeNull();
    answer = { ...valid, name: 'somebody.else@example.com' };
    expect(await whoIs(page(cookie))).toBeNull();
  });

  it('that began with the operator token ends when that is replaced', async () => {
    const cookie = await setUp().logIn('token');
    expect(await whoIs(setUp().page(cookie))).toBe('ana@example.com');
    expect(await whoIs(setUp({ env: { OPERATOR_TOKEN: 'another operator token, long' } }).page(cookie))).toBeNull();
  });

  it('is nothing in a process that knows no superusers', async () => {
    const cookie = await setUp().logIn();
    expect(await whoIs(setUp({ says: null }).page(cookie))).toBeNull();
  });

  it('is refused when a single character of it is altered', async () => {
    const { logIn, page } = setUp();
    const cookie = await logIn();
    for (let at = 'pocketwarden='.length; at < cookie.length; at += 17) {
      // The last character of a part has bits that mean nothing; the highest always means something.
      const other = ALPHABET[ALPHABET.indexOf(cookie[at]!) ^ 32] ?? 'A';
      const altered = `${cookie.slice(0, at)}${other}${cookie.slice(at + 1)}`;
      expect(await whoIs(page(altered))).toBeNull();
    }
  });
});

describe('a logout', () => {
  it('ends the session, not only its cookie, until it would have ended by itself', async () => {
    const { app, clock, logIn, page } = setUp();
    const [mine, other] = [await logIn(), await logIn()];
    await app.request('/out', { headers: { cookie: mine } });
    expect(await whoIs(page(mine))).toBeNull();
    expect(await whoIs(page(other))).toBe('ana@example.com');
    clock.now += 50 * MINUTE;
    expect(await whoIs(page(mine))).toBeNull();
  });

  it.each([1, 2, 3])('is not undone by a request that was asking PocketBase for the %i. time', async (slow) => {
    const answer = Promise.withResolvers<TokenAnswer>();
    const reached = Promise.withResolvers<void>();
    let calls = 0;
    const says = () => {
      calls += 1;
      if (calls !== slow) return valid;
      reached.resolve();
      return answer.promise;
    };
    const { app, clock, logIn, page } = setUp({ says });
    const cookie = await logIn();
    clock.now += 2 * MINUTE;
    const late = page(cookie);
    await reached.promise;
    await app.request('/out', { headers: { cookie } });
    answer.resolve(valid);
    expect(cookieOf(await late)).toBeNull();
  });

  it('comes with every login for the session before it', async () => {
    const { app, logIn, page } = setUp();
    const before = await logIn('token');
    const after = cookieOf(await app.request('/in/superuser', { headers: { cookie: before } }))!;
    expect(await whoIs(page(before))).toBeNull();
    expect(await whoIs(page(after))).toBe('ana@example.com');
  });
});

describe('the token of forms', () => {
  const setUpForms = async () => {
    const { app, logIn } = setUp();
    const cookie = await logIn();
    const token = async () => await (await app.request('/csrf', { headers: { cookie } })).text();
    const send = async (csrf: string) =>
      await (await app.request('/form', { method: 'POST', headers: { cookie }, body: new URLSearchParams({ csrf }) })).text();
    return { token, send };
  };

  it('is another text with every page, and each of them is taken', async () => {
    const { token, send } = await setUpForms();
    const tokens = [await token(), await token(), await token()];
    expect(new Set(tokens).size).toBe(3);
    for (let at = 0; at < 80; at += 8) expect(new Set(tokens.map((each) => each.slice(at, at + 8))).size).toBe(3);
    for (const each of tokens) expect(await send(each)).toBe('taken');
  });

  it('is refused when it is altered, cut, or made of nothing', async () => {
    const { token, send } = await setUpForms();
    const good = await token();
    const flipped = (at: number) => `${good.slice(0, at)}${good[at] === 'A' ? 'B' : 'A'}${good.slice(at + 1)}`;
    for (const bad of ['', 'A', 'A'.repeat(good.length), good.slice(0, -4), `${good}AAAA`, flipped(3), flipped(60)])
      expect(await send(bad)).toContain('older than this session');
  });
});

describe('behind a proxy that vouches for people', () => {
  const env = { FORWARD_AUTH_ADDRESSES: '127.0.0.1', FORWARD_AUTH_SECRET: proxySecret };
  const headers = { 'x-forward-auth-secret': proxySecret, 'x-auth-request-user': 'ben@example.com' };
  const headersDistinct = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));
  const incoming = { incoming: { socket: { remoteAddress: '127.0.0.1' }, headersDistinct } } as never;

  it.each([
    ['superuser', 'ana@example.com', 'superuser'],
    ['token', 'ben@example.com', 'proxy'],
  ])('a session of a %s makes the operator %s', async (begun, name, via) => {
    const { app, logIn } = setUp({ env });
    const cookie = await logIn(begun);
    const answer = await app.request('/page', { headers: { ...headers, cookie } }, incoming);
    expect(await answer.json()).toMatchObject({ name, via });
  });

  it('a session that no longer holds leaves what the proxy says', async () => {
    const { app, logIn } = setUp({ env, says: () => ({ kind: 'invalid' }) });
    const cookie = await logIn();
    expect(await whoIs(app.request('/page', { headers: { ...headers, cookie } }, incoming))).toBe('ben@example.com');
  });
});

describe('the address that limits count by', () => {
  const addressOf = async (trusted: string, remoteAddress: string, forwarded: string | null) => {
    const { app, access } = setUp({ env: trusted === '' ? {} : { TRUSTED_PROXIES: trusted } });
    app.get('/address', (c) => c.text(access.addressOf(c)));
    const headers: Record<string, string> = forwarded === null ? {} : { 'x-forwarded-for': forwarded };
    const bindings = { incoming: { socket: { remoteAddress }, headersDistinct: {} } } as never;
    return await (await app.request('/address', { headers }, bindings)).text();
  };

  it.each([
    ['', '10.0.0.2', '1.2.3.4', '10.0.0.2'],
    ['10.0.0.2', '10.0.0.3', '1.2.3.4', '10.0.0.3'],
    ['10.0.0.2', '10.0.0.2', null, '10.0.0.2'],
    ['10.0.0.2', '10.0.0.2', '9.9.9.9, 1.2.3.4', '1.2.3.4'],
    ['10.0.0.2', '10.0.0.2', '1.2.3.4, nobody', '10.0.0.2'],
    ['fd00::/8,10.0.0.0/8', '::ffff:10.7.7.7', '2001:db8::1', '2001:db8::1'],
  ])('with TRUSTED_PROXIES=%s, from %s for %s, is %s', async (trusted, remote, forwarded, expected) => {
    expect(await addressOf(trusted, remote, forwarded)).toBe(expected);
  });
});

describe('JSON routes', () => {
  it('are for operators', async () => {
    const { app } = setUp();
    const answer = await app.request('/api/thing');
    expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    expect(await answer.json()).toEqual({ error: expect.stringContaining('OPERATOR_TOKEN') });
  });

  it('take a change by cookie only from our own pages', async () => {
    const { app, foreign, logIn } = setUp({ env: { PUBLIC_URL: 'http://console.example.com' } });
    const cookie = await logIn();
    const change = async (headers: Record<string, string>) =>
      (await app.request('/api/thing', { method: 'POST', headers: { cookie, host: 'inner:8080', ...headers } })).status;
    expect(await change({})).toBe(403);
    expect(await change({ 'Sec-Fetch-Site': 'same-site' })).toBe(403);
    expect(await change({ 'Sec-Fetch-Site': 'cross-site', Origin: 'http://inner:8080' })).toBe(403);
    expect(await change({ Origin: 'http://evil.example' })).toBe(403);
    expect(await change({ Origin: 'null' })).toBe(403);
    expect(foreign).toHaveLength(5);
    expect(await change({ 'Sec-Fetch-Site': 'same-origin' })).toBe(200);
    expect(await change({ Origin: 'http://inner:8080' })).toBe(200);
    expect(await change({ Origin: 'http://console.example.com' })).toBe(200);
  });

  it('take a change by bearer from anywhere, and the name of the person behind it', async () => {
    const { app, access } = setUp();
    const by = async (headers: Record<string, string>) => await (await app.request('/api/thing', { method: 'POST', headers })).json();
    expect(await by({ authorization: `Bearer ${operatorToken}` })).toEqual({ name: 'operator', via: 'token', pocketbaseToken: null });
    const inside = { authorization: `Bearer ${access.internalToken}`, 'x-on-behalf-of': 'An%C3%A1' };
    expect(await by(inside)).toMatchObject({ name: 'Aná', via: 'token' });
    expect(await by({ ...inside, 'x-on-behalf-of': '%E0%A4%A' })).toMatchObject({ name: '%E0%A4%A' });
    const outside = (name: string) => by({ authorization: `Bearer ${operatorToken}`, 'x-on-behalf-of': encodeURIComponent(name) });
    expect(await outside('ana@example.com')).toMatchObject({ name: 'ana@example.com (operator token)', via: 'token' });
    expect(await outside('Aná (operator token)')).toMatchObject({ name: 'Aná (operator token)' });
    expect(await outside('operator')).toMatchObject({ name: 'operator' });
    const { name: long } = (await outside(`${'x'.repeat(182)}😀${'y'.repeat(16)}`)) as { name: string };
    expect(long).toBe(`${'x'.repeat(182)} (operator token)`);
    const superuser = { name: 'ana@example.com', via: 'superuser', pocketbaseToken: superuserToken };
    expect(await by({ authorization: superuserToken, 'x-on-behalf-of': 'mallory' })).toEqual(superuser);
  });
});

describe('the proxy', () => {
  it('must have an address that somebody can have', () => {
    const wrong = { addresses: ['10.0.0.2', 'proxy.internal'], secret: 'x' };
    expect(() => createForwardAuth(wrong)).toThrow('"proxy.internal", which is neither an address nor a network');
  });
});

describe('the way on after the login', () => {
  it.each([
    ['/checks?state=infected&q=a%20b', '/checks?state=infected&q=a%20b'],
    ['/trivy-db/builds/x#log', '/trivy-db/builds/x'],
    ['', '/'],
    [undefined, '/'],
    ['checks', '/'],
    ['//evil.example/checks', '/'],
    ['/..//evil.example', '/'],
    ['/\\/evil.example', '/'],
    ['/\n/evil.example', '/'],
    ['http://here/checks', '/'],
  ])('%j → %j', (wanted, path) => {
    expect(localPath(wanted)).toBe(path);
  });
});
