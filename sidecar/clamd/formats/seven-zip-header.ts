/** The part of a 7z directory that says by which methods the streams are packed (7zFormat.txt of the LZMA SDK). */

export interface Coder {
  readonly method: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly properties: Buffer;
}

export interface Folder {
  readonly coders: readonly Coder[];
}

export interface Streams {
  /** Offset of the first packed stream, behind the first 32 bytes of the file. */
  readonly packPosition: number;
  readonly packSizes: readonly number[];
  readonly folders: readonly Folder[];
}

const id = {
  end: 0,
  header: 1,
  archiveProperties: 2,
  additionalStreams: 3,
  mainStreams: 4,
  packInfo: 6,
  unpackInfo: 7,
  size: 9,
  crc: 10,
  folder: 11,
  unpackSizes: 12,
  encodedHeader: 23,
};

/** More than any archive that clamd follows to the end has of anything. */
const mostItems = 100_000;

export type SevenZipHeader =
  /** The streams of the archive; null where it has none. */
  | { readonly kind: 'plain'; readonly streams: Streams | null }
  /** The streams of the directory itself, and the length of what the first coder of it puts out. */
  | { readonly kind: 'packed'; readonly streams: Streams; readonly unpackedSize: number };

/** @throws RangeError where the bytes end too early or make no sense. */
export function readSevenZipHeader(bytes: Buffer): SevenZipHeader {
  const reader = new Reader(bytes);
  const kind = reader.byte();
  if (kind === id.encodedHeader) {
    const streams = readStreams(reader);
    reader.expect(id.unpackSizes);
    return { kind: 'packed', streams, unpackedSize: reader.number() };
  }
  if (kind !== id.header) throw new RangeError('no 7z header');
  const next = reader.byte();
  if (next === id.archiveProperties || next === id.additionalStreams) throw new RangeError('7z properties that nobody writes');
  if (next !== id.mainStreams) return { kind: 'plain', streams: null };
  return { kind: 'plain', streams: readStreams(reader) };
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  byte(): number {
    return this.take(1)[0]!;
  }

  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw new RangeError('7z header ends too early');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  expect(wanted: number): void {
    if (this.byte() !== wanted) throw new RangeError('7z header out of order');
  }

  /** The leading ones of the first byte say how many follow, lowest first; the rest of it is the highest part. */
  number(): number {
    const first = this.byte();
    let value = 0;
    let scale = 1;
    for (let mask = 0x80; mask > 0; mask >>>= 1) {
      if ((first & mask) === 0) return this.#safe(value + (first & (mask - 1)) * scale);
      value += this.byte() * scale;
      scale *= 256;
    }
    return this.#safe(value);
  }

  count(): number {
    const value = this.number();
    if (value > mostItems) throw new RangeError('7z header counts too much');
    return value;
  }

  #safe(value: number): number {
    if (!Number.isSafeInteger(value)) throw new RangeError('7z number too large');
    return value;
  }
}

function readStreams(reader: Reader): Streams {
  let packPosition = 0;
  let packSizes: number[] = [];
  let next = reader.byte();
  if (next === id.packInfo) {
    packPosition = reader.number();
    const count = reader.count();
    packSizes = readPackSizes(reader, count);
    next = reader.byte();
  }
  if (next !== id.unpackInfo) throw new RangeError('7z header without methods');
  reader.expect(id.folder);
  const count = reader.count();
  if (reader.byte() !== 0) throw new RangeError('7z methods that stand elsewhere');
  return { packPosition, packSizes, folders: Array.from({ length: count }, () => readFolder(reader)) };
}

function readPackSizes(reader: Reader, count: number): number[] {
  let sizes: number[] = [];
  for (let next = reader.byte(); next !== id.end; next = reader.byte()) {
    if (next === id.size) sizes = Array.from({ length: count }, () => reader.number());
    else if (next === id.crc) skipDigests(reader, count);
    else throw new RangeError('7z header out of order');
  }
  return sizes;
}

function skipDigests(reader: Reader, count: number): void {
  let defined = count;
  if (reader.byte() === 0) {
    const bits = reader.take(Math.ceil(count / 8));
    defined = bits.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
  }
  reader.take(4 * defined);
}

function readFolder(reader: Reader): Folder {
  const coders = Array.from({ length: reader.count() }, () => readCoder(reader));
  const inputs = coders.reduce((sum, coder) => sum + coder.inputs, 0);
  const bonds = coders.reduce((sum, coder) => sum + coder.outputs, 0) - 1;
  for (let bond = 0; bond < bonds; bond++) {
    reader.number();
    reader.number();
  }
  const packed = inputs - bonds;
  for (let stream = 0; packed > 1 && stream < packed; stream++) reader.number();
  return { coders };
}

function readCoder(reader: Reader): Coder {
  const flags = reader.byte();
  const method = reader.take(flags & 0x0f).reduce((value, byte) => value * 256 + byte, 0);
  const isComplex = (flags & 0x10) !== 0;
  const inputs = isComplex ? reader.count() : 1;
  const outputs = isComplex ? reader.count() : 1;
  const properties = (flags & 0x20) === 0 ? Buffer.alloc(0) : reader.take(reader.count());
  return { method, inputs, outputs, properties };
}
