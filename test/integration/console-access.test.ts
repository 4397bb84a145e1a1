/** Who may use the console, against a real PocketBase. */
import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { operatorToken, startConsole } from '../harness/console.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';
import { startSidecar } from '../harness/sidecar.ts';

const secret = 'a session secret of the tests, long enough';
let pb: RunningPocketBase;

beforeAll(async () => {
  pb = await startPocketBase();
});
afterAll(() => pb.stop());

const start = (env: Record<string, string> = {}) => startConsole({ pocketbase: pb, env: { SESSION_SECRET: secret, ...env } });

interface Asked {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** `name=value` of the session, if it was set. */
  readonly cookie: string | null;
}

async function ask({ url }: { readonly url: string }, path: string, init: RequestInit = {}): Promise<Asked> {
  const answer = await fetch(`${url}${path}`, { redirect: 'manual', ...init });
  const cookie =
    answer.headers
      .getSetCookie()
      .find((each) => each.includes('pocketwarden='))
      ?.split(';')[0] ?? null;
  return { status: answer.status, headers: answer.headers, text: await answer.text(), cookie };
}

function logIn(
  console: { readonly url: string },
  fields: Record<string, string> = {},
  headers: Record<string, string> = {},
): Promise<Asked> {
  const body = new URLSearchParams({ email: superuser.email, password: superuser.password, ...fields });
  return ask(console, '/login', { method: 'POST', body, headers });
}

async function sessionOf(console: { readonly url: string }): Promise<{ cookie: string; csrf: string }> {
  const { cookie } = await logIn(console);
  const page = await ask(console, '/', { headers: { cookie: cookie! } });
  const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1];
  return { cookie: cookie!, csrf: csrf! };
}

