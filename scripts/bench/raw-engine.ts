/** The engine alone: what it can do when nothing of ours stands before it. */
import { createConnection } from 'node:net';
import { inParallel } from './http.ts';

const command = Buffer.from('zINSTREAM\0');
const end = Buffer.alloc(4);

/** Files a second by a minimal INSTREAM client that has them in memory. Rejects when one is not answered OK. */
export async function rawFilesPerSecond(engine: { readonly port: number }, files: readonly Buffer[], concurrency: number): Promise<number> {
  const began = performance.now();
  await inParallel(files.length, concurrency, (index) => scan(engine.port, files[index]!));
  return (files.length * 1000) / (performance.now() - began);
}

function scan(port: number, file: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(file.length);
    let reply = '';
    const socket = createConnection({ port, host: '127.0.0.1', noDelay: true });
    socket.cork();
    for (const part of [command, length, file, end]) socket.write(part);
    socket.on('connect', () => socket.uncork());
    socket.on('data', (chunk: Buffer) => {
      reply += chunk.toString();
    });
    socket.on('end', () => (reply === 'stream: OK\0' ? resolve() : reject(new Error(`clamd answered ${JSON.stringify(reply)}`))));
    socket.on('error', reject);
  });
}
