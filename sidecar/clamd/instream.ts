/**
 * clamdjs made strict. It pipes `source → framer → socket` and keeps the socket to itself; a source whose `pipe` is our own
 * meets the framer, and the framer's `pipe` meets the socket. From there every byte can be counted and every failure can end
 * the connection. This depends on that chain of pipes: the version is pinned, and without the socket no scan succeeds.
 */
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { createScanner } from 'clamdjs';
import { ScanError } from '../scan/errors.ts';
import type { ScanInput } from '../scan/ports.ts';
import type { Endpoint } from './command.ts';
import { Feed } from './feed.ts';
import { isNoRoom, quote, replyError } from './protocol.ts';

export interface Patience {
  /** No progress while sending. */
  readonly stallMs: number;
  /** From the last byte to the reply; a second per 8 MiB is added. */
  readonly timeoutMs: number;
}

/** Told of every chunk before the engine gets it; where it answers a promise, the engine waits for that. */
type Seen = (chunk: Uint8Array) => void | Promise<void>;

const connectMs = 5_000;
const commandLength = 'zINSTREAM\0'.length;
const lengthPrefix = 4;
const bytesPerExtraSecond = 8 * 1024 * 1024;
const longestReply = 4096;
/** clamdjs takes one number for everything up to the reply. Ours are tighter and this one must never be first. */
const clamdjsTimeoutMs = 24 * 60 * 60 * 1000;

export interface Exchanged {
  readonly reply: string;
  /** Bytes of the file that the connection took, without command and lengths. */
  readonly sent: number;
}

/**
 * Streams the bytes to the engine and resolves with its reply, whole, and only if every byte was sent before it.
 * @throws ScanError `engine-unavailable` if nothing was sent yet, `engine-busy` if it has no room or broke off before it had everything,
 * else `engine-reply`; the signal's reason when it aborts; what the source throws, unchanged.
 */
export function instream(
  engine: Endpoint,
  input: ScanInput,
  options: Patience & { readonly seen?: Seen },
  signal: AbortSignal,
): Promise<Exchanged> {
  return new Promise((resolve, reject) => {
    const exchange = new Exchange(input, options, { resolve, reject });
    exchange.run(engine, signal);
  });
}

interface Settle {
  resolve(exchanged: Exchanged): void;
  reject(thrown: unknown): void;
}

/** What clamdjs does with the transform that puts lengths in front of chunks. */
interface Framer {
  write(chunk: Uint8Array): boolean;
  pipe(socket: Socket): Socket;
}

class Exchange {
  readonly #size: number;
  readonly #patience: Patience;
  readonly #settle: Settle;
  readonly #feed: Feed;
  readonly #spent: (chunk: Uint8Array) => void;
  #socket: Socket | null = null;
  #timer: NodeJS.Timeout | undefined;
  #settled = false;
  #framedBytes = 0;
  #framedChunks = 0;
  #reply = '';
  #unsent: Uint8Array[] = [];
  #release = () => {};

  constructor(input: ScanInput, options: Patience & { readonly seen?: Seen }, settle: Settle) {
    this.#size = input.size;
    this.#patience = options;
    this.#settle = settle;
    this.#feed = new Feed(input, options.seen ?? (() => {}));
    this.#spent = (chunk) => input.spent?.(chunk);
  }

  run(engine: Endpoint, signal: AbortSignal): void {
    const abort = () => this.#fail(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    this.#release = () => signal.removeEventListener('abort', abort);
    if (signal.aborted) return abort();
    this.#feed.on('error', (error) => this.#fail(error));
    this.#intercept();
    this.#wait(Math.min(connectMs, this.#patience.stallMs), () =>
      this.#fail(new ScanError('engine-unavailable', 'the engine accepts no connection')),
    );
    createScanner(engine.host, engine.port)
      .scanStream(this.#feed, clamdjsTimeoutMs)
      .then(
        (reply) => this.#replied(reply),
        (error: Error) => this.#broke(error),
      );
  }

