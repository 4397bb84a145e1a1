import { crc32 } from 'node:zlib';
import { Inflater, inflateAll } from './inflate.ts';
import { type Look, type LookContext, lookInside } from './look.ts';
import { endOf, type Input, onlyZerosFollow, type Walk, WalkLook } from './walk.ts';

const flags = { headerCrc: 2, extra: 4, name: 8, comment: 16, reserved: 0xe0 };
/** Of a name or a comment; nobody writes longer ones. */
const longestText = 64 * 1024;

/**
 * gzip is a wrapping around one file, so what it holds is looked at as if it were the upload itself. clamd scans what it could
 * unpack and says nothing of damage or a missing end (cli_scangzip of 1.4); behind zeros it looks no further.
 */
export class GzipLook extends WalkLook {
  readonly #content: Look;

  constructor(context: LookContext) {
    const content = lookInside(null, context);
    super((input) => walkGzip(input, content, context));
    this.#content = content;
  }

  override close(): void {
    super.close();
    this.#content.close();
  }
}

function* walkGzip(input: Input, content: Look, context: LookContext): Walk {
  do {
    if (!(yield* readHeader(input))) return 'unscannable:damaged';
    const trouble = yield* readBody(input, content, context);
    if (trouble !== null) return trouble;
  } while ((yield* input.peek(1))[0] === 0x1f);
  if (!(yield* onlyZerosFollow(input))) return 'unscannable:damaged';
  return yield* endOf(content);
}

function* readHeader(input: Input): Walk<boolean> {
  const fixed = yield* input.take(10);
  if (fixed.length < 10 || fixed.readUInt16BE(0) !== 0x1f8b || fixed[2] !== 8) return false;
  let sum = crc32(fixed);
  const flag = fixed[3]!;
  if ((flag & flags.reserved) !== 0) return false;
  if ((flag & flags.extra) !== 0) {
    const length = yield* input.take(2);
    if (length.length < 2) return false;
    sum = crc32(length, sum);
    const wanted = length.readUInt16LE(0);
    const extra = yield* input.take(wanted);
    if (extra.length < wanted) return false;
    sum = crc32(extra, sum);
  }
  for (const each of [flags.name, flags.comment]) {
    if ((flag & each) === 0) continue;
    const text = yield* readText(input);
    if (text === null) return false;
    sum = crc32(text, sum);
  }
  if ((flag & flags.headerCrc) === 0) return true;
  const told = yield* input.take(2);
  return told.length === 2 && told.readUInt16LE(0) === (sum & 0xffff);
}

/** Up to and with the zero at its end. */
function* readText(input: Input): Walk<Buffer | null> {
  for (let length = 1; length <= longestText; ) {
    const bytes = yield* input.peek(length);
    if (bytes.length < length) return null;
    const end = input.bytes.indexOf(0);
    if (end >= 0) return Buffer.from(yield* input.take(end + 1));
    length = input.bytes.length + 1;
  }
  return null;
}

function* readBody(input: Input, content: Look, context: LookContext): Walk {
  let sum = 0;
  let size = 0;
  const inflater = new Inflater((piece) => {
    sum = crc32(piece, sum);
    size += piece.length;
    return content.push(piece);
  }, context.budget);
  try {
    const trouble = yield* inflateAll(input, Number.POSITIVE_INFINITY, inflater);
    if (trouble.reason !== null) return trouble.reason;
  } finally {
    inflater.close();
  }
  const trailer = yield* input.take(8);
  const isWhole = trailer.length === 8 && trailer.readUInt32LE(0) === sum && trailer.readUInt32LE(4) === size % 2 ** 32;
  return isWhole ? null : 'unscannable:damaged';
}