describe('login', () => {
  it('sends whoever is not logged in to the login and afterwards back', async () => {
    await using console = await start();
    const first = await ask(console, '/checks?state=infected');
    expect([first.status, first.headers.get('location')]).toEqual([303, '/login?to=%2Fchecks%3Fstate%3Dinfected']);
    const done = await logIn(console, { to: '/checks?state=infected' });
    expect([done.status, done.headers.get('location')]).toEqual([303, '/checks?state=infected']);
    const page = await ask(console, '/', { headers: { cookie: done.cookie! } });
    expect(page.status).toBe(200);
    expect(page.text).toContain(superuser.email);
    expect(console.events('login')).toMatchObject([{ account: superuser.email, address: '127.0.0.1' }]);
    expect(await console.metrics()).toContain('pocketwarden_logins_total{result="ok"} 1');
  });

  it('sets a cookie that no script reads, no other site sends, and that is opaque', async () => {
    await using console = await start();
    const header = (await logIn(console)).headers.getSetCookie().join('\n');
    expect(header).toMatch(/^pocketwarden=[\w.-]+; Path=\/; HttpOnly; SameSite=Strict$/);
    expect(header).not.toContain(superuser.email);
    await using tls = await start({ PUBLIC_URL: 'https://console.example.com' });
    expect((await logIn(tls)).headers.getSetCookie().join('\n')).toMatch(
      /^__Host-pocketwarden=[\w.-]+; Path=\/; HttpOnly; Secure; SameSite=Strict$/,
    );
  });

  it.each([
    'https://evil.example',
    '//evil.example',
    '/\\evil.example',
    '/\t/evil.example',
    '/.//evil.example',
    'javascript:alert(1)',
    '/logout',
  ])('does not lead to %j', async (to) => {
    await using console = await start();
    expect((await logIn(console, { to })).headers.get('location')).toBe('/');
  });

  it('answers a wrong password and an unknown e-mail with the same words, and logs neither password', async () => {
    await using console = await start();
    const wrong = await logIn(console, { password: 'not the password' });
    const unknown = await logIn(console, { email: 'nobody@example.com', password: 'not the password' });
    expect([wrong.status, unknown.status]).toEqual([401, 401]);
    expect(wrong.text.replaceAll(superuser.email, '')).toBe(
      unknown.text.replaceAll('nobody@example.com', '').replace(/data-now="[^"]*"/, /data-now="[^"]*"/.exec(wrong.text)![0]),
    );
    expect(wrong.cookie).toBeNull();
    expect(console.events('login-failed')).toMatchObject([
      { account: superuser.email, result: 'refused' },
      { account: 'nobody@example.com' },
    ]);
    expect(JSON.stringify(console.events())).not.toContain('not the password');
  });

  it('stops after five failures on an account, also when they come at once, and says when to come back', async () => {
    await using console = await start();
    const tries = await Promise.all(Array.from({ length: 12 }, () => logIn(console, { email: 'Victim@example.com', password: 'x' })));
    expect(tries.filter(({ status }) => status === 401)).toHaveLength(5);
    const late = tries.find(({ status }) => status === 429)!;
    expect(Number(late.headers.get('retry-after'))).toBeGreaterThan(800);
    expect(late.text).toContain('Too many failed logins');
    expect((await logIn(console, { email: 'victim@example.com ', password: 'x' })).status).toBe(429);
    expect((await logIn(console)).status).toBe(303);
    expect(await console.metrics()).toContain('pocketwarden_logins_total{result="throttled"} 8');
  });

  it('lets a superuser in whose password a stranger guesses elsewhere, and forgets no limit for it', async () => {
    await using console = await start({ TRUSTED_PROXIES: '127.0.0.1' });
    const from = (address: string, password: string) => logIn(console, { password }, { 'X-Forwarded-For': `10.1.1.1, ${address}` });
    for (let at = 0; at < 5; at += 1) expect((await from('203.0.113.7', 'wrong')).status).toBe(401);
    expect((await from('203.0.113.7', superuser.password)).status).toBe(429);
    expect((await from('198.51.100.2', superuser.password)).status).toBe(303);
    expect((await from('203.0.113.7', superuser.password)).status).toBe(429);
    expect(console.events('login')).toMatchObject([{ address: '198.51.100.2' }]);
  });

  it('stops after twenty failures from an address, whatever the account, and a forged X-Forwarded-For does not help', async () => {
    await using console = await start();
    for (let at = 0; at < 20; at += 1)
      await logIn(console, { email: '', password: '', token: `wrong ${at}` }, { 'X-Forwarded-For': `10.0.0.${at}` });
    expect((await logIn(console, {}, { 'X-Forwarded-For': '10.9.9.9' })).status).toBe(429);
  });

  it('takes the operator token, which may not change checks', async () => {
    await using console = await start();
    const done = await logIn(console, { email: '', password: '', token: operatorToken });
    expect(done.status).toBe(303);
    const page = await ask(console, '/checks?state=infected', { headers: { cookie: done.cookie! } });
    expect(page.text).toContain('title="operator token"');
    expect(page.text).toContain('href="/login?to=%2Fchecks%3Fstate%3Dinfected">Log in as superuser</a>');
    expect((await ask(console, '/login', { headers: { cookie: done.cookie! } })).status).toBe(200);
    const more = await logIn(console, {}, { cookie: done.cookie! });
    const asSuperuser = await ask(console, '/', { headers: { cookie: more.cookie! } });
    expect(asSuperuser.text).toContain('title="PocketBase superuser"');
    expect(asSuperuser.text).not.toContain('Log in as superuser');
    expect((await ask(console, '/login', { headers: { cookie: more.cookie! } })).headers.get('location')).toBe('/');
    expect((await ask(console, '/', { headers: { cookie: done.cookie! } })).status).toBe(303);
  });

  it('refuses a login that another site sent', async () => {
    await using console = await start();
    expect((await logIn(console, {}, { 'Sec-Fetch-Site': 'cross-site' })).status).toBe(403);
    expect((await logIn(console, {}, { Origin: 'https://evil.example' })).status).toBe(403);
    expect((await logIn(console, {}, { Origin: console.url })).status).toBe(303);
  });

  it('says so when PocketBase wants a second factor', async () => {
    await using other = await startPocketBase({ withoutOurHooks: false });
    await other.client.collections.update('_superusers', {
      mfa: { enabled: true, duration: 600, rule: '' },
      otp: { enabled: true, duration: 180, length: 8 },
    });
    await using console = await startConsole({ pocketbase: other });
    const answer = await logIn(console);
    expect(answer.status).toBe(403);
    expect(answer.text).toContain('second factor');
  });
});

