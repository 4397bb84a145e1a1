/** The last bytes of a file of known size, kept as they pass by. */
export class Tail {
  /** Offset in the file of the first byte kept. */
  readonly start: number;
  readonly #kept: Buffer[] = [];
  #offset = 0;

  constructor(size: number, length: number) {
    this.start = Math.max(0, size - length);
  }

  push(chunk: Uint8Array): void {
    const end = this.#offset + chunk.length;
    const skip = Math.max(0, this.start - this.#offset);
    if (end > this.start) this.#kept.push(Buffer.from(chunk.buffer, chunk.byteOffset + skip, chunk.length - skip));
    this.#offset = end;
  }

  bytes(): Buffer {
    return this.#kept.length === 1 ? this.#kept[0]! : Buffer.concat(this.#kept);
  }
}
