import type { UnscannableReason } from '../../scan/model.ts';
import { both } from './both.ts';
import { type Look, type LookContext, lookInside } from './look.ts';
import { blockLength, readTarHeader, type TarHeader } from './tar-header.ts';
import { endOf, type Input, isZero, onlyZerosFollow, type Walk, WalkLook } from './walk.ts';
import { ZipBehind } from './zip-behind.ts';

/** clamd stops at ten thousand members. */
const mostMembers = 100_000;
/** Of an extended header; real ones have a few hundred bytes. */
const longestExtended = 1024 * 1024;

/** Of these neither clamd nor anybody else expects data; where there is some, readers part. */
const withoutData = new Set(['1', '2', '3', '4', '5', '6', 'V']);
/** clamd jumps over these. */
const skipped = new Set(['K', 'L', 'N', 'A', 'E', 'I', 'g', 'x', 'X']);
/** And of those, these are plain files to readers that do not know them. */
const plainToOthers = new Set(['N', 'A', 'E', 'I']);
const slash = 0x2f;
/** Old sparse files: what is stored is not what they unpack to. */
const sparse = 'S';

/**
 * A tar is looked at whole by ClamAV 1.4 only where every header is one that it reads as others do: it skips what it cannot make
 * sense of, block by block, and says OK. Members are looked at like uploads of their own.
 */
export class TarLook extends WalkLook {
  #member: Look | null = null;
  readonly #behind: ZipBehind;
  readonly #last: LastMember;

  constructor(size: number | null, context: LookContext) {
    const open = (size: number) => {
      this.#member = lookInside(size, { ...context, levels: context.levels - 1 });
      return this.#member;
    };
    const last = { at: 0, isFolder: false };
    super((input) => walkTar(input, context.levels > 0 ? open : null, last));
    this.#last = last;
    this.#behind = new ZipBehind(size);
  }

  override push(chunk: Uint8Array): void | Promise<void> {
    this.#behind.push(chunk);
    return super.push(chunk);
  }

  override end(): UnscannableReason | null | Promise<UnscannableReason | null> {
    const reason = super.end();
    const judged = (found: UnscannableReason | null) => both(found, this.#behind.judge(this.#last.at));
    return reason instanceof Promise ? reason.then(judged) : judged(reason);
  }

  override close(): void {
    super.close();
    this.#behind.close();
    this.#member?.close();
  }
}

interface LastMember {
  /** Offset of the data of the member that was begun last. */
  at: number;
  /** Told in front of the next member: its name ends like that of a folder. */
  isFolder: boolean;
}

function* walkTar(input: Input, open: ((size: number) => Look) | null, last: LastMember): Walk {
  let isUstar: boolean | null = null;
  let reason: UnscannableReason | null = null;
  for (let members = 0; yield* input.more(); members++) {
    if (members > mostMembers) return both(reason, 'unscannable:too-many-files');
    const block = yield* input.take(blockLength);
    // Behind the end there may be padding; members that only some readers show may not.
    if (isZero(block)) return (yield* onlyZerosFollow(input)) ? reason : both(reason, 'unscannable:damaged');
    const header = block.length < blockLength ? null : readTarHeader(block);
    if (header === null) return both(reason, 'unscannable:damaged');
    if (header === 'unclear') return both(reason, 'unscannable:tar-form');
    // clamd gives up at the first header of the other kind.
    isUstar ??= header.isUstar;
    if (isUstar && !header.isUstar) return both(reason, 'unscannable:damaged');
    if (header.size > 0) last.at = input.position;
    const { found, goesOn } = yield* readMember(input, header, open, last);
    reason = both(reason, found);
    if (!goesOn) return reason;
  }
  return reason;
}

/** What stands against a member; where its own bounds are in doubt, nothing behind it can be read. */
interface MemberFound {
  readonly found: UnscannableReason | null;
  readonly goesOn: boolean;
}

const stop = (found: UnscannableReason): MemberFound => ({ found, goesOn: false });
const nothingFound: MemberFound = { found: null, goesOn: true };

function* readMember(input: Input, header: TarHeader, open: ((size: number) => Look) | null, last: LastMember): Walk<MemberFound> {
  const { type, size } = header;
  const isFolder = header.isFolder || last.isFolder;
  if (!skipped.has(type)) last.isFolder = false;
  if (type === sparse || plainToOthers.has(type)) return stop('unscannable:tar-form');
  if (withoutData.has(type)) return size === 0 ? nothingFound : stop('unscannable:damaged');
  // GNU tar goes by the name, and takes what follows for the next header.
  if (!skipped.has(type) && isFolder && size > 0) return stop('unscannable:tar-form');
  // Behind an empty one clamd jumps over the next header as well.
  if (skipped.has(type) && size === 0) return stop('unscannable:damaged');
  if (type === 'x' || type === 'X' || type === 'g') {
    const found = yield* readExtended(input, size, last);
    return found === null ? nothingFound : stop(found);
  }
  const padding = (blockLength - (size % blockLength)) % blockLength;
  const look = skipped.has(type) || open === null || size === 0 ? null : open(size);
  let lastOfName = 0;
  const passed = yield* input.pass(size, (piece) => {
    if (type === 'L') lastOfName = piece.findLast((byte) => byte !== 0) ?? lastOfName;
    return look?.push(piece);
  });
  if (lastOfName === slash) last.isFolder = true;
  if (passed < size || (yield* input.take(padding)).length < padding) return stop('unscannable:damaged');
  if (look === null) return nothingFound;
  const found = yield* endOf(look);
  look.close();
  return { found, goesOn: true };
}

/** clamd knows nothing of what stands here, so that it must not change which bytes a member has. */
function* readExtended(input: Input, size: number, last: LastMember): Walk {
  const length = Math.ceil(size / blockLength) * blockLength;
  if (length > longestExtended) return 'unscannable:damaged';
  const bytes = yield* input.take(length);
  return bytes.length < length ? 'unscannable:damaged' : judgeRecords(bytes.subarray(0, size), last);
}

function judgeRecords(records: Buffer, last: LastMember): UnscannableReason | null {
  for (let at = 0; at < records.length; ) {
    const space = records.indexOf(' ', at);
    const told = space < 0 ? '' : records.toString('latin1', at, space);
    const length = Number(told);
    // What is no decimal number some readers take for the end; a length that leads nowhere would be read for ever.
    if (!/^[1-9][0-9]{0,8}$/.test(told) || length <= told.length + 1 || at + length > records.length) return 'unscannable:damaged';
    const equals = records.indexOf('=', space);
    // GNU tar takes blanks in front of a key for none.
    const key = records.toString('latin1', space + 1, equals < 0 ? space + 1 : equals).trim();
    if (key === 'size' || key.startsWith('GNU.sparse.') || key === 'SCHILY.realsize') return 'unscannable:tar-form';
    at += length;
    if (key === 'path' && records[at - 2] === slash) last.isFolder = true;
  }
  return null;
}
