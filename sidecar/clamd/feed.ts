import { Readable } from 'node:stream';
import { ScanError } from '../scan/errors.ts';
import type { ScanInput } from '../scan/ports.ts';

/**
 * The bytes of a file as the stream that clamdjs wants. It ends only after exactly the announced number of bytes; an empty
 * chunk, which would end the upload early, never passes. What the source throws comes out as it is.
 */
export class Feed extends Readable {
  /** The source has not delivered what was asked of it last. */
  waiting = false;
  /** Whoever looks on needs its time. */
  looking = false;
  readonly #size: number;
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #seen: (chunk: Uint8Array) => void | Promise<void>;
  #bytes = 0;

  constructor(input: ScanInput, seen: (chunk: Uint8Array) => void | Promise<void>) {
    super({ highWaterMark: 64 * 1024 });
    this.#size = input.size;
    this.#source = input.bytes[Symbol.asyncIterator]();
    this.#seen = seen;
    // clamdjs listens only once it is connected, and an error nobody listens to ends the process.
    this.on('error', () => {});
  }

  override _read(): void {
    this.#next().catch((thrown) => this.destroy(thrown));
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Not awaited: a source that hangs answers this only when it stops hanging.
    if (!this.readableEnded) this.#source.return?.().catch(() => {});
    callback(error);
  }

  async #next(): Promise<void> {
    this.waiting = true;
    let result = await this.#source.next();
    while (!result.done && result.value.length === 0) result = await this.#source.next();
    this.waiting = false;
    if (this.destroyed) return;
    if (result.done) this.#end();
    else await this.#pass(result.value);
  }

  async #pass(chunk: Uint8Array): Promise<void> {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#size) throw new ScanError('download', `more than the announced ${this.#size} bytes came`);
    const wait = this.#seen(chunk);
    // Once it is pushed, its memory may be used again at any time.
    if (wait !== undefined) await this.#lookedAt(wait);
    if (!this.destroyed) this.push(chunk);
  }

  async #lookedAt(wait: Promise<void>): Promise<void> {
    this.looking = true;
    try {
      await wait;
    } finally {
      this.looking = false;
    }
  }

  #end(): void {
    if (this.#bytes < this.#size) throw new ScanError('download', `${this.#bytes} of the announced ${this.#size} bytes came`);
    this.push(null);
  }
}
