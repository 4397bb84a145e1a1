import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { endpointOf, guardedLookup, isPublic } from './endpoint.ts';
import { createSender, type SendOptions } from './send.ts';

const secret = 'a secret of the webhooks';
const here = new Set(['127.0.0.1', 'localhost']);

async function receiver(answer: RequestListener): Promise<URL> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?key=inner-secret`);
}

const sender = (change: Partial<SendOptions> = {}) =>
  createSender({ secret, allowed: here, timeoutMs: 2000, now: () => 1_800_000_000, ...change });

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text;
}

describe('a delivery', () => {
  it('is signed as Standard Webhooks say, and accepted with any 2xx', async () => {
    const seen = Promise.withResolvers<{ request: IncomingMessage; body: string }>();
    const url = await receiver(async (request, response) => {
      seen.resolve({ request, body: await textOf(request) });
      response.writeHead(204).end();
    });
    const body = JSON.stringify({ type: 'build.cleared', name: 'ünïcode' });
    expect(await sender()(url, 'history-1', body)).toBeNull();
    const { request, body: received } = await seen.promise;
    expect(received).toBe(body);
    expect(request.method).toBe('POST');
    expect(request.headers).toMatchObject({
      'webhook-id': 'history-1',
      'webhook-timestamp': '1800000000',
      'content-type': 'application/json',
    });
    const expected = createHmac('sha256', secret).update(`history-1.1800000000.${body}`).digest('base64');
    expect(request.headers['webhook-signature']).toBe(`v1,${expected}`);
  });

  it.each([301, 302, 400, 410, 500, 503])('is not accepted with %i, and no redirect is followed', async (status) => {
    let requests = 0;
    const url = await receiver((request, response) => {
      requests++;
      request.resume();
      response.writeHead(status, { Location: '/elsewhere' }).end('an explanation');
    });
    expect(await sender()(url, 'e', '{}')).toBe(`it answered ${status}`);
    expect(requests).toBe(1);
  });

  it('waits neither for an answer that does not come nor for one that does not end', async () => {
    const silent = await receiver(() => {});
    expect(await sender({ timeoutMs: 100 })(silent, 'e', '{}')).toBe('no answer within 0.1 s');
    const endless = await receiver((_request, response) => {
      response.writeHead(200);
      response.write('and so on');
    });
    expect(await sender({ timeoutMs: 5000 })(endless, 'e', '{}')).toBeNull();
  });

  it.each([
    ['switches protocols', 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n', 'it answered 101'],
    ['hangs up', '', 'the connection was cut'],
    ['hangs up within its answer', 'HTTP/1.1 200 OK\r\nA:', 'the connection was cut'],
    ['says only that one may go on', 'HTTP/1.1 100 Continue\r\n\r\n', 'the connection was cut'],
  ])('ends when the receiver %s', async (_name, text, why) => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(text));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    expect(await sender()(new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`), 'e', '{}')).toBe(why);
  });

  it('ends when it is stopped', async () => {
    const asked = Promise.withResolvers<void>();
    const silent = await receiver(() => asked.resolve());
    const stop = new AbortController();
    const sending = sender({ timeoutMs: 60_000 })(silent, 'e', '{}', stop.signal);
    await asked.promise;
    stop.abort();
    expect(await sending).toBe('ABORT_ERR');
  });

  it('ends with a reason where its id cannot be sent', async () => {
    const url = await receiver((_request, response) => response.end());
    expect(await sender()(url, 'two\nlines', '{}')).toBe('its id cannot stand in a header');
  });

  it('says why nobody answered, without the address', async () => {
    const url = new URL('http://127.0.0.1:1/hook?key=inner-secret');
    const why = await sender()(url, 'e', '{}');
    expect(why).toBe('the connection was refused');
  });

  it('goes to no private address that was not named', async () => {
    const url = await receiver((_request, response) => response.end());
    expect(await sender({ allowed: new Set() })(url, 'e', '{}')).toMatch(
      /^127\.0\.0\.1 is a private address.*RESULT_WEBHOOK_PRIVATE_HOSTS/,
    );
    const byName = new URL(url);
    byName.hostname = 'localhost';
    expect(await sender({ allowed: new Set() })(byName, 'e', '{}')).toMatch(/^localhost is a private address/);
    expect(await sender({ allowed: new Set(['localhost']) })(byName, 'e', '{}')).toBeNull();
  });

  it('connects to the very address that was judged, also when a name has a public and a private one', async () => {
    const url = await receiver((_request, response) => response.end());
    url.hostname = 'two-faced.example';
    const addresses = [
      { address: '127.0.0.1', family: 4 },
      { address: '198.51.100.7', family: 4 },
    ];
    const resolve = ((_host: string, _options: object, done: (error: null, found: typeof addresses) => void) =>
      done(null, addresses)) as never;
    const asked: string[] = [];
    const guarded = guardedLookup(new Set(), resolve);
    await new Promise<void>((resolved) => {
      guarded('two-faced.example', { all: true }, (_error, found) => {
        asked.push(JSON.stringify(found));
        resolved();
      });
    });
    // 198.51.100.0/24 is set aside for documentation, so nothing is left of the two.
    expect(asked).toEqual(['[]']);
  });
});

describe('an address', () => {
  it.each(['93.184.216.34', '2606:2800:220:1::1'])('%s is public', (address) => {
    expect(isPublic(address)).toBe(true);
  });
  it.each([
    '127.0.0.1',
    '10.1.2.3',
    '172.16.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '::1',
    '::',
    'fe80::1',
    'fd00::1',
    '::ffff:10.0.0.1',
    '64:ff9b::a00:1',
    '224.0.0.1',
    'not an address',
  ])('%s is not', (address) => {
    expect(isPublic(address)).toBe(false);
  });

  it('is shown without what may be secret in it', () => {
    const { id } = endpointOf('https://hooks.example.com/services/T0/B0/secret?key=secret');
    expect(id).toMatch(/^hooks\.example\.com-[0-9a-f]{8}$/);
    expect(endpointOf('https://hooks.example.com/other').id).not.toBe(id);
  });
});
