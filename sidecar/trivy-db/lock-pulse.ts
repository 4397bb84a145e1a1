/**
 * A socket beside the lock, on which its holder listens. Within one kernel it tells more than a process number can: it is reached from
 * every container that shares the folder, the kernel closes it with the process however that ends, and a process that is merely
 * stopped keeps it open.
 */
import { type FileHandle, lstat, open, rm } from 'node:fs/promises';
import { createConnection, createServer, type Server } from 'node:net';
import { join } from 'node:path';

const ANSWER_MS = 2000;
/** The name of a socket must fit into 108 bytes (unix(7)); macOS allows 104. */
const MAX_PATH_BYTES = 100;

export interface Pulse {
  stop(): Promise<void>;
}

/** Null where no socket can be made: the file system does not know them, or the path is too long for this system. */
export async function startPulse(folder: string, name: string): Promise<Pulse | null> {
  const place = await shortPath(folder, name);
  if (place === null) return null;
  const server = createServer((socket) => socket.destroy());
  const stop = async () => {
    await new Promise((resolve) => server.close(resolve));
    await rm(join(folder, name), { force: true });
    await place.close();
  };
  if (await listens(server, place.path)) return { stop };
  await place.close();
  return null;
}

/** `dead`: nobody on this kernel listens any more. Says nothing about other machines that share the folder. */
export async function feelPulse(folder: string, name: string): Promise<'alive' | 'dead' | 'unknown'> {
  // connect(2) refuses what is no socket just like a dead one.
  const found = await lstat(join(folder, name)).catch(() => null);
  const place = found?.isSocket() ? await shortPath(folder, name) : null;
  if (place === null) return 'unknown';
  try {
    return await new Promise((resolve) => {
      const socket = createConnection(place.path);
      const answer = (found: 'alive' | 'dead' | 'unknown') => {
        socket.destroy();
        resolve(found);
      };
      socket.setTimeout(ANSWER_MS, () => answer('unknown'));
      socket.once('connect', () => answer('alive'));
      socket.once('error', (thrown: NodeJS.ErrnoException) => answer(thrown.code === 'ECONNREFUSED' ? 'dead' : 'unknown'));
    });
  } finally {
    await place.close();
  }
}

function listens(server: Server, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(path, () => {
      server.on('error', () => {});
      server.unref();
      resolve(true);
    });
  });
}

/** Through /proc a socket in any folder has a short name, as long as the folder is open. */
async function shortPath(folder: string, name: string): Promise<{ path: string; close(): Promise<void> } | null> {
  const whole = join(folder, name);
  const handle: FileHandle | null = await open(folder, 'r').catch(() => null);
  const short = handle && `/proc/self/fd/${handle.fd}/${name}`;
  const isThere = handle !== null && (await lstat(`/proc/self/fd/${handle.fd}`).catch(() => null)) !== null;
  if (handle !== null && short !== null && isThere) {
    if (Buffer.byteLength(short) <= MAX_PATH_BYTES) return { path: short, close: () => handle.close() };
  }
  await handle?.close();
  return Buffer.byteLength(whole) <= MAX_PATH_BYTES ? { path: whole, close: () => Promise.resolve() } : null;
}
