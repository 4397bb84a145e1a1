import { crc32 } from 'node:zlib';
import { type Input, onlyZerosFollow, type Walk, WalkLook } from './walk.ts';

const magic = Buffer.from('fd377a585a00', 'hex');
const checkLengths = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
/** Delta, the branch filters up to SPARC, and LZMA2: those of clamd's decoder, which is older than ARM64 and RISC-V. */
const knownFilters = new Set([3, 4, 5, 6, 7, 8, 9, 0x21]);
/** Beyond, clamd has no memory for it. */
const largestDictionaryBits = 36;
const mostBlocks = 1_000_000;

/**
 * xz, followed from block to block without being unpacked: its pieces say how long they are. clamd unpacks the first stream of it
 * and knows neither the later filters nor, if it meets damage, what to say (cli_scanxz of 1.4).
 */
export class XzLook extends WalkLook {
  constructor() {
    super(walkXz);
  }
}

function* walkXz(input: Input): Walk {
  const head = yield* input.take(12);
  if (head.length < 12 || head[6] !== 0 || head[7]! > 15 || head.readUInt32LE(8) !== crc32(head.subarray(6, 8)))
    return 'unscannable:damaged';
  const flags = Buffer.from(head.subarray(6, 8));
  const checkLength = checkLengths[flags[1]!]!;
  for (let blocks = 0; ; blocks++) {
    const [first] = yield* input.peek(1);
    if (first === undefined || blocks > mostBlocks) return 'unscannable:damaged';
    if (first === 0) break;
    const reason = yield* readBlock(input, checkLength);
    if (reason !== null) return reason;
  }
  const indexLength = yield* readIndex(input);
  const foot = yield* input.take(12);
  const isWhole =
    indexLength !== null &&
    foot.length === 12 &&
    foot.toString('latin1', 10) === 'YZ' &&
    foot.subarray(8, 10).equals(flags) &&
    foot.readUInt32LE(0) === crc32(foot.subarray(4, 10)) &&
    (foot.readUInt32LE(4) + 1) * 4 === indexLength;
  if (!isWhole) return 'unscannable:damaged';
  return yield* judgeRest(input);
}

/** Packers write padding, if any, in zeros, and other streams behind it. */
function* judgeRest(input: Input): Walk {
  if (yield* onlyZerosFollow(input)) return null;
  const zeros = input.bytes.findIndex((byte) => byte !== 0);
  input.advance(zeros);
  return (yield* input.peek(magic.length)).equals(magic) ? 'unscannable:several-streams' : 'unscannable:damaged';
}

function* readBlock(input: Input, checkLength: number): Walk {
  const start = input.position;
  const length = ((yield* input.peek(1))[0]! + 1) * 4;
  const header = yield* input.take(length);
  if (header.length < length || header.readUInt32LE(length - 4) !== crc32(header.subarray(0, length - 4))) return 'unscannable:damaged';
  const judged = judgeFilters(header);
  if (judged !== null) return judged;
  if (!(yield* skipLzma2(input))) return 'unscannable:damaged';
  const padding = (4 - ((input.position - start) % 4)) % 4;
  return (yield* input.take(padding + checkLength)).length === padding + checkLength ? null : 'unscannable:damaged';
}

function judgeFilters(header: Buffer): 'unscannable:damaged' | 'unscannable:xz-filter' | null {
  const numbers = new Numbers(header, 2);
  const count = (header[1]! & 3) + 1;
  if ((header[1]! & 0x40) !== 0) numbers.next();
  if ((header[1]! & 0x80) !== 0) numbers.next();
  let last = 0;
  for (let index = 0; index < count; index++) {
    last = numbers.next();
    if (!knownFilters.has(last)) return 'unscannable:xz-filter';
    const properties = numbers.bytes(numbers.next());
    if (last === 0x21 && (properties.length !== 1 || properties[0]! > largestDictionaryBits)) return 'unscannable:xz-filter';
  }
  return last === 0x21 ? null : 'unscannable:damaged';
}

/** From chunk to chunk, each with its length in front. */
function* skipLzma2(input: Input): Walk<boolean> {
  for (;;) {
    const [control] = yield* input.take(1);
    if (control === undefined) return false;
    if (control === 0) return true;
    if (control > 2 && control < 0x80) return false;
    const isPacked = control >= 0x80;
    const rest = isPacked ? (control >= 0xc0 ? 5 : 4) : 2;
    const header = yield* input.take(rest);
    if (header.length < rest) return false;
    const length = header.readUInt16BE(isPacked ? 2 : 0) + 1;
    if ((yield* input.pass(length, () => {})) < length) return false;
  }
}

/** As long as it is, or null where it is not one. Only its sum is checked: the blocks were read one by one. */
function* readIndex(input: Input): Walk<number | null> {
  const start = input.position;
  let sum = crc32(yield* input.take(1));
  const number = function* (): Walk<number | null> {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 56; scale *= 128) {
      const byte = yield* input.take(1);
      if (byte.length === 0) return null;
      sum = crc32(byte, sum);
      value += (byte[0]! & 0x7f) * scale;
      if (byte[0]! < 0x80) return value;
    }
    return null;
  };
  const records = yield* number();
  if (records === null || records > mostBlocks) return null;
  for (let index = 0; index < 2 * records; index++) if ((yield* number()) === null) return null;
  const padding = yield* input.take((4 - ((input.position - start) % 4)) % 4);
  sum = crc32(padding, sum);
  const told = yield* input.take(4);
  return told.length === 4 && told.readUInt32LE(0) === sum ? input.position - start : null;
}

/** The variable-length numbers of a block header; whatever is beyond its end is zero. */
class Numbers {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  next(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 56; scale *= 128) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
    }
    return value;
  }

  bytes(length: number): Buffer {
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}
