import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { ScanError } from '../scan/errors.ts';
import { RangedDownload } from './ranged-download.ts';

const never = new AbortController().signal;
const content = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 7 + (at >> 9)) & 255));
const limits = { rangeBytes: 100_000, rangeMs: 10_000, stallMs: 10_000, retryMs: [1, 1, 1] };

type Answer = (response: ServerResponse, range: { from: number; to: number }, request: IncomingMessage) => void;

/** As Go's ServeContent answers a range. */
const serve: Answer = (response, { from, to }) => {
  const end = Math.min(to, content.length);
  response.writeHead(206, { 'content-range': `bytes ${from}-${end - 1}/${content.length}`, 'content-length': end - from });
  response.end(content.subarray(from, end));
};

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** A server that answers with the given answers in turn, the last one for ever. */
async function setUp(...answers: Answer[]) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const range = { from: Number(match?.[1]), to: Number(match?.[2]) + 1 };
    asked.push(`${range.from}-${range.to}`);
    (answers.length > 1 ? answers.shift()! : answers[0]!)(response, range, request);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const agent = new Agent({ keepAlive: true });
  closing.push(() => {
    server.closeAllConnections();
    server.close();
    agent.destroy();
  });
  let renewals = 0;
  const tokens = {
    token: async () => `token-${renewals}`,
    renewed: async () => `token-${++renewals}`,
  };
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/file`);
  const open = (changes: Partial<typeof limits> = {}, signal = never) =>
    RangedDownload.open({ url, lease: 'the lease', agent, tokens }, { ...limits, ...changes }, signal);
  const all = async (changes: Partial<typeof limits> = {}, signal = never) => {
    const stream = await open(changes, signal);
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream.bytes) chunks.push(chunk);
    return { bytes: Buffer.concat(chunks), sha256: stream.digest().sha256 };
  };
  const failure = (changes: Partial<typeof limits> = {}) =>
    all(changes).then(
      () => 'no failure',
      (thrown: ScanError) => thrown.code,
    );
  return { asked, open, all, failure };
}

const status =
  (code: number, body: object = {}): Answer =>
  (response) => {
    response.writeHead(code, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };
const refusal = (code: number, machine: string) =>
  status(code, { status: code, message: 'No.', data: { thing: { code: machine, message: 'No.' } } });

/** Announces everything and breaks off after `bytes`. */
const breakAfter =
  (bytes: number): Answer =>
  (response, { from, to }) => {
    const end = Math.min(to, content.length);
    response.writeHead(206, { 'content-range': `bytes ${from}-${end - 1}/${content.length}`, 'content-length': end - from });
    response.write(content.subarray(from, from + bytes), () => response.destroy());
  };

describe('RangedDownload', () => {
  it('asks for one range after the other and knows size and digest', async () => {
    const { all, asked } = await setUp(serve);
    const { bytes, sha256 } = await all();
    expect(bytes.equals(content)).toBe(true);
    expect(sha256).toBe(createHash('sha256').update(content).digest('hex'));
    expect(asked).toEqual(['0-100000', '100000-200000', '200000-300000']);
  });

  it('sends its token and its lease', async () => {
    const headers: unknown[] = [];
    const { all } = await setUp((response, range, request) => {
      headers.push([request.headers.authorization, request.headers['x-av-lease']]);
      serve(response, range, request);
    });
    await all({ rangeBytes: 1_000_000 });
    expect(headers).toEqual([['token-0', 'the lease']]);
  });

  it('goes on at the byte where a connection broke', async () => {
    const { all, asked } = await setUp(breakAfter(40_000), serve);
    expect((await all({ rangeBytes: 1_000_000 })).bytes.equals(content)).toBe(true);
    expect(asked).toHaveLength(2);
    const [from] = asked[1]!.split('-').map(Number);
    expect(from).toBeGreaterThan(0);
    expect(from).toBeLessThanOrEqual(40_000);
  });

  it('does not go on for ever when nothing comes of it', async () => {
    const { failure, asked } = await setUp(breakAfter(10));
    expect(await failure()).toBe('download');
    expect(asked).toHaveLength(1 + limits.retryMs.length);
  });

  it('begins again after a range that takes too long, where it stopped', async () => {
    const drip: Answer = (response, { from, to }) => {
      const end = Math.min(to, content.length);
      response.writeHead(206, { 'content-range': `bytes ${from}-${end - 1}/${content.length}`, 'content-length': end - from });
      response.write(content.subarray(from, from + 1000));
    };
    const { all, asked } = await setUp(drip, serve);
    expect((await all({ rangeMs: 50 })).bytes.equals(content)).toBe(true);
    expect(asked[1]).toBe('1000-101000');
  });

  it('gives up on a connection that sends nothing', async () => {
    const { failure } = await setUp((response, { from, to }) => {
      response.writeHead(206, { 'content-range': `bytes ${from}-${to - 1}/${content.length}`, 'content-length': to - from });
      response.flushHeaders();
    });
    expect(await failure({ stallMs: 20 })).toBe('download');
  });

  it('gives up on a server that does not answer', async () => {
    const { failure } = await setUp(() => {});
    expect(await failure({ stallMs: 20 })).toBe('download');
  });

  it.each<[string, Answer]>([
    ['200 with Content-Length 0', (response) => void response.writeHead(200, { 'content-length': 0 }).end()],
    ['416 with bytes */0', (response) => void response.writeHead(416, { 'content-range': 'bytes */0' }).end('nothing here')],
  ])('understands an empty file: %s', async (_name, answer) => {
    const { all } = await setUp(answer);
    const { bytes, sha256 } = await all();
    expect(bytes.length).toBe(0);
    expect(sha256).toBe(createHash('sha256').digest('hex'));
  });

  it.each<[string, Answer[], string]>([
    ['the whole file instead of a range', [(response) => void response.end(content)], 'download'],
    ['no Content-Range', [(response) => void response.writeHead(206).end(content)], 'download'],
    [
      'an unknown total',
      [(response) => void response.writeHead(206, { 'content-range': 'bytes 0-99999/*' }).end(content.subarray(0, 100_000))],
      'download',
    ],
    [
      'another range',
      [(response) => void response.writeHead(206, { 'content-range': 'bytes 1-100000/300000' }).end(content.subarray(1, 100_001))],
      'download',
    ],
    [
      'a shorter range',
      [(response) => void response.writeHead(206, { 'content-range': 'bytes 0-9/300000' }).end(content.subarray(0, 10))],
      'download',
    ],
    [
      'a total that changes',
      [serve, (response) => void response.writeHead(206, { 'content-range': 'bytes 100000-199999/300001' }).end()],
      'download',
    ],
    ['an overlap', [serve, (response) => void response.writeHead(206, { 'content-range': 'bytes 99999-199999/300000' }).end()], 'download'],
    ['a file that shrinks', [serve, status(416)], 'download'],
    [
      'more bytes than announced',
      [(response) => void response.writeHead(206, { 'content-range': 'bytes 0-99999/300000' }).end(content.subarray(0, 100_001))],
      'download',
    ],
    [
      'fewer bytes than announced',
      [(response) => void response.writeHead(206, { 'content-range': 'bytes 0-99999/300000' }).end(content.subarray(0, 10))],
      'download',
    ],
    [
      'a compressed answer',
      [(response) => void response.writeHead(206, { 'content-range': 'bytes 0-99999/300000', 'content-encoding': 'gzip' }).end()],
      'download',
    ],
    ['a redirect', [(response) => void response.writeHead(302, { location: 'http://127.0.0.1/elsewhere' }).end()], 'download'],
    ['a lost lease', [refusal(409, 'lease_lost')], 'lease-lost'],
    ['a lease lost on the way', [serve, refusal(409, 'lease_lost')], 'lease-lost'],
    ['a file that the storage lost', [refusal(404, 'file_missing')], 'download:missing'],
    ['a file that is not listed', [refusal(404, 'file_unknown')], 'download'],
    ['a PocketBase without our hooks', [status(404)], 'store-unavailable'],
    ['an address that is not allowed', [status(403)], 'store-unavailable'],
    ['errors without end', [status(500)], 'download'],
    ['a limit of rates without end', [status(429)], 'store-unavailable'],
    ['a proxy whose PocketBase is away', [status(502), status(503), status(504), status(503)], 'store-unavailable'],
    ['a token that is never accepted', [status(401)], 'store-unavailable'],
  ])('fails on %s', async (_name, answers, code) => {
    const { failure } = await setUp(...answers);
    expect(await failure()).toBe(code);
  });

  it('recovers from a few errors of the server', async () => {
    const { all } = await setUp(status(503), status(500), serve);
    expect((await all()).bytes.length).toBe(content.length);
  });

  it('takes a new token when one is refused, in the middle too', async () => {
    const tokens: unknown[] = [];
    const noting: Answer = (response, range, request) => {
      tokens.push(request.headers.authorization);
      serve(response, range, request);
    };
    const { all } = await setUp(noting, status(401), noting);
    expect((await all()).bytes.length).toBe(content.length);
    expect(tokens).toEqual(['token-0', 'token-1', 'token-1']);
  });

  it('says that PocketBase is away when nothing listens', async () => {
    const { open } = await setUp(serve);
    const gone = createServer();
    gone.listen(0, '127.0.0.1');
    await once(gone, 'listening');
    const url = new URL(`http://127.0.0.1:${(gone.address() as AddressInfo).port}/file`);
    gone.close();
    await once(gone, 'close');
    const agent = new Agent();
    const tokens = { token: async () => 't', renewed: async () => 't' };
    await expect(RangedDownload.open({ url, lease: 'l', agent, tokens }, limits, never)).rejects.toMatchObject({
      code: 'store-unavailable',
    });
    expect((await open()).size).toBe(content.length);
  });

  it('ends with the reason of an abort while it reads, and lets go of the connection', async () => {
    const stop = new AbortController();
    const ended = Promise.withResolvers<void>();
    const { open } = await setUp((response, { from, to }) => {
      response.once('close', () => ended.resolve());
      response.writeHead(206, { 'content-range': `bytes ${from}-${to - 1}/${content.length}`, 'content-length': to - from });
      response.write(content.subarray(0, 10));
    });
    const stream = await open({}, stop.signal);
    const reason = new Error('enough');
    const reading = (async () => {
      for await (const _ of stream.bytes) stop.abort(reason);
    })();
    await expect(reading).rejects.toBe(reason);
    await ended.promise;
    expect(() => stream.digest()).toThrow();
  });

  it('lets the server wait while its reader does', async () => {
    let written = 0;
    const endless = 64 * 1024 * 1024;
    const { open } = await setUp((response, { from, to }) => {
      response.writeHead(206, { 'content-range': `bytes ${from}-${to - 1}/${endless}`, 'content-length': to - from });
      const chunk = Buffer.alloc(65_536);
      const more = () => {
        while (written < endless && response.write(chunk)) written += chunk.length;
        response.once('drain', more);
      };
      more();
    });
    const stream = await open({ rangeBytes: endless });
    const before = await settledCount(() => written);
    expect(before).toBeLessThan(16 * 1024 * 1024);
    stream.close();
  });
});

/** The count once it has stopped growing. */
async function settledCount(count: () => number): Promise<number> {
  for (let last = -1; ; ) {
    const now = count();
    if (now === last) return now;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
