import type { UnscannableReason } from '../../scan/model.ts';
import type { Look } from './look.ts';
import { unpackLzma } from './lzma.ts';
import { type Folder, readSevenZipHeader, type Streams } from './seven-zip-header.ts';
import { Tail } from './tail.ts';

const signatureLength = 32;
/** The methods stand at the beginning of the directory, before the names; of a packed one, no more than this is unpacked. */
const headerLimit = 256 * 1024;
const reach = 4 * 1024 * 1024;

const method = { copy: 0, lzma2: 0x21, lzma: 0x030101, ppmd: 0x030401, bcj: 0x03030103, bcj2: 0x0303011b, arm: 0x03030501, aes: 0x06f10701 };
const mainMethods: ReadonlySet<number> = new Set([method.copy, method.lzma, method.lzma2, method.ppmd]);

/**
 * A 7z archive whose methods ClamAV unpacks: one of four, alone or behind one of two filters, or BCJ2 (CheckSupportedFolder in
 * libclamav/7z/7zDec.c of 1.4). Of anything else it says OK. Where the methods cannot be read, nothing is proved.
 */
export class SevenZipLook implements Look {
  readonly #size: number;
  readonly #tail: Tail;
  #head: Buffer = Buffer.alloc(0);

  constructor(size: number) {
    this.#size = size;
    this.#tail = new Tail(size, reach);
  }

  push(chunk: Uint8Array): void {
    if (this.#head.length < signatureLength) this.#head = Buffer.concat([this.#head, chunk.subarray(0, signatureLength - this.#head.length)]);
    this.#tail.push(chunk);
  }

  end(): UnscannableReason | null {
    if (this.#head.length < signatureLength) return 'unscannable:damaged';
    const length = Number(this.#head.readBigUInt64LE(20));
    if (length === 0) return null;
    const start = signatureLength + Number(this.#head.readBigUInt64LE(12));
    if (start + length > this.#size) return 'unscannable:damaged';
    try {
      const streams = this.#streams(this.#at(start, length));
      return streams?.folders.map(judge).find((reason) => reason !== null) ?? null;
    } catch (thrown) {
      if (thrown instanceof RangeError) return 'unscannable:7z-method';
      throw thrown;
    }
  }

  #streams(header: Buffer): Streams | null {
    const { kind, streams } = readSevenZipHeader(header);
    if (kind === 'plain') return streams;
    const coder = streams?.folders[0]?.coders[0];
    const size = streams?.packSizes[0];
    if (streams === null || coder === undefined || size === undefined) throw new RangeError('packed 7z header without data');
    // clamd says by itself that it cannot read an encrypted directory.
    if (streams.folders[0]!.coders.some((one) => one.method === method.aes)) return streams;
    if (coder.method !== method.lzma || streams.folders[0]!.coders.length !== 1) throw new RangeError('7z header packed by another method');
    const unpacked = readSevenZipHeader(unpackLzma(this.#at(signatureLength + streams.packPosition, size), coder.properties, headerLimit));
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

function judge({ coders }: Folder): UnscannableReason | null {
  const methods = coders.map((coder) => coder.method);
  if (methods.includes(method.aes)) return 'unscannable:encrypted';
  const isSupported = () => {
    const [first, second, third, fourth] = methods;
    if (first === undefined || !mainMethods.has(first)) return false;
    if (coders.length === 1) return true;
    if (coders.length === 2) return second === method.bcj || second === method.arm;
    return coders.length === 4 && mainMethods.has(second!) && mainMethods.has(third!) && fourth === method.bcj2;
  };
  return isSupported() ? null : 'unscannable:7z-method';
}
