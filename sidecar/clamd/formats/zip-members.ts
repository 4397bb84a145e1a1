import { crc32 } from 'node:zlib';
import type { UnscannableReason } from '../../scan/model.ts';
import { Inflater, inflateAll, inflateAtOnce } from './inflate.ts';
import { type Look, type LookContext, lookInside } from './look.ts';
import { endOf, type Input, type Walk } from './walk.ts';
import { elsewhere, flag } from './zip-directory.ts';

/** What stands in front of a member, and what was found behind it. */
export interface ZipMember {
  readonly flags: number;
  readonly method: number;
  /** As its header says. */
  readonly packed: number;
  readonly size: number;
  /** It stands where the member before it ended, and so did that one, from the first byte of the file on. */
  readonly chained: boolean;
  /** What was really there; null where it was not unpacked. */
  readonly content: ZipContent | null;
}

export interface ZipContent {
  readonly packed: number;
  readonly size: number;
  readonly crc: number;
  readonly reason: UnscannableReason | null;
}

export interface ZipMembers {
  /** By offset in the file. */
  readonly found: Map<number, ZipMember>;
  /** Why the walk ended too early: there was more than anybody looks at. */
  readonly excess: 'unscannable:too-many-files' | 'unscannable:too-large' | 'unscannable:damaged' | null;
}

export const localMagic = Buffer.from('PK\x03\x04', 'latin1');
const descriptorMagic = Buffer.from('PK\x07\x08', 'latin1');
/** Central directory, end record, archive extra data, zip64 end record. */
const behindMembers = ['PK\x01\x02', 'PK\x05\x06', 'PK\x06\x08', 'PK\x06\x06'];
const headerLength = 30;
/** clamd stops at ten thousand members; those of stored archives inside may show as well. */
const mostMembers = 100_000;
/** The search behind a damaged one may come upon the same bytes again and again. */
const mostDamaged = 16;
/** Unpacked in one step: threads cost more than this. */
const smallLength = 64 * 1024;

const method = { stored: 0, deflate: 8 };

/**
 * The members of a zip as they pass by: from one to the next where that is known, else by search. Where `context` has levels left,
 * what is stored or deflated is looked at like an upload of its own; skipped data costs nothing, searched data about 0.1 s a GiB.
 */
export function* walkZipMembers(input: Input, context: LookContext, current: { look: Look | null }): Walk<ZipMembers> {
  const found = new Map<number, ZipMember>();
  const opener = context.levels > 0 ? new Opener(input, context, current) : null;
  let chained = input.position === 0;
  let damaged = 0;
  while (yield* input.more()) {
    if (found.size >= mostMembers) return { found, excess: 'unscannable:too-many-files' };
    const head = yield* input.peek(headerLength);
    if (chained && behindMembers.includes(head.toString('latin1', 0, 4))) break;
    if (head.length < headerLength || !head.subarray(0, 4).equals(localMagic) || (!chained && !isPlausible(head))) {
      chained = false;
      search(input);
      continue;
    }
    const offset = input.position;
    const header = readHeader(head, chained);
    const names = head.readUInt16LE(26) + head.readUInt16LE(28);
    input.advance(headerLength);
    yield* input.pass(names, () => {});
    const content = opener === null ? null : yield* opener.read(header);
    found.set(offset, { ...header, content });
    if (content?.reason === 'unscannable:too-large') return { found, excess: content.reason };
    if (content?.reason === 'unscannable:damaged' && ++damaged > mostDamaged) return { found, excess: content.reason };
    if (content === null && saysLength(header)) yield* input.pass(header.packed, () => {});
    else if (content === null) chained = false;
  }
  return { found, excess: null };
}

type Header = Omit<ZipMember, 'content'>;

function readHeader(head: Buffer, chained: boolean): Header {
  return {
    flags: head.readUInt16LE(6),
    method: head.readUInt16LE(8),
    packed: head.readUInt32LE(18),
    size: head.readUInt32LE(22),
    chained,
  };
}

/** Programs that read zips carry the magic as well, with other things behind it. */
function isPlausible(head: Buffer): boolean {
  const highestVersion = 63;
  return head[4]! <= highestVersion && head.readUInt16LE(8) < 100 && head.readUInt16LE(26) > 0 && head.readUInt16LE(26) < 4096;
}

function saysLength({ flags, packed }: Header): boolean {
  return (flags & flag.sizesFollow) === 0 && packed !== elsewhere;
}

/** Goes to the next local header, or as far as there is none. */
function search(input: Input): void {
  const at = input.bytes.indexOf(localMagic, 1);
  input.advance(at >= 0 ? at : Math.max(1, input.bytes.length - localMagic.length + 1));
}

class Opener {
  readonly #input: Input;
  readonly #context: LookContext;
  readonly #current: { look: Look | null };

  constructor(input: Input, context: LookContext, current: { look: Look | null }) {
    this.#input = input;
    this.#context = { ...context, levels: context.levels - 1 };
    this.#current = current;
  }

  /** Reads the member, and what follows it, to its end. Null where it cannot tell where that is, and has read nothing. */
  *read(header: Header): Walk<ZipContent | null> {
    if ((header.flags & (flag.encrypted | flag.masked)) !== 0) return null;
    const known = saysLength(header);
    if (header.method === method.deflate) return yield* known ? this.#deflated(header) : this.#deflatedAndDescribed();
    if (header.method !== method.stored) return null;
    return yield* known ? this.#stored(header.packed) : this.#storedAndDescribed();
  }

