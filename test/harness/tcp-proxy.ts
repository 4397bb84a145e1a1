import { once } from 'node:events';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What happens to connections made from now on; those open keep the behaviour they began with. */
export type Behaviour =
  | { readonly kind: 'pass' }
  /** As `pass`, and `seen` is told when these bytes come from the client; on 'hang' nothing goes either way from then on. */
  | { readonly kind: 'watch'; readonly for: string; readonly seen: (bytes: string) => 'pass' | 'hang' }
  /** Nobody listens. */
  | { readonly kind: 'refuse' }
  /** Reset once so many bytes have come from the client. */
  | { readonly kind: 'reset'; readonly after: number }
  /** Accepted, not read until the behaviour changes, never answered. */
  | { readonly kind: 'blackhole' }
  /** Read to the end and passed on, never answered, never ended. */
  | { readonly kind: 'silent' }
  /** Our side is ended, without a word, once so many bytes have come; what follows is read and dropped. */
  | { readonly kind: 'halfClose'; readonly after: number }
  /** `reply` is sent once so many bytes have come, whatever the target thinks of them. */
  | { readonly kind: 'early'; readonly after: number; readonly reply: string }
  /** The target's whole reply is replaced; `hang` leaves the connection open behind it, `dripMs` sends it byte by byte. */
  | { readonly kind: 'replace'; readonly reply: (whole: Buffer) => Buffer; readonly hang?: boolean; readonly dripMs?: number };

export interface TcpProxy extends AsyncDisposable {
  /** host:port */
  readonly address: string;
  readonly port: number;
  /**
   * Connections that a client still holds. It knocks with a byte, which a client that has left answers with a reset and which
   * spoils those in use: ask when there should be none, and ask again.
   */
  stillHeld(): number;
  /** Connections that were ever accepted. */
  accepted(): number;
  behave(behaviour: Behaviour): Promise<void>;
}

/** A proxy on loopback that does to a connection what networks, crashes and strangers do. `target` is host:port. */
export async function startTcpProxy(target: string): Promise<TcpProxy> {
  const colon = target.lastIndexOf(':');
  const upstream = { host: target.slice(0, colon), port: Number(target.slice(colon + 1)) };
  const sockets = new Set<Socket>();
  const downstream = new Set<Socket>();
  let behaviour: Behaviour = { kind: 'pass' };
  let accepted = 0;
  const track = (socket: Socket, set?: Set<Socket>) => {
    for (const each of set === undefined ? [sockets] : [sockets, set]) {
      each.add(socket);
      socket.once('close', () => each.delete(socket));
    }
    // Half of what this proxy is for shows up as an error of one of its sockets.
    socket.on('error', () => {});
    return socket;
  };
  const serve = (client: Socket) => {
    accepted += 1;
    track(client, downstream);
    handle(client, behaviour, () => track(createConnection({ ...upstream, allowHalfOpen: true })));
  };
  let server: Server | null = await listen(serve, 0);
  const port = portOf(server);
  const close = async () => {
    const closing = server;
    server = null;
    if (closing === null) return;
    closing.close();
    for (const socket of sockets) socket.destroy();
    await once(closing, 'close');
  };
  return {
    address: `127.0.0.1:${port}`,
    port,
    stillHeld() {
      for (const socket of downstream) socket.write('\0');
      return downstream.size;
    },
    accepted: () => accepted,
    async behave(next) {
      behaviour = next;
      for (const socket of downstream) socket.resume();
      if (next.kind === 'refuse') await close();
      else server ??= await listen(serve, port);
    },
    [Symbol.asyncDispose]: close,
  };
}

async function listen(serve: (client: Socket) => void, port: number): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, serve);
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return address.port;
}

function handle(client: Socket, behaviour: Behaviour, connect: () => Socket): void {
  switch (behaviour.kind) {
    case 'pass':
      return pass(client, connect());
    case 'watch':
      return watch(client, connect(), behaviour);
    case 'refuse':
      client.destroy();
      return;
    case 'blackhole':
      client.once('end', () => client.destroy());
      client.pause();
      return;
    case 'silent':
      client.once('end', () => client.destroy());
      client.pipe(connect()).resume();
      return;
    case 'reset':
      return afterBytes(client, behaviour.after, () => client.resetAndDestroy());
    case 'halfClose':
      return afterBytes(client, behaviour.after, () => client.end());
    case 'early':
      return afterBytes(client, behaviour.after, () => client.end(behaviour.reply));
    case 'replace':
      return replace(client, connect(), behaviour);
    default:
      behaviour satisfies never;
  }
}

function pass(client: Socket, upstream: Socket): void {
  client.pipe(upstream);
  upstream.pipe(client);
  client.once('close', () => upstream.destroy());
  upstream.once('close', () => client.destroySoon());
}

/** `for` is a regular expression; what it matches must come within two neighbouring reads. */
function watch(client: Socket, upstream: Socket, { for: wanted, seen }: Extract<Behaviour, { kind: 'watch' }>): void {
  const pattern = new RegExp(wanted);
  let before = '';
  let isHanging = false;
  client.on('data', (chunk: Buffer) => {
    if (isHanging) return;
    const text = chunk.toString('latin1');
    const match = pattern.exec(before + text)?.[0];
    before = match === undefined ? text : '';
    if (!upstream.write(chunk)) {
      client.pause();
      upstream.once('drain', () => client.resume());
    }
    if (match !== undefined) isHanging = seen(match) === 'hang';
  });
  client.once('end', () => upstream.end());
  upstream.on('data', (chunk: Buffer) => {
    if (!isHanging) client.write(chunk);
  });
  upstream.once('end', () => {
    if (!isHanging) client.end();
  });
  client.once('close', () => upstream.destroy());
  upstream.once('close', () => {
    if (!isHanging) client.destroySoon();
  });
}

function afterBytes(client: Socket, bytes: number, act: () => void): void {
  let seen = 0;
  let isDone = false;
  client.on('data', (chunk: Buffer) => {
    seen += chunk.length;
    if (isDone || seen < bytes) return;
    isDone = true;
    act();
  });
}

function replace(client: Socket, upstream: Socket, { reply, hang = false, dripMs = 0 }: Extract<Behaviour, { kind: 'replace' }>): void {
  const whole: Buffer[] = [];
  client.pipe(upstream);
  client.once('close', () => upstream.destroy());
  upstream.on('data', (chunk: Buffer) => whole.push(chunk));
  upstream.once('end', async () => {
    for (const piece of dripMs === 0 ? [reply(Buffer.concat(whole))] : bytesOf(reply(Buffer.concat(whole)))) {
      if (client.destroyed) return;
      client.write(piece);
      await sleep(dripMs);
    }
    if (!hang) client.end();
  });
}

function bytesOf(buffer: Buffer): Buffer[] {
  return Array.from(buffer, (byte) => Buffer.from([byte]));
}
