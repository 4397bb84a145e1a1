import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { createSuperusers } from './superuser-check.ts';

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
const claims = { collectionId: 'pbc_3142635823', exp: Math.floor(Date.now() / 1000) + 3600, id: 'abc', refreshable: true, type: 'auth' };
/** As PocketBase writes them, unsigned. */
const tokenOf = (changes: object = {}, signature = 'sig') => `${part({ alg: 'HS256' })}.${part({ ...claims, ...changes })}.${signature}`;
const token = tokenOf();

/** A PocketBase that answers every call alike. */
async function pretending(status: number, body: unknown) {
  const asked: string[] = [];
  /** Of a token by name, where it differs. */
  const answers = new Map<string, [number, unknown]>();
  const server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization ?? ''}`);
    const [said, what] = answers.get(request.headers.authorization ?? '') ?? [status, body];
    response.writeHead(said, { 'Content-Type': 'application/json' }).end(JSON.stringify(what));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url, asked, answers, [Symbol.dispose]: stop };
}

const good = { token: 'new.new.new', record: { email: 'ana@example.com', collectionName: '_superusers' } };

it('asks about a token once a minute, also when many ask at once', async () => {
  using pb = await pretending(200, good);
  const begun = Date.now();
  let now = begun;
  const superusers = createSuperusers(pb.url, () => now);
  const all = await Promise.all([superusers.check(token), superusers.check(token), superusers.check(token)]);
  expect(all).toEqual(Array(3).fill({ kind: 'valid', name: 'ana@example.com', token: 'new.new.new' }));
  now = begun + 59_000;
  await superusers.check(token);
  expect(pb.asked).toEqual([`/api/collections/_superusers/auth-refresh ${token}`]);
  now = begun + 61_000;
  await superusers.check(token);
  expect(pb.asked).toHaveLength(2);
});

it('asks nobody about what cannot be a token', async () => {
  using pb = await pretending(200, good);
  const superusers = createSuperusers(pb.url);
  for (const text of ['', 'x', 'a.b', `${token}\r\nX: y`, tokenOf({}, 'c'.repeat(5000))])
    expect(await superusers.check(text)).toEqual({ kind: 'invalid' });
  expect(pb.asked).toEqual([]);
});

it.each([
  ['is no JSON', 'a.b.c'],
  ['is for a file', tokenOf({ type: 'file' })],
  ['has no type', tokenOf({ type: undefined })],
  ['has run out', tokenOf({ exp: Math.floor(Date.now() / 1000) - 1 })],
  ['never runs out', tokenOf({ exp: undefined })],
  ['is of no collection', tokenOf({ collectionId: '' })],
  ['is a list', `a.${part([1])}.c`],
])('asks nobody about a token that %s', async (_what, text) => {
  using pb = await pretending(200, good);
  expect(await createSuperusers(pb.url).check(text, '10.0.0.1')).toEqual({ kind: 'invalid' });
  expect(pb.asked).toEqual([]);
});

it('asks about thirty wrong tokens of an address a minute, and always about one that was right', async () => {
  using pb = await pretending(401, {});
  const begun = Date.now();
  let now = begun;
  const superusers = createSuperusers(pb.url, () => now);
  pb.answers.set(token, [200, good]);
  expect(await superusers.check(token, '10.0.0.1')).toMatchObject({ kind: 'valid' });
  for (let at = 0; at < 30; at += 1) expect(await superusers.check(tokenOf({}, `w${at}`), '10.0.0.1')).toEqual({ kind: 'invalid' });
  for (let at = 30; at < 40; at += 1) expect(await superusers.check(tokenOf({}, `w${at}`), '10.0.0.1')).toEqual({ kind: 'unreachable' });
  expect(pb.asked).toHaveLength(31);
  now += 61_000;
  expect(await superusers.check(token, '10.0.0.1')).toMatchObject({ kind: 'valid' });
  expect(await superusers.check(tokenOf({}, 'other'), '10.0.0.2')).toEqual({ kind: 'invalid' });
  expect(pb.asked).toHaveLength(33);
});

it('asks about eight tokens of strangers at once at most, and about those of sessions beside them', async () => {
  using pb = await pretending(401, {});
  const superusers = createSuperusers(pb.url);
  const all = Array.from({ length: 50 }, (_, at) => superusers.check(tokenOf({}, `w${at}`), `10.0.0.${at}`));
  const session = superusers.check(token);
  expect((await Promise.all(all)).filter(({ kind }) => kind === 'unreachable')).toHaveLength(42);
  expect(await session).toEqual({ kind: 'invalid' });
  expect(pb.asked).toHaveLength(9);
  expect(await superusers.check(tokenOf({}, 'later'), '10.0.0.9')).toEqual({ kind: 'invalid' });
});

it('takes the token of an ordinary user for nobody', async () => {
  using pb = await pretending(200, { ...good, record: { email: 'user@example.com', collectionName: 'users' } });
  expect(await createSuperusers(pb.url).check(token)).toEqual({ kind: 'invalid' });
});

it.each([
  [401, 'invalid'],
  [403, 'invalid'],
  [404, 'invalid'],
  [429, 'unreachable'],
  [502, 'unreachable'],
])('takes the status %i for %s, and asks again when it was no answer', async (status, kind) => {
  using pb = await pretending(status, {});
  const superusers = createSuperusers(pb.url);
  expect(await superusers.check(token)).toEqual({ kind });
  await superusers.check(token);
  expect(pb.asked).toHaveLength(kind === 'unreachable' ? 2 : 1);
});

it('says that nobody answers', async () => {
  const superusers = createSuperusers('http://127.0.0.1:1');
  expect(await superusers.check(token)).toEqual({ kind: 'unreachable' });
  expect(await superusers.logIn('ana@example.com', 'x')).toMatchObject({ kind: 'unreachable' });
});
