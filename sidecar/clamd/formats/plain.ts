import { crc32 } from 'node:zlib';
import type { UnscannableReason } from '../../scan/model.ts';
import { both } from './both.ts';
import { ascii, begins, hex, isPartitioned } from './first-bytes.ts';
import type { Look, LookContext } from './look.ts';
import { StrayTar } from './stray-tar.ts';
import { Tail } from './tail.ts';
import { WalkLook } from './walk.ts';
import { beginOfForgiven, elsewhere, endReach, endRecords, flag, isUnpacked, readDirectory, type ZipEntry } from './zip-directory.ts';
import { localMagic, walkZipMembers, type ZipMembers } from './zip-members.ts';

/** Every plain file pays for it in memory, so it is less than for what calls itself a zip. */
const reach = 1024 * 1024 + endReach;

const partitionTable = ascii('EFI PART', 512);
const bootMark = hex('55aa', 510, { confirm: isPartitioned });
/** Behind these clamd was seen to find a zip: programs, scripts, extensions of browsers. Behind sound, databases and more it does not look. */
const carriers = [ascii('MZ'), ascii('\x7fELF'), ascii('#!'), ascii('Cr24'), hex('cefaedfe'), hex('cffaedfe'), hex('cafebabe')];
const sectorLength = 2048;
/** Descriptors of a volume begin here, one a sector. */
const firstDescriptor = 16;
const lastDescriptor = 31;
const descriptorMark = 5;
/** Of an Apple disk image, in its last block. */
const diskImageTrailer = 'koly';
const trailerLength = 512;

/**
 * A file of no format that has a look of its own: programs, pictures, text, whatever. It may carry a zip at its end, as
 * self-extracting programs and games do: clamd finds the members by their local headers alone, so it sees only those whose headers
 * name their size. Programs may carry other archives, and scripts too; those clamd finds only in part.
 */
export class PlainLook implements Look {
  readonly #tail: Tail;
  readonly #cargo: Cargo | null;
  readonly #isDisk: boolean;
  readonly #isCarrier: boolean;
  readonly #context: LookContext;
  readonly #current: { look: Look | null } = { look: null };
  readonly #stray = new StrayTar();
  #walk: WalkLook | null = null;
  #seam = Buffer.alloc(0);
  #members: ZipMembers = { found: new Map(), excess: null };
  readonly #descriptors = Buffer.alloc(descriptorMark * (lastDescriptor - firstDescriptor + 1));
  #offset = 0;

  constructor(size: number | null, context: LookContext, head: Buffer) {
    this.#tail = new Tail(size, reach);
    this.#cargo = isProgram(head) ? new Cargo(context, head) : null;
    this.#context = context;
    this.#isCarrier = carriers.some((first) => begins(head, first));
    this.#isDisk = begins(head, partitionTable) || begins(head, bootMark);
  }

