import type { UnscannableReason } from '../../scan/model.ts';
import type { Look } from './look.ts';
import { Tail } from './tail.ts';

const streamEnd = 0x1772_4538_5090n;
const endBits = 48n + 32n;
/** What a stream may begin with behind its first four bytes: a block, or its end. */
export const bzip2Marks: readonly Buffer[] = [Buffer.from('314159265359', 'hex'), Buffer.from('177245385090', 'hex')];
const markLength = 6;
const magicLength = 4;
/** Zeros behind the end. */
const longestPadding = 64 * 1024;

/**
 * bzip2 is not unpacked here: that it has an end is told by the end mark, which may begin at any bit, and that it has only one
 * stream by the beginnings of others, which stand at whole bytes. clamd unpacks the first stream alone (cli_scanbzip of 1.4), and
 * parallel packers write many.
 */
export class Bzip2Look implements Look {
  readonly #tail: Tail;
  #rest: Buffer = Buffer.alloc(0);
  #streams = 0;

  constructor(size: number | null) {
    this.#tail = new Tail(size, longestPadding + 16);
  }

  push(chunk: Uint8Array): void {
    this.#tail.push(chunk);
    const bytes = Buffer.concat([this.#rest, chunk]);
    for (const mark of bzip2Marks) {
      for (let at = bytes.indexOf(mark); at >= 0; at = bytes.indexOf(mark, at + 1))
        if (isBeginning(bytes, at - magicLength)) this.#streams += 1;
    }
    this.#rest = bytes.subarray(Math.max(0, bytes.length - magicLength - markLength + 1));
  }

  end(): UnscannableReason | null {
    const end = lastNonZero(this.#tail.bytes());
    if (this.#streams > 1) return 'unscannable:several-streams';
    return this.#streams === 1 && endsStream(end) ? null : 'unscannable:damaged';
  }

  close(): void {
    this.#tail.close();
  }
}

function isBeginning(bytes: Buffer, at: number): boolean {
  return at >= 0 && bytes.toString('latin1', at, at + 3) === 'BZh' && bytes[at + 3]! >= 0x31 && bytes[at + 3]! <= 0x39;
}

/** The checksum behind the mark, and the bits that fill the last byte, may be zeros as well: up to five bytes. */
function lastNonZero(bytes: Buffer): Buffer[] {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  const ends: Buffer[] = [];
  for (let more = 0; more <= 5 && end + more <= bytes.length; more++) ends.push(bytes.subarray(Math.max(0, end + more - 11), end + more));
  return ends;
}

function endsStream(ends: readonly Buffer[]): boolean {
  return ends.some((last) => {
    const bits = BigInt(`0x${last.toString('hex') || '0'}`);
    for (let filled = 0n; filled < 8n; filled++) if (((bits >> (filled + endBits - 48n)) & 0xffff_ffff_ffffn) === streamEnd) return true;
    return false;
  });
}