describe('a session', () => {
  it('survives a restart with the same secret, and only with it', async () => {
    const { cookie } = await (async () => {
      await using console = await start();
      return await sessionOf(console);
    })();
    await using same = await start();
    expect((await ask(same, '/', { headers: { cookie } })).status).toBe(200);
    await using another = await start({ SESSION_SECRET: 'another session secret, long enough too' });
    expect((await ask(another, '/', { headers: { cookie } })).headers.get('location')).toBe('/login?to=%2F&ended=1');
  });

  it('ends with the logout, which needs the token of its form', async () => {
    await using console = await start();
    const { cookie, csrf } = await sessionOf(console);
    const without = await ask(console, '/logout', { method: 'POST', headers: { cookie }, body: new URLSearchParams() });
    expect(without.status).toBe(403);
    expect(console.events('foreign-request')).toHaveLength(1);
    const done = await ask(console, '/logout', { method: 'POST', headers: { cookie }, body: new URLSearchParams({ csrf }) });
    expect(done.headers.get('location')).toBe('/login');
    expect(done.headers.getSetCookie().join()).toMatch(/^pocketwarden=; Max-Age=0/);
    expect(console.events('logout')).toMatchObject([{ account: superuser.email }]);
    const copy = await ask(console, '/', { headers: { cookie } });
    expect([copy.status, copy.cookie]).toEqual([303, null]);
  });

  it('takes no form that another site sent, even with the right token, and none with the token of another session', async () => {
    await using console = await start();
    const [mine, theirs] = [await sessionOf(console), await sessionOf(console)];
    const post = (csrf: string, headers: Record<string, string> = {}) =>
      ask(console, '/logout', { method: 'POST', headers: { cookie: mine.cookie, ...headers }, body: new URLSearchParams({ csrf }) });
    expect(theirs.csrf).not.toBe(mine.csrf);
    expect((await post(theirs.csrf)).status).toBe(403);
    expect((await post(mine.csrf, { 'Sec-Fetch-Site': 'same-site' })).status).toBe(403);
    expect((await post(mine.csrf, { Origin: 'null' })).status).toBe(403);
    expect((await post(mine.csrf, { 'Sec-Fetch-Site': 'same-origin' })).status).toBe(303);
  });

  it('ends for a superuser whose tokens were revoked in PocketBase', async () => {
    await using console = await start();
    const email = 'leaver@example.com';
    const record = await pb.client
      .collection('_superusers')
      .create({ email, password: 'a long password', passwordConfirm: 'a long password' });
    const { cookie } = await logIn(console, { email, password: 'a long password' });
    await pb.client.collection('_superusers').delete(record.id);
    // Another process has not asked PocketBase about this token in the last minute.
    await using fresh = await start();
    expect((await ask(fresh, '/', { headers: { cookie: cookie! } })).status).toBe(303);
  });
});