  /** Called by clamdjs when it is connected and has written the command. */
  #intercept(): void {
    const feed = this.#feed;
    const { pipe } = feed;
    feed.pipe = ((framer: Framer) => {
      const { write, pipe: pipeFramed } = framer;
      framer.write = (chunk) => {
        this.#framed(chunk);
        return write.call(framer, chunk);
      };
      framer.pipe = (socket) => {
        this.#connected(socket);
        return pipeFramed.call(framer, socket);
      };
      return pipe.call(feed, framer as unknown as Writable);
    }) as unknown as typeof feed.pipe;
  }

  #connected(socket: Socket): void {
    this.#socket = socket;
    if (this.#settled) return this.#cutOff();
    socket.on('data', (chunk: Buffer) => this.#answering(chunk));
    socket.once('finish', () => this.#awaitReply());
    socket.on('drain', () => this.#passOnSpent());
    // A small file is there by the next turn of the loop, and so leaves as one segment with its length and the closing zero.
    this.#gather();
    socket.setNoDelay(true);
    this.#wait(this.#patience.stallMs, () => this.#stalled());
  }

  #framed(chunk: Uint8Array): void {
    this.#passOnSpent();
    this.#unsent.push(chunk);
    this.#framedBytes += chunk.length;
    this.#framedChunks += 1;
    this.#timer?.refresh();
    this.#gather();
  }

  /** clamd reads piece by piece as it comes: a length that travels alone costs it a read of its own. */
  #gather(): void {
    const socket = this.#socket;
    socket?.cork();
    setImmediate(() => socket?.uncork());
  }

  #stalled(): void {
    if (this.#feed.looking) return this.#wait(this.#patience.stallMs, () => this.#stalled());
    const idle = `for ${this.#patience.stallMs} ms`;
    this.#fail(
      this.#feed.waiting
        ? new ScanError('download', `no byte came ${idle}`)
        : new ScanError('engine-reply', `the engine took no byte ${idle}`),
    );
  }

  /** From here on clamd is silent until its verdict, so that no progress can be expected. */
  #awaitReply(): void {
    if (this.#settled) return;
    const ms = this.#patience.timeoutMs + Math.ceil(this.#size / bytesPerExtraSecond) * 1000;
    this.#wait(ms, () => this.#fail(new ScanError('engine-reply', `the engine did not answer within ${ms} ms`)));
  }

  #answering(chunk: Buffer): void {
    this.#reply += chunk.toString('latin1');
    if (!this.#everythingSent()) this.#fail(replyError(this.#reply, `the engine answered ${quote(this.#reply)} before it had everything`));
    if (this.#reply.length > longestReply) this.#fail(new ScanError('engine-reply', 'the engine answers without end'));
  }

  #passOnSpent(): void {
    if (!this.#hasLeft(this.#framedBytes, this.#framedChunks)) return;
    for (const chunk of this.#unsent.splice(0)) this.#spent(chunk);
  }

  #everythingSent(): boolean {
    return this.#framedBytes === this.#size && this.#hasLeft(this.#size, this.#framedChunks + 1);
  }

  /** Whether the kernel has taken the command and all of this, and nothing waits. */
  #hasLeft(bytes: number, lengths: number): boolean {
    const socket = this.#socket;
    return socket !== null && socket.writableLength === 0 && socket.bytesWritten === commandLength + bytes + lengthPrefix * lengths;
  }

  #replied(reply: string): void {
    if (this.#settled) return;
    if (!this.#everythingSent()) return this.#fail(replyError(reply, `the engine ended with ${quote(reply)} before it had everything`));
    for (const chunk of this.#unsent.splice(0)) this.#spent(chunk);
    const sent = this.#socket!.bytesWritten - commandLength - lengthPrefix * (this.#framedChunks + 1);
    this.#finish();
    this.#settle.resolve({ reply, sent });
  }

  #broke(error: Error): void {
    if (this.#socket === null) {
      return this.#fail(new ScanError('engine-unavailable', `the engine cannot be reached: ${error.message}`, { cause: error }));
    }
    // clamd looks at nothing before it has everything: what breaks earlier is no fault of the file.
    const isLookedAt = this.#framedBytes === this.#size && !isNoRoom(this.#reply);
    const what = this.#reply === '' ? 'broke off' : `answered ${quote(this.#reply)} and broke off`;
    this.#fail(new ScanError(isLookedAt ? 'engine-reply' : 'engine-busy', `the engine ${what}: ${error.message}`, { cause: error }));
  }

  #fail(thrown: unknown): void {
    if (this.#settled) return;
    this.#finish();
    this.#feed.destroy();
    this.#cutOff();
    this.#settle.reject(thrown);
  }

  #finish(): void {
    this.#settled = true;
    clearTimeout(this.#timer);
    this.#release();
  }

  #cutOff(): void {
    this.#socket?.destroy();
    // clamdjs stops its timer only at the end of the socket, and that timer would hold all of this for a day.
    this.#socket?.emit('end');
  }

  #wait(ms: number, late: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(late, ms);
  }
}
