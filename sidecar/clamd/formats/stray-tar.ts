/** A tar that begins behind something else: GNU tar skips to its first header, 7-Zip zero blocks, and clamd does neither. */
import { blockLength, readTarHeader } from './tar-header.ts';

/** So far every block is taken for a header if its sum is right; behind it only those that call themselves ustar. */
const reach = 64 * 1024;
const markAt = 257;
const marks = [Buffer.from('ustar\x0000', 'latin1'), Buffer.from('ustar  \0', 'latin1')] as const;
const markLength = marks[0].length;
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

  #lookFar(bytes: Buffer): void {
    const all = this.#seam.length === 0 ? bytes : Buffer.concat([this.#seam, bytes]);
    const start = this.#offset - this.#seam.length;
    for (const mark of marks) {
      for (let at = all.indexOf(mark); at >= 0; at = all.indexOf(mark, at + 1)) {
        const header = start + at - markAt;
        if (header > 0 && header % blockLength === 0) this.#found = true;
      }
    }
    this.#seam = Buffer.from(all.subarray(Math.max(0, all.length - markLength + 1)));
  }
}

/** An octal digit, or a space in front of one. */
function mayBeSum(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x30 && byte <= 0x37);
}