describe('bearers and proxies', () => {
  it('knows the token of a superuser and the operator token, and nobody by a wrong one even with a good cookie', async () => {
    await using console = await start();
    const { cookie } = await sessionOf(console);
    const as = (authorization: string) => ask(console, '/', { headers: { authorization, cookie } });
    const own = await as(`Bearer ${pb.client.authStore.token}`);
    expect(own.text).toContain('title="PocketBase superuser"');
    const token = await ask(console, '/', { headers: { authorization: `Bearer ${operatorToken}`, 'X-On-Behalf-Of': 'An%C3%A1 <b>' } });
    expect(token.text).toContain('Aná &lt;b&gt; (operator token)');
    expect((await as('Bearer wrong')).status).toBe(303);
    expect((await as(`Bearer ${pb.client.authStore.token}x`)).status).toBe(303);
  });

  it('asks PocketBase about few of the tokens that strangers make up', async () => {
    await using console = await start();
    const made = (at: number) => {
      const [head, body] = pb.client.authStore.token.split('.');
      return ask(console, '/', { headers: { authorization: `Bearer ${at % 2 === 0 ? `a${at}.b.c` : `${head}.${body}.wrong${at}`}` } });
    };
    const since = new Date().toISOString().replace('T', ' ');
    const filter = `data.url ~ "auth-refresh" && created >= "${since}"`;
    const asked = async () => (await pb.client.logs.getList(1, 1, { filter })).totalItems;
    const all = await Promise.all(Array.from({ length: 300 }, (_, at) => made(at)));
    expect(new Set(all.map(({ status }) => status))).toEqual(new Set([303]));
    await ask(console, '/', { headers: { authorization: `Bearer ${pb.client.authStore.token}` } });
    // PocketBase writes its log every three seconds; the last question was asked after all others.
    await eventually('the log has the last of them', async () => (await asked()) > 0, 15_000);
    expect(await asked()).toBeLessThanOrEqual(39);
  });

  it('believes the headers of the trusted proxy alone', async () => {
    const proxySecret = 'a secret of the proxy';
    const right = { 'X-Forward-Auth-Secret': proxySecret, 'X-Auth-Request-User': 'ana@example.com' };
    await using trusting = await start({ FORWARD_AUTH_ADDRESSES: '127.0.0.0/8', FORWARD_AUTH_SECRET: proxySecret });
    const page = (await ask(trusting, '/checks', { headers: right })).text;
    expect(page).toContain('ana@example.com');
    expect(page).toContain('href="/login?to=%2Fchecks">Log in as superuser</a>');
    for (const headers of [
      { ...right, 'X-Forward-Auth-Secret': 'wrong' },
      { 'X-Auth-Request-User': 'ana@example.com' },
      { X_Forward_Auth_Secret: proxySecret, X_Auth_Request_User: 'ana@example.com' },
      { 'X-Forward-Auth-Secret': proxySecret, X_Auth_Request_User: 'ana@example.com' },
    ])
      expect((await ask(trusting, '/', { headers: headers as Record<string, string> })).status).toBe(303);
    expect(await statusOfTwice(trusting.port, proxySecret)).toBe(303);
    const form = await ask(trusting, '/login?to=/checks', { headers: right });
    expect([form.status, form.text.includes('type="password"')]).toEqual([200, true]);
    const { cookie } = await logIn(trusting, {}, right);
    const both = await ask(trusting, '/', { headers: { ...right, cookie: cookie! } });
    expect(both.text).toContain(`title="PocketBase superuser">${superuser.email}<`);
    await using elsewhere = await start({ FORWARD_AUTH_ADDRESSES: '10.0.0.0/8', FORWARD_AUTH_SECRET: proxySecret });
    expect((await ask(elsewhere, '/', { headers: right })).status).toBe(303);
    await using off = await start();
    expect((await ask(off, '/', { headers: right })).status).toBe(303);
  });
});

/** A client's own header, to which a careless proxy adds its. */
function statusOfTwice(port: number, proxySecret: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = ['Host', 'x', 'X-Forward-Auth-Secret', proxySecret, 'X-Auth-Request-User', 'mallory', 'X-Auth-Request-User', 'ana'];
    const request = httpRequest({ port, host: '127.0.0.1', path: '/', headers }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    request.on('error', reject);
    request.end();
  });
}

