/** Lines out of raw bytes, in memory that no program can fill: what never breaks its lines is cut. */

const LF = 0x0a;
const CR = 0x0d;
const FIRST_BYTES = 1024;

export interface LineOptions {
  /** A line is cut to so many bytes, at a whole character. */
  readonly maxBytes: number;
  /** Whether a lone carriage return ends a line too, as programs use it to draw progress; one that ends nothing is then dropped. */
  readonly returns: boolean;
  /** The bytes are only good during the call. `cutBytes`: what was cut off the end. */
  onLine(bytes: Buffer, cutBytes: number): void;
}

/** A line ends with LF, CRLF and, where `returns` says so, with CR. Without it only LF counts, and CR belongs to the line. */
export class LineSplitter {
  readonly #options: LineOptions;
  #kept = Buffer.alloc(0);
  #length = 0;
  #cut = 0;
  #hasReturned = false;

  constructor(options: LineOptions) {
    this.#options = options;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    const { returns } = this.#options;
    let from = this.#hasReturned && chunk[0] === LF ? 1 : 0;
    this.#hasReturned = false;
    let feed = chunk.indexOf(LF, from);
    let back = returns ? chunk.indexOf(CR, from) : -1;
    while (feed !== -1 || back !== -1) {
      const isFeed = back === -1 || (feed !== -1 && feed < back);
      const at = isFeed ? feed : back;
      const isBoth = !isFeed && feed === at + 1;
      if (isFeed || isBoth || at > from || this.#length > 0) {
        this.#emit(chunk.subarray(from, at));
        this.#hasReturned = !isFeed && at + 1 === chunk.length;
      }
      from = isBoth ? at + 2 : at + 1;
      if (feed !== -1 && feed < from) feed = chunk.indexOf(LF, from);
      if (back !== -1 && back < from) back = chunk.indexOf(CR, from);
    }
    this.#keep(chunk.subarray(from));
  }

  /** Gives what is left as a last line, if anything is. */
  end(): void {
    if (this.#length > 0) this.#emit(Buffer.alloc(0));
  }

  #emit(rest: Buffer): void {
    // Most lines come whole in one chunk, and need no copy.
    const isWhole = this.#length === 0 && rest.length <= this.#options.maxBytes;
    if (!isWhole) this.#keep(rest);
    const line = isWhole ? rest : this.#kept.subarray(0, this.#length);
    const length = this.#cut > 0 ? completeLength(line) : line.length;
    const cut = this.#cut + line.length - length;
    this.#length = 0;
    this.#cut = 0;
    this.#options.onLine(line.subarray(0, length), cut);
  }

  #keep(bytes: Buffer): void {
    const { maxBytes } = this.#options;
    const taken = Math.min(bytes.length, maxBytes - this.#length);
    this.#cut += bytes.length - taken;
    if (taken === 0) return;
    const needed = this.#length + taken;
    if (needed > this.#kept.length) {
      const larger = Buffer.alloc(Math.min(maxBytes, Math.max(needed, this.#kept.length * 2, FIRST_BYTES)));
      this.#kept.copy(larger, 0, 0, this.#length);
      this.#kept = larger;
    }
    bytes.copy(this.#kept, this.#length, 0, taken);
    this.#length = needed;
  }
}

/** How many of the bytes remain when a UTF-8 character that was cut in two is taken off the end. */
export function completeLength(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(4, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return wanted > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
