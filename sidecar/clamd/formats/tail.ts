import { free } from '../../scan/free.ts';

const smallest = 4096;

/** The last bytes of a file, copied as they pass by: the chunks themselves are gone afterwards. */
export class Tail {
  readonly #reach: number;
  readonly #first: number;
  #kept: Buffer = Buffer.alloc(0);
  #length = 0;
  /** Bytes to come that are too far from the end to be kept. */
  #skip: number;
  #offset = 0;

  /** `size` is that of the file, or null where it is not known; then up to twice the memory is needed. */
  constructor(size: number | null, reach: number) {
    this.#reach = reach;
    this.#skip = size === null ? 0 : Math.max(0, size - reach);
    this.#first = size === null ? smallest : Math.min(size, reach);
  }

  /** Offset in the file of the first byte of `bytes()`. */
  get start(): number {
    return this.#offset - Math.min(this.#length, this.#reach);
  }

  push(chunk: Uint8Array): void {
    this.#offset += chunk.length;
    const skipped = Math.min(this.#skip, chunk.length);
    this.#skip -= skipped;
    const wanted = chunk.subarray(Math.max(skipped, chunk.length - this.#reach));
    if (wanted.length === 0) return;
    if (this.#length + wanted.length > this.#kept.length) this.#makeRoom(wanted.length);
    this.#kept.set(wanted, this.#length);
    this.#length += wanted.length;
  }

  /** The last bytes as far as they have come, at most as many as wanted. */
  bytes(): Buffer {
    return this.#kept.subarray(Math.max(0, this.#length - this.#reach), this.#length);
  }

  /** Frees what was kept. */
  close(): void {
    free(this.#kept);
    this.#kept = Buffer.alloc(0);
    this.#length = 0;
  }

  #makeRoom(length: number): void {
    const keep = Math.min(this.#length, this.#reach - length);
    const from = this.#length - keep;
    const most = 2 * this.#reach;
    if (this.#kept.length < most) {
      const growth = this.#kept.length === 0 ? this.#first : 2 * (keep + length);
      const larger = Buffer.allocUnsafeSlow(Math.max(keep + length, Math.min(most, growth)));
      larger.set(this.#kept.subarray(from, this.#length));
      free(this.#kept);
      this.#kept = larger;
    } else {
      this.#kept.copyWithin(0, from, this.#length);
    }
    this.#length = keep;
  }
}
