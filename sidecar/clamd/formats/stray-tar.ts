/** A tar that begins behind something else: GNU tar skips to its first header, 7-Zip zero blocks, and clamd does neither. */
import { blockLength, readTarHeader } from './tar-header.ts';

/** So far every block is taken for a header if its sum is right; behind it only those that call themselves ustar. */
const reach = 64 * 1024;
const markAt = 257;
const word = Buffer.from('ustar', 'latin1');
const markLength = 8;
const sumAt = 148;

export class StrayTar {
  readonly #block = Buffer.alloc(blockLength);
  #seam = Buffer.alloc(0);
  #offset = 0;
  #found = false;

  /** Whether a header stands on the boundary of a block, but not where the file begins. */
  get found(): boolean {
    return this.#found;
  }

  push(chunk: Uint8Array): void {
    if (this.#found) return;
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    const near = Math.min(Math.max(0, reach - this.#offset), bytes.length);
    if (near > 0) this.#lookNear(bytes.subarray(0, near));
    this.#lookFar(bytes);
    this.#offset += bytes.length;
  }

  #lookNear(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const position = this.#offset + at;
      const into = position % blockLength;
      const taken = bytes.copy(this.#block, into, at, at + blockLength - into);
      at += taken;
      const isWhole = into + taken === blockLength;
      if (isWhole && position - into > 0 && mayBeSum(this.#block[sumAt]!) && readTarHeader(this.#block) !== null) this.#found = true;
    }
  }

  /** Nothing of a chunk is copied but its ends: this runs over every byte of every file. */
  #lookFar(bytes: Buffer): void {
    const overlap = markLength - 1;
    const seam = Buffer.concat([this.#seam, bytes.subarray(0, overlap)]);
    this.#search(seam, this.#offset - this.#seam.length);
    this.#search(bytes, this.#offset);
    this.#seam = Buffer.concat([this.#seam, bytes.subarray(-overlap)]).subarray(-overlap);
  }

  #search(bytes: Buffer, start: number): void {
    for (let at = bytes.indexOf(word); at >= 0; at = bytes.indexOf(word, at + 1)) {
      const header = start + at - markAt;
      if (header > 0 && header % blockLength === 0 && isMark(bytes.toString('latin1', at, at + markLength))) this.#found = true;
    }
  }
}

/** Of POSIX and of GNU: the word alone stands in any text. */
function isMark(text: string): boolean {
  return text === 'ustar\x0000' || text === 'ustar  \0';
}

/** An octal digit, or a space in front of one. */
function mayBeSum(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x30 && byte <= 0x37);
}