describe('pages', () => {
  it('forbid everything inline or from elsewhere, and are in no cache', async () => {
    await using console = await start();
    for (const path of ['/login', '/']) {
      const { headers } = await ask(console, path);
      expect(headers.get('content-security-policy')).toBe(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
      );
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('cache-control')).toBe('no-store');
    }
    const page = (await ask(console, '/login')).text;
    expect(page).not.toMatch(/<style|style=|<script>|onclick/);
  });

  it('leave the rest of the process alone', async () => {
    await using console = await start();
    expect((await ask(console, '/healthz')).text).toBe('{"alive":true}');
    expect(JSON.parse((await ask(console, '/readyz')).text)).toHaveProperty('warnings');
    const forwarded = await ask(console, '/readyz', { headers: { 'X-Forwarded-For': '127.0.0.1' } });
    expect(Object.keys(JSON.parse(forwarded.text))).toEqual(['ready', 'parts']);
    expect((await ask(console, '/api/nothing')).status).toBe(404);
    expect((await ask(console, '/nothing')).status).toBe(404);
  });

  it('bring styles and scripts that are compressed and kept for ever, and say so when one changes', async () => {
    await using console = await start();
    const page = (await ask(console, '/login')).text;
    const css = /href="(\/assets\/console\.css\?v=[^"]+)"/.exec(page)![1]!;
    const sheet = await ask(console, css, { headers: { 'Accept-Encoding': 'br' } });
    expect([sheet.status, sheet.headers.get('content-encoding'), sheet.headers.get('cache-control')]).toEqual([
      200,
      'br',
      'public, max-age=31536000, immutable',
    ]);
    expect((await ask(console, '/assets/console.css')).headers.get('cache-control')).toBe('no-cache');
    expect((await ask(console, '/assets/..%2fmain.js')).status).toBe(404);
  });

  it('are compressed for a session, and never for whom a proxy vouches', async () => {
    const proxySecret = 'a secret of the proxy';
    await using console = await start({ FORWARD_AUTH_ADDRESSES: '127.0.0.1', FORWARD_AUTH_SECRET: proxySecret });
    const { cookie } = await sessionOf(console);
    const encodingFor = async (headers: Record<string, string>) =>
      (await ask(console, '/', { headers: { 'Accept-Encoding': 'gzip', ...headers } })).headers.get('content-encoding');
    expect(await encodingFor({ cookie })).toBe('gzip');
    expect(await encodingFor({ 'X-Forward-Auth-Secret': proxySecret, 'X-Auth-Request-User': 'ana' })).toBeNull();
  });

  it('hold another token of their forms each time, which every one of them takes', async () => {
    await using console = await start();
    const { cookie, csrf } = await sessionOf(console);
    const page = await ask(console, '/', { headers: { cookie } });
    expect(/name="csrf" value="([^"]+)"/.exec(page.text)?.[1]).not.toBe(csrf);
    const done = await ask(console, '/logout', { method: 'POST', headers: { cookie }, body: new URLSearchParams({ csrf }) });
    expect(done.status).toBe(303);
  });

  it('are refused to streams and to pages that fetch themselves, without a redirect', async () => {
    await using console = await start();
    expect((await ask(console, '/events')).status).toBe(401);
    expect((await ask(console, '/', { headers: { 'X-Live': 'idle' } })).status).toBe(401);
  });
});

it('stays up while PocketBase is down: who is logged in reads on, who is not is told why', async () => {
  await using other = await startPocketBase();
  await using console = await startConsole({ pocketbase: other });
  const { cookie } = await sessionOf(console);
  await other.kill('SIGKILL');
  const page = await ask(console, '/', { headers: { cookie } });
  expect(page.status).toBe(200);
  const checks = await ask(console, '/checks', { headers: { cookie } });
  expect(checks.status).toBe(503);
  expect(checks.text).toContain('PocketBase');
  const refused = await logIn(console);
  expect(refused.status).toBe(503);
  expect(refused.text).toContain('PocketBase does not answer. Start it, then try again.');
  await eventually('the overview says it', async () =>
    (await ask(console, '/', { headers: { cookie } })).text.includes('PocketBase cannot be used'),
  );
});

it('is served by the compiled sidecar, and outlives its sudden death', async () => {
  const env = { ROLES: 'console', SESSION_SECRET: secret, OPERATOR_TOKEN: operatorToken };
  await using sidecar = await startSidecar({ pocketbase: pb, clamd: { address: '127.0.0.1:1' }, env, until: 'listening' });
  const { cookie } = await logIn(sidecar);
  const page = await ask(sidecar, '/', { headers: { cookie: cookie! } });
  expect(page.text).toContain('<h1>Overview</h1>');
  const addresses = [...page.text.matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g)].map(([, address]) => address!);
  expect(addresses.length).toBeGreaterThanOrEqual(4);
  for (const address of addresses) expect((await ask(sidecar, address)).status).toBe(200);
  await sidecar.restart();
  expect((await ask(sidecar, '/', { headers: { cookie: cookie! } })).status).toBe(200);
  expect(sidecar.log()).not.toContain(superuser.password);
  expect(sidecar.log()).not.toContain(operatorToken);
});
