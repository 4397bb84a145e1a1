import { free } from '../../scan/free.ts';

/** The last bytes of a file of known size, copied as they pass by: the chunks themselves are gone afterwards. */
export class Tail implements Disposable {
  /** Offset in the file of the first byte kept. */
  readonly start: number;
  readonly #size: number;
  #kept: Buffer | null = null;
  #offset = 0;

  constructor(size: number, length: number) {
    this.#size = size;
    this.start = Math.max(0, size - length);
  }

  push(chunk: Uint8Array): void {
    const skip = Math.max(0, this.start - this.#offset);
    if (skip < chunk.length) {
      this.#kept ??= Buffer.allocUnsafe(this.#size - this.start);
      this.#kept.set(chunk.subarray(skip), this.#offset + skip - this.start);
    }
    this.#offset += chunk.length;
  }

  /** As far as they have come. */
  bytes(): Buffer {
    return this.#kept?.subarray(0, Math.max(0, this.#offset - this.start)) ?? Buffer.alloc(0);
  }

  /** Frees what was kept. */
  [Symbol.dispose](): void {
    if (this.#kept !== null) free(this.#kept);
    this.#kept = null;
  }
}
