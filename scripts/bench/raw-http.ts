/** Requests at the least cost: a server that is to be the slow side must not wait for whoever asks. */
import { createConnection } from 'node:net';

/**
 * Requests a second over so many connections, each of which asks again when the answer is there. All answers must be of one length,
 * which the first one tells. Rejects at anything else than 200.
 */
export async function requestsPerSecond(url: string, path: string, connections: number, count: number): Promise<number> {
  const began = performance.now();
  const each = Math.ceil(count / connections);
  await Promise.all(Array.from({ length: connections }, () => ask(new URL(url), path, each)));
  return (each * connections * 1000) / (performance.now() - began);
}

function ask({ hostname, port, host }: URL, path: string, count: number): Promise<void> {
  const asked = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: hostname, port: Number(port), noDelay: true });
    let length = 0;
    let received = 0;
    let left = count;
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the server closed the connection')));
    socket.on('connect', () => socket.write(asked));
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length;
      if (length === 0) length = lengthOf(chunk.toString('latin1'));
      if (length === 0 || received > length)
        return socket.destroy(new Error(`unexpected answer: ${chunk.toString('latin1').slice(0, 60)}`));
      if (received < length) return;
      received = 0;
      left--;
      if (left > 0) return socket.write(asked);
      resolve();
      return socket.destroy();
    });
  });
}

/** Of the whole answer; 0 where it is none that was expected. */
function lengthOf(answer: string): number {
  const body = /^content-length: (\d+)/im.exec(answer)?.[1];
  const head = answer.indexOf('\r\n\r\n') + 4;
  return answer.startsWith('HTTP/1.1 200 ') && body !== undefined && head > 3 ? head + Number(body) : 0;
}
