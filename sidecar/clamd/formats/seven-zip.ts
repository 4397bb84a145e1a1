import type { UnscannableReason } from '../../scan/model.ts';
import { both } from './both.ts';
import type { Look } from './look.ts';
import { unpackFirstOfLzma2, unpackLzma } from './lzma.ts';
import { type Coder, type Folder, readSevenZipHeader, type Streams } from './seven-zip-header.ts';
import { Tail } from './tail.ts';

const signatureLength = 32;
/** The methods stand at the beginning of the directory, before the names; of a packed one, no more than this is unpacked. */
const headerLimit = 256 * 1024;
const reach = 4 * 1024 * 1024;

const method = {
  copy: 0,
  lzma2: 0x21,
  lzma: 0x030101,
  ppmd: 0x030401,
  bcj: 0x03030103,
  bcj2: 0x0303011b,
  arm: 0x03030501,
  aes: 0x06f10701,
};
const mainMethods: ReadonlySet<number> = new Set([method.copy, method.lzma, method.lzma2, method.ppmd]);

const ppmdProperties = 5;

/**
 * A 7z archive whose methods ClamAV unpacks: one of four, alone or behind one of two filters, or BCJ2 (CheckSupportedFolder in
 * libclamav/7z/7zDec.c of 1.4). Of anything else it says OK. Where the methods cannot be read, nothing is proved.
 */
export class SevenZipLook implements Look {
  readonly #tail: Tail;
  #head: Buffer = Buffer.alloc(0);
  #size = 0;

  constructor(size: number | null) {
    this.#tail = new Tail(size, reach);
  }

  push(chunk: Uint8Array): void {
    if (this.#head.length < signatureLength)
      this.#head = Buffer.concat([this.#head, chunk.subarray(0, signatureLength - this.#head.length)]);
    this.#tail.push(chunk);
    this.#size += chunk.length;
  }

  end(): UnscannableReason | null {
    if (this.#head.length < signatureLength) return 'unscannable:damaged';
    const length = Number(this.#head.readBigUInt64LE(20));
    if (length === 0) return null;
    const start = signatureLength + Number(this.#head.readBigUInt64LE(12));
    if (start + length > this.#size) return 'unscannable:damaged';
    try {
      const streams = this.#streams(this.#at(start, length));
      return streams?.folders.map(judge).reduce(both, null) ?? null;
    } catch (thrown) {
      if (thrown instanceof RangeError) return 'unscannable:7z-method';
      throw thrown;
    }
  }

  close(): void {
    this.#tail.close();
  }

  #streams(bytes: Buffer): Streams | null {
    const header = readSevenZipHeader(bytes);
    if (header.kind === 'plain') return header.streams;
    const { packPosition, packSizes, folders } = header.streams;
    const coders = folders[0]?.coders ?? [];
    // clamd says by itself that it cannot read an encrypted directory.
    if (coders.some((coder) => coder.method === method.aes)) return header.streams;
    const [coder] = coders;
    const [size] = packSizes;
    if (coder === undefined || size === undefined || coders.length > 1) throw new RangeError('7z header packed in several steps');
    const packed = this.#at(signatureLength + packPosition, size);
    const unpacked = readSevenZipHeader(unpack(packed, coder, Math.min(header.unpackedSize, headerLimit)));
    if (unpacked.kind === 'packed') throw new RangeError('7z header packed twice');
    return unpacked.streams;
  }

  #at(offset: number, length: number): Buffer {
    const from = offset - this.#tail.start;
    const bytes = this.#tail.bytes();
    if (from < 0 || from + length > bytes.length) throw new RangeError('7z header too far from the end');
    return bytes.subarray(from, from + length);
  }
}

function unpack(packed: Buffer, coder: Coder, limit: number): Buffer {
  if (coder.method === method.lzma) return unpackLzma(packed, coder.properties, limit);
  if (coder.method === method.lzma2) return unpackFirstOfLzma2(packed, limit);
  throw new RangeError('7z header packed by another method');
}

function judge({ coders }: Folder): UnscannableReason | null {
  if (coders.some((coder) => coder.method === method.aes)) return 'unscannable:encrypted';
  return isUnpacked(coders) ? null : 'unscannable:7z-method';
}

function isUnpacked(coders: readonly Coder[]): boolean {
  const [first, second, third, fourth] = coders;
  if (first === undefined || !isMain(first)) return false;
  if (second === undefined) return true;
  if (third === undefined) return second.method === method.bcj || second.method === method.arm;
  return coders.length === 4 && isMain(second) && isMain(third) && fourth?.method === method.bcj2;
}

/** Some packers write PPMd with properties of their own, which clamd refuses. */
function isMain(coder: Coder): boolean {
  return mainMethods.has(coder.method) && (coder.method !== method.ppmd || coder.properties.length === ppmdProperties);
}