  *#stored(length: number): Walk<ZipContent> {
    const content = this.#open(length);
    const passed = yield* this.#input.pass(length, (piece) => content.push(piece));
    return yield* content.close(passed, passed < length);
  }

  *#deflated({ packed: length, size }: Header): Walk<ZipContent> {
    if (length <= smallLength) {
      const bytes = yield* this.#input.peek(length);
      const at = bytes.length < length ? null : inflateAtOnce(bytes, size);
      if (at !== 'large') {
        const content = yield* this.#unpacked(at?.unpacked ?? null);
        this.#input.advance(bytes.length);
        return yield* content.close(bytes.length, at?.packed !== length);
      }
    }
    const content = this.#open(null);
    const packed = yield* this.#inflate(length, content);
    yield* this.#input.pass(length - packed, () => {});
    return yield* content.close(packed, packed < length);
  }

  *#deflatedAndDescribed(): Walk<ZipContent> {
    const at = inflateAtOnce(this.#input.bytes.subarray(0, smallLength), smallLength);
    let content: OpenContent;
    let packed: number;
    if (at === 'large' || at === null) {
      content = this.#open(null);
      packed = yield* this.#inflate(Number.POSITIVE_INFINITY, content);
    } else {
      content = yield* this.#unpacked(at.unpacked);
      packed = at.packed;
      this.#input.advance(packed);
    }
    // Some leave it out, or write another: then the directory has the last word.
    this.#input.advance(descriptorLength(yield* this.#input.peek(28), content, packed) ?? 0);
    return yield* content.close(packed, false);
  }

  *#unpacked(bytes: Buffer | null): Walk<OpenContent> {
    this.#context.budget.spend(bytes?.length ?? 0);
    const content = this.#open(bytes?.length ?? 0);
    const wait = bytes === null ? undefined : content.push(bytes);
    if (wait !== undefined) yield wait;
    return content;
  }

  *#inflate(length: number, content: OpenContent): Walk<number> {
    const inflater = new Inflater((piece) => content.push(piece), this.#context.budget);
    try {
      const { reason, packed } = yield* inflateAll(this.#input, length, inflater);
      content.trouble = reason;
      return packed;
    } finally {
      inflater.close();
    }
  }

  /** Stored, its length told behind it: the end is where a descriptor tells the length and the sum of all bytes before it. */
  *#storedAndDescribed(): Walk<ZipContent> {
    const content = this.#open(null);
    let packed = 0;
    while (yield* this.#input.more()) {
      const bytes = yield* this.#input.peek(28);
      const length = bytes.subarray(0, 4).equals(descriptorMagic) ? descriptorLength(bytes, content, packed) : null;
      if (length !== null) {
        this.#input.advance(length);
        return yield* content.close(packed, false);
      }
      packed += yield* this.#input.pass(toDescriptor(this.#input.bytes, packed), (piece) => content.push(piece));
    }
    return yield* content.close(packed, true);
  }

  #open(size: number | null): OpenContent {
    this.#current.look = lookInside(size, this.#context);
    return new OpenContent(this.#current.look);
  }
}

class OpenContent {
  readonly #look: Look;
  size = 0;
  crc = 0;
  trouble: UnscannableReason | null = null;

  constructor(look: Look) {
    this.#look = look;
  }

  push(piece: Buffer): void | Promise<void> {
    this.size += piece.length;
    this.crc = crc32(piece, this.crc);
    return this.#look.push(piece);
  }

  *close(packed: number, isDamaged: boolean): Walk<ZipContent> {
    const inside = this.trouble ?? (isDamaged ? 'unscannable:damaged' : yield* endOf(this.#look));
    this.#look.close();
    return { packed, size: this.size, crc: this.crc, reason: inside };
  }
}

/** How far it is, behind the first byte, to what may tell the length of everything before it, or may be the beginning of that. */
function toDescriptor(window: Buffer, packed: number): number {
  const sizeAt = 8;
  for (let at = window.indexOf(descriptorMagic, 1); at >= 0; at = window.indexOf(descriptorMagic, at + 1)) {
    if (at + sizeAt + 4 > window.length || window.readUInt32LE(at + sizeAt) === (packed + at) % 2 ** 32) return at;
  }
  return Math.max(1, window.length - descriptorMagic.length + 1);
}

/** Of what tells sum and sizes behind a member, with or without a magic, in 32 or 64 bits; null where it tells others. */
function descriptorLength(bytes: Buffer, { crc, size }: OpenContent, packed: number): number | null {
  for (const start of [4, 0]) {
    if (start === 4 && !bytes.subarray(0, 4).equals(descriptorMagic)) continue;
    if (bytes.length < start + 12 || bytes.readUInt32LE(start) !== crc || bytes.readUInt32LE(start + 4) !== packed) continue;
    if (bytes.readUInt32LE(start + 8) === size) return start + 12;
    if (bytes.length >= start + 20 && bytes.readUInt32LE(start + 12) === size) return start + 20;
  }
  return null;
}
