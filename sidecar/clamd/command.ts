import { createConnection } from 'node:net';
import { ScanError } from '../scan/errors.ts';

/** Where an engine listens: an IP address, never a name. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** STATS has a line for each of at most a few hundred tasks; everything else is far shorter. */
const longestReply = 64 * 1024;

/**
 * One command with a short reply, over a connection of its own; clamdjs' own ping and version never settle against a hung
 * engine. Resolves with everything up to the end of the connection.
 * @throws ScanError `engine-unavailable`: refused, reset, too late; the reason of the signal when it aborts.
 */
export function ask(engine: Endpoint, command: 'VERSION' | 'STATS', timeoutMs: number, signal: AbortSignal): Promise<string> {
  return converse(engine, Buffer.from(`z${command}\0`), { timeoutMs, halfClose: false }, signal);
}

/** StreamMaxLength is decided on the length of a chunk alone, so it costs no data to learn whether `size` bytes may be sent. */
export async function acceptsStreamOf(engine: Endpoint, size: number, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
  const request = Buffer.concat([Buffer.from('zINSTREAM\0'), Buffer.alloc(4)]);
  request.writeUInt32BE(size, 10);
  return (await converse(engine, request, { timeoutMs, halfClose: true }, signal)) === '';
}

interface Manner {
  readonly timeoutMs: number;
  readonly halfClose: boolean;
}

function converse(engine: Endpoint, request: Buffer, manner: Manner, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    let reply = '';
    const socket = createConnection({ ...engine, allowHalfOpen: false });
    const fail = (thrown: unknown) => {
      finish();
      reject(thrown);
    };
    const refuse = (why: string, cause?: unknown) => fail(new ScanError('engine-unavailable', why, { cause }));
    const abort = () => fail(signal.reason);
    const timer = setTimeout(() => refuse(`the engine did not answer within ${manner.timeoutMs} ms`), manner.timeoutMs);
    function finish() {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      socket.destroy();
    }
    signal.addEventListener('abort', abort, { once: true });
    socket.on('connect', () => (manner.halfClose ? socket.end(request) : socket.write(request)));
    socket.on('error', (error) => refuse(`the engine cannot be reached: ${error.message}`, error));
    socket.on('data', (chunk: Buffer) => {
      reply += chunk.toString('latin1');
      if (reply.length > longestReply) refuse('the engine answers without end');
    });
    socket.on('end', () => {
      finish();
      resolve(reply);
    });
  });
}