  push(chunk: Uint8Array): void | Promise<void> {
    if (this.#offset <= (lastDescriptor + 1) * sectorLength) this.#noteDescriptors(chunk);
    this.#offset += chunk.length;
    this.#tail.push(chunk);
    this.#cargo?.push(chunk);
    this.#stray.push(chunk);
    return this.#walk === null ? this.#search(chunk) : this.#walk.push(chunk);
  }

  /** Nothing is copied until something looks like a member: most files have none. */
  #search(chunk: Uint8Array): void | Promise<void> {
    const overlap = localMagic.length - 1;
    const before = this.#seam;
    const seam = Buffer.concat([before, chunk.subarray(0, overlap)]);
    this.#seam = Buffer.concat([before, chunk.subarray(-overlap)]).subarray(-overlap);
    const start = this.#offset - chunk.length;
    const atSeam = seam.indexOf(localMagic);
    if (atSeam >= 0) return this.#begin(start - before.length + atSeam, Buffer.concat([before, chunk]).subarray(atSeam));
    const at = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).indexOf(localMagic);
    return at < 0 ? undefined : this.#begin(start + at, chunk.subarray(at));
  }

  #begin(offset: number, bytes: Uint8Array): void | Promise<void> {
    const look = this;
    const current = this.#current;
    const context = this.#context;
    this.#walk = new WalkLook(function* (input) {
      input.position = offset;
      look.#members = yield* walkZipMembers(input, context, current);
      return null;
    });
    return this.#walk.push(bytes);
  }

  end(): UnscannableReason | null | Promise<UnscannableReason | null> {
    const walked = this.#walk?.end();
    return walked instanceof Promise ? walked.then(() => this.#conclude()) : this.#conclude();
  }

  #conclude(): UnscannableReason | null {
    // Windows puts next to nothing where clamd looks first, and everything into the UDF beside it.
    if (this.#hasDescriptor('BEA01')) return 'unscannable:disk-image';
    if (this.#isDisk && !this.#hasDescriptor('CD001')) return 'unscannable:disk-image';
    // An ISO image is unpacked by clamd, with the tars in it.
    if (this.#stray.found && !this.#hasDescriptor('CD001')) return 'unscannable:two-formats';
    const bytes = this.#tail.bytes();
    if (bytes.toString('latin1', bytes.length - trailerLength).startsWith(diskImageTrailer)) return 'unscannable:disk-image';
    return both(this.#cargo?.reason ?? null, this.#judgeZip(bytes));
  }

  #noteDescriptors(chunk: Uint8Array): void {
    for (let index = 0; index < this.#descriptors.length; index++) {
      const sector = firstDescriptor + Math.floor(index / descriptorMark);
      const byte = chunk[sector * sectorLength + 1 + (index % descriptorMark) - this.#offset];
      if (byte !== undefined) this.#descriptors[index] = byte;
    }
  }

  #hasDescriptor(mark: string): boolean {
    for (let at = 0; at < this.#descriptors.length; at += descriptorMark)
      if (this.#descriptors.toString('latin1', at, at + descriptorMark) === mark) return true;
    return false;
  }

  close(): void {
    this.#walk?.close();
    this.#current.look?.close();
    this.#tail.close();
  }

  #judgeZip(bytes: Buffer): UnscannableReason | null {
    const ends = endRecords(bytes);
    if (ends === null) return 'unscannable:self-extracting';
    return ends.map((end) => this.#judgeEnd(bytes, end)).reduce(both, null);
  }

  #judgeEnd(bytes: Buffer, end: number): UnscannableReason | null {
    const { start } = this.#tail;
    const directory = readDirectory(bytes, start, end);
    if (directory === 'beyond') return 'unscannable:too-many-files';
    // The magic may stand in any data.
    if (typeof directory === 'string') return beginOfForgiven(bytes, start, end) === null ? null : 'unscannable:self-extracting';
    if (directory.entries.length > 0 && !this.#isCarrier) return 'unscannable:two-formats';
    if (directory.entries.length > 0 && this.#members.excess !== null) return this.#members.excess;
    return directory.entries.map((entry) => this.#judge(entry, directory.shift)).reduce(both, null);
  }

  #judge({ method, flags, crc, packed, size, localOffset }: ZipEntry, shift: number): UnscannableReason | null {
    if (!isUnpacked(method, flags)) return 'unscannable:zip-method';
    if (packed === 0) return null;
    if (packed === elsewhere || (flags & (flag.sizesFollow | flag.masked)) !== 0) return 'unscannable:self-extracting';
    const member = this.#members.found.get(localOffset + shift);
    // clamd goes by the header in front of the member, others by the directory.
    if (member === undefined || member.packed !== packed || member.method !== method) return 'unscannable:self-extracting';
    if (((member.flags | flags) & flag.encrypted) !== 0) return 'unscannable:encrypted';
    if (member.size !== size || (member.flags & (flag.sizesFollow | flag.masked)) !== 0) return 'unscannable:self-extracting';
    const { content } = member;
    if (content === null) return null;
    return content.packed === packed && content.size === size && content.crc === crc
      ? content.reason
      : both(content.reason, 'unscannable:damaged');
  }
}

function isProgram(head: Buffer): boolean {
  return /^(?:#!|MZ|\x7fELF)/.test(head.toString('latin1', 0, 4));
}

interface Mark {
  readonly bytes: Buffer;
  /** How many bytes from the mark on `confirm` wants to see. */
  readonly length: number;
  readonly confirm: (bytes: Buffer) => boolean;
}

const mark = (text: string, length: number, confirm: (bytes: Buffer) => boolean): Mark => ({
  bytes: Buffer.from(text, 'latin1'),
  length,
  confirm,
});

const rar4 = mark(
  'Rar!\x1a\x07\x00',
  20,
  (bytes) => bytes[9] === 0x73 && (crc32(bytes.subarray(9, 20)) & 0xffff) === bytes.readUInt16LE(7),
);
const rar5 = mark('Rar!\x1a\x07\x01\x00', 14, (bytes) => bytes[12]! < 0x80 && bytes[13] === 1);
/** What shell scripts unpack from behind their own text: clamd reads a script as text. Each is long enough not to be met by chance. */
const inScripts: readonly Mark[] = [
  mark(
    '\x1f\x8b\x08',
    10,
    (bytes) => (bytes[3]! === 0 || bytes[3] === 8) && [0, 2, 4].includes(bytes[8]!) && [0, 3, 11, 255].includes(bytes[9]!),
  ),
  mark('\xfd7zXZ\0\0', 12, (bytes) => bytes.readUInt32LE(8) === crc32(bytes.subarray(6, 8))),
  mark('BZh', 10, (bytes) => bytes.toString('latin1', 4) === '1AY&SY'),
  mark('\x28\xb5\x2f\xfd', 6, (bytes) => (bytes[4]! & 0x08) === 0),
  mark('\x04\x22\x4d\x18', 6, (bytes) => bytes[4]! >> 6 === 1 && (bytes[5]! & 0x8f) === 0),
  mark('LZIP\x01', 6, (bytes) => bytes[5]! >= 12 && bytes[5]! <= 29 + 0xe0),
  mark('ustar', 8, (bytes) => ['\x0000', '  \0'].includes(bytes.toString('latin1', 5, 8))),
];

/** Searches a program for what it carries. */
class Cargo {
  readonly #marks: readonly Mark[];
  #rest = Buffer.alloc(0);
  reason: UnscannableReason | null = null;

  constructor({ unpacksRar }: LookContext, head: Buffer) {
    const isScript = head.toString('latin1', 0, 2) === '#!';
    this.#marks = [...(isScript ? inScripts : []), ...(isScript || !unpacksRar ? [rar4, rar5] : [])];
  }

  push(chunk: Uint8Array): void {
    if (this.#marks.length === 0 || this.reason !== null) return;
    const bytes = Buffer.concat([this.#rest, chunk]);
    if (this.#marks.some((each) => isIn(bytes, each))) this.reason = 'unscannable:self-extracting';
    const longest = Math.max(...this.#marks.map(({ length }) => length));
    this.#rest = Buffer.from(bytes.subarray(Math.max(0, bytes.length - longest)));
  }
}

function isIn(bytes: Buffer, { bytes: wanted, length, confirm }: Mark): boolean {
  for (let at = bytes.indexOf(wanted); at >= 0; at = bytes.indexOf(wanted, at + 1)) {
    if (at + length <= bytes.length && confirm(bytes.subarray(at, at + length))) return true;
  }
  return false;
}
