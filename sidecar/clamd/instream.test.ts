import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { instream } from './instream.ts';

const command = 'zINSTREAM\0';

/** Takes what it is sent a little at a time, and answers at the end. */
async function startSlowEngine() {
  const taken: Buffer[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('data', async (bytes: Buffer) => {
      taken.push(Buffer.from(bytes));
      socket.pause();
      await sleep(1);
      socket.resume();
    });
    socket.on('end', () => socket.end('stream: OK\0'));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    content: () => contentOf(Buffer.concat(taken).subarray(command.length)),
    [Symbol.asyncDispose]: async () => void (await new Promise((resolve) => server.close(resolve))),
  };
}

function contentOf(framed: Buffer): Buffer {
  const chunks: Buffer[] = [];
  for (let at = 0; at < framed.length; ) {
    const length = framed.readUInt32BE(at);
    chunks.push(framed.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return Buffer.concat(chunks);
}

it('gives chunks back, and only when they have left', async () => {
  await using engine = await startSlowEngine();
  const content = randomBytes(16 * 1024 * 1024);
  const chunkLength = 64 * 1024;
  let spent = 0;
  let early = 0;
  const input = {
    size: content.length,
    bytes: (async function* () {
      for (let at = 0; at < content.length; at += chunkLength) {
        yield Uint8Array.from(content.subarray(at, at + chunkLength));
        if (at + chunkLength < content.length) early = spent;
      }
    })(),
    spent(chunk: Uint8Array) {
      spent += chunk.length;
      chunk.fill(0xee);
    },
  };
  const { reply } = await instream(engine.endpoint, input, { stallMs: 5000, timeoutMs: 5000 }, new AbortController().signal);
  expect(reply).toBe('stream: OK\0');
  expect(engine.content().equals(content)).toBe(true);
  expect(spent).toBe(content.length);
  expect(early).toBeGreaterThan(content.length / 2);
});

it('waits for whoever looks on, who may take longer than an engine may stand still', async () => {
  await using engine = await startSlowEngine();
  const content = randomBytes(3 * 1024);
  let looking = 0;
  let handedOn = 0;
  const input = {
    size: content.length,
    bytes: (async function* () {
      for (let at = 0; at < content.length; at += 1024) {
        yield Uint8Array.from(content.subarray(at, at + 1024));
        expect(looking).toBe(0);
      }
    })(),
    spent(chunk: Uint8Array) {
      handedOn += chunk.length;
      chunk.fill(0xee);
    },
  };
  const seen: Buffer[] = [];
  const look = async (chunk: Uint8Array) => {
    looking += 1;
    await sleep(150);
    seen.push(Buffer.from(chunk));
    looking -= 1;
  };
  const { reply } = await instream(engine.endpoint, input, { stallMs: 60, timeoutMs: 5000, seen: look }, new AbortController().signal);
  expect(reply).toBe('stream: OK\0');
  expect(Buffer.concat(seen).equals(content)).toBe(true);
  expect(engine.content().equals(content)).toBe(true);
  expect(handedOn).toBe(content.length);
});

it('fails as the look fails', async () => {
  await using engine = await startSlowEngine();
  const input = {
    size: 2,
    bytes: (async function* () {
      yield Buffer.from('ab');
    })(),
  };
  const seen = () => Promise.reject(new Error('the look failed'));
  const scan = instream(engine.endpoint, input, { stallMs: 5000, timeoutMs: 5000, seen }, new AbortController().signal);
  await expect(scan).rejects.toThrow('the look failed');
});
