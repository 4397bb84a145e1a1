import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort } from '../../test/harness/clamd.ts';
import { Session } from './session.ts';

const never = new AbortController().signal;
const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

interface Reply {
  readonly status: number;
  readonly body: object;
}

const token = (expiresInSeconds: number, id = 0) => {
  const payload = Buffer.from(JSON.stringify({ exp: Math.floor(Date.now() / 1000) + expiresInSeconds, id })).toString('base64url');
  return `e30.${payload}.sig`;
};
const loggedIn = (id: number, expiresInSeconds = 86_400): Reply => ({
  status: 200,
  body: { token: token(expiresInSeconds, id), record: { id: 'x' } },
});

/** A PocketBase of two routes: the login, and one that wants a token it likes. */
async function setUp(login: (attempt: number) => Reply, accepts: (token: string, call: number) => boolean = () => true) {
  const seen = { logins: 0, calls: 0 };
  const server = createServer((request, response) => {
    request.resume();
    const isLogin = request.url?.startsWith('/api/collections/_superusers/auth-with-password') ?? false;
    const reply = isLogin
      ? login(seen.logins++)
      : accepts(request.headers.authorization ?? '', seen.calls++)
        ? { status: 200, body: { ok: true } }
        : { status: 401, body: {} };
    request.once('end', () => response.writeHead(reply.status, { 'content-type': 'application/json' }).end(JSON.stringify(reply.body)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const told: (string | null)[] = [];
  const session = new Session({ url, email: 'warden@example.com', password: 'correct horse', onChange: (why) => told.push(why) });
  const send = () => session.send({ path: '/api/av/health', method: 'GET', timeoutMs: 5000 }, never);
  return { session, send, seen, told };
}

describe('Session', () => {
  it('logs in once, however many ask at the same time', async () => {
    const { send, seen, session, told } = await setUp(() => loggedIn(0));
    expect(session.why).toBe('it has not logged in yet');
    expect(await Promise.all([send(), send(), send()])).toEqual([{ ok: true }, { ok: true }, { ok: true }]);
    expect(seen).toEqual({ logins: 1, calls: 3 });
    expect(told).toEqual([null]);
  });

  it('logs in again after a 401, once for all who got it, and repeats their calls', async () => {
    const { send, seen } = await setUp(loggedIn, (given) => given !== token(86_400, 0) && given.length > 0);
    expect(await Promise.all([send(), send()])).toEqual([{ ok: true }, { ok: true }]);
    expect(seen).toEqual({ logins: 2, calls: 4 });
  });

  it('does not repeat for ever what is refused with every token', async () => {
    const { send, seen } = await setUp(loggedIn, () => false);
    await expect(send()).rejects.toMatchObject({ code: 'store-unavailable' });
    expect(seen).toEqual({ logins: 2, calls: 2 });
  });

  it('replaces a token before it runs out', async () => {
    const { session, seen } = await setUp((attempt) => loggedIn(attempt, attempt === 0 ? 1 : 86_400));
    const first = await session.token(never);
    await expect.poll(() => session.token(never), { timeout: 3000 }).not.toBe(first);
    expect(seen.logins).toBe(2);
  });

  it('keeps a token that still lives when the next login fails', async () => {
    const { session, told } = await setUp((attempt) => (attempt === 0 ? loggedIn(0, 2) : { status: 500, body: { message: 'no' } }));
    const first = await session.token(never);
    await expect.poll(async () => [await session.token(never), told.length], { timeout: 4000 }).toEqual([first, 2]);
  });

  it('trusts a new token that looks old because the clocks differ', async () => {
    const { session, seen } = await setUp(() => loggedIn(0, -3600));
    await session.token(never);
    await session.token(never);
    expect(seen.logins).toBe(1);
  });

  it.each<[string, Reply, RegExp]>([
    [
      'a wrong password',
      { status: 400, body: { message: 'Failed to authenticate.' } },
      /refused the e-mail or the password of the superuser warden@example.com/,
    ],
    ['MFA', { status: 401, body: { mfaId: 'abc' } }, /multi-factor login is on/],
    ['an address that is not allowed', { status: 403, body: {} }, /superuser IPs/],
    ['something that is not PocketBase', { status: 404, body: {} }, /there is no PocketBase at/],
    ['a rate limit', { status: 429, body: {} }, /limits the rate/],
    ['a broken PocketBase', { status: 502, body: {} }, /answered 502/],
  ])('has a sentence for %s, and does not ask again at once', async (_name, reply, sentence) => {
    const { session, send, seen, told } = await setUp(() => reply);
    for (let time = 0; time < 3; time++)
      await expect(send()).rejects.toMatchObject({ code: 'store-unavailable', message: expect.stringMatching(sentence) });
    expect(session.why).toMatch(sentence);
    expect(session.why).not.toContain('correct horse');
    expect(seen.logins).toBe(1);
    expect(told).toHaveLength(1);
  });

  it('has a sentence for a PocketBase that is away, and recovers', async () => {
    const { session } = await setUp(() => loggedIn(0));
    const url = `http://127.0.0.1:${await freePort()}`;
    const away = new Session({ url, email: 'warden@example.com', password: 'p' });
    await expect(away.token(never)).rejects.toMatchObject({ code: 'store-unavailable' });
    expect(away.why).toBe(`PocketBase at ${url} cannot be reached (connect ECONNREFUSED ${url.replace('http://', '')})`);
    expect(await session.token(never)).not.toBe('');
  });

  it('logs in when the pause after a failure is over', async () => {
    const { session } = await setUp((attempt) => (attempt === 0 ? { status: 503, body: {} } : loggedIn(0)));
    await expect(session.token(never)).rejects.toMatchObject({ code: 'store-unavailable' });
    await expect.poll(() => session.token(never).catch(() => ''), { timeout: 3000 }).not.toBe('');
    expect(session.why).toBeNull();
  });

  it('rejects with the reason of an abort, and the login goes on for the others', async () => {
    const { session } = await setUp(() => loggedIn(0));
    const stop = new AbortController();
    const mine = session.token(stop.signal);
    const theirs = session.token(never);
    const reason = new Error('enough');
    stop.abort(reason);
    await expect(mine).rejects.toBe(reason);
    expect(await theirs).not.toBe('');
  });
});
