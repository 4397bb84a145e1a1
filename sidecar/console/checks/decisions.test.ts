import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { carryOut, type Decision, whyNotFit } from './decisions.ts';

async function pocketbase(listener: RequestListener) {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    pocketbaseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const parts = { token: 'a token', decision: 'release' as Decision, reason: 'because' };
const orders = ['one', 'two', 'three'].map((check) => ({ check, scanTime: '2026-01-01 00:00:00.000Z' }));
const outcomes = (results: readonly { outcome: string }[]) => results.map(({ outcome }) => outcome);

it('asks as the operator, for the scan that was looked at', async () => {
  const asked: unknown[] = [];
  await using pb = await pocketbase((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      asked.push([request.method, request.url, request.headers.authorization, JSON.parse(body)]);
      response.end(asked.length === 2 ? '{"code":"already_released"}' : '{}');
    });
  });
  const results = await carryOut(orders, { ...parts, pocketbaseUrl: pb.pocketbaseUrl });
  expect(outcomes(results)).toEqual(['done', 'was-so', 'done']);
  expect(asked[0]).toEqual(['POST', '/api/av/checks/one/release', 'a token', { reason: 'because', scanTime: orders[0]!.scanTime }]);
});

it('tries no others once PocketBase has stopped answering', async () => {
  let calls = 0;
  await using pb = await pocketbase((request, response) => {
    calls += 1;
    if (calls === 1) response.end('{}');
    else request.socket.destroy();
  });
  const results = await carryOut(orders, { ...parts, pocketbaseUrl: pb.pocketbaseUrl });
  expect(outcomes(results)).toEqual(['done', 'refused', 'not-tried']);
  expect(results[1]).toMatchObject({ why: expect.stringContaining('Look at this check before you try again.') });
  expect(calls).toBe(2);
});

it.each([
  [401, '{}', 'Log out and log in again.'],
  [403, '{}', 'this needs a superuser'],
  [404, '{}', 'its build was deleted'],
  [400, '{"message":"This build is not released."}', 'This build is not released.'],
  [502, '<html>', 'PocketBase answered 502.'],
  [400, '{"message":["not","text"]}', 'PocketBase answered 400.'],
])('says in words what an answer of %i means', async (status, body, words) => {
  await using pb = await pocketbase((_, response) => {
    response.statusCode = status;
    response.end(body);
  });
  const [result] = await carryOut(orders.slice(0, 1), { ...parts, pocketbaseUrl: pb.pocketbaseUrl });
  expect(result).toMatchObject({ outcome: 'refused', why: expect.stringContaining(words) });
});

it('takes no page for a success', async () => {
  await using pb = await pocketbase((_, response) => response.end('<html>a proxy is proud to serve</html>'));
  const results = await carryOut(orders, { ...parts, pocketbaseUrl: pb.pocketbaseUrl });
  expect(outcomes(results)).toEqual(['refused', 'not-tried', 'not-tried']);
});

const judged = { status: 'infected', reason: '', release: null, rescanAt: null };
const release = { by: 'ana', at: null, reason: '' };
it.each([
  ['release', judged, true],
  ['release', { ...judged, status: 'error', reason: 'download' }, true],
  ['release', { ...judged, status: 'error', reason: 'no-files' }, false],
  ['release', { ...judged, status: 'clean' }, false],
  ['release', { ...judged, status: 'pending' }, false],
  ['release', { ...judged, release }, false],
  ['revoke', { ...judged, release }, true],
  ['revoke', judged, false],
  ['rescan', judged, true],
  ['rescan', { ...judged, status: 'clean' }, true],
  ['rescan', { ...judged, status: 'scanning' }, false],
  ['rescan', { ...judged, rescanAt: new Date(5) }, false],
  ['rescan', { ...judged, rescanAt: new Date(50) }, true],
] as const)('%s fits %j: %j', (decision, check, fits) => {
  expect(whyNotFit(decision, check, 10) === null).toBe(fits);
});
