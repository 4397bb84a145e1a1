import { elsewhere, flag } from './zip-directory.ts';

export interface LocalHeader {
  readonly flags: number;
  readonly method: number;
  readonly packed: number;
  /** It stands where the member before it ended, and so did that one, from the first byte of the file on. */
  readonly chained: boolean;
}

const magic = Buffer.from('PK\x03\x04', 'latin1');
const headerLength = 30;
/** clamd stops at ten thousand members; those of stored archives inside may show as well. */
const mostHeaders = 100_000;

/**
 * The local headers of a zip, noted as they pass by: from member to member where a header says how long its data is, and by search
 * where it does not. Skipped data costs nothing, searched data about 0.1 s a GiB.
 */
export class ZipLocals {
  /** By offset in the file. */
  readonly found = new Map<number, LocalHeader>();
  #rest: Uint8Array = new Uint8Array(0);
  /** Offset in the file of the first byte of `#rest`. */
  #base = 0;
  /** Everything before this offset is dealt with. */
  #next = 0;
  #chained = true;

  /** There were more than anybody counts; some are not noted. */
  get overflow(): boolean {
    return this.found.size >= mostHeaders;
  }

  push(chunk: Uint8Array): void {
    const window = join(this.#rest, chunk);
    if (!this.overflow) while (this.#step(window));
    const dealtWith = Math.min(this.#next - this.#base, window.length);
    this.#rest = Uint8Array.from(window.subarray(dealtWith));
    this.#base += dealtWith;
  }

  /** Answers whether there is more to find in this window. */
  #step(window: Buffer): boolean {
    const from = this.#next - this.#base;
    if (from > window.length - headerLength) return false;
    const at = window.indexOf(magic, from);
    if (at !== from) this.#chained = false;
    if (at < 0) this.#next = this.#base + window.length - magic.length + 1;
    else this.#next = this.#base + at;
    if (at < 0 || at > window.length - headerLength) return false;
    this.#note(window.subarray(at, at + headerLength));
    return !this.overflow;
  }

  #note(header: Buffer): void {
    const flags = header.readUInt16LE(6);
    const packed = header.readUInt32LE(18);
    this.found.set(this.#next, { flags, method: header.readUInt16LE(8), packed, chained: this.#chained });
    const saysLength = (flags & flag.sizesFollow) === 0 && packed !== elsewhere;
    this.#next += headerLength + header.readUInt16LE(26) + header.readUInt16LE(28) + (saysLength ? packed : 0);
  }
}

function join(rest: Uint8Array, chunk: Uint8Array): Buffer {
  if (rest.length > 0) return Buffer.concat([rest, chunk]);
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
}
