/** The end of a zip archive, read as strictly as clamd has to be protected from. */

export interface ZipEntry {
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly packed: number;
  readonly size: number;
  readonly localOffset: number;
}

export interface ZipDirectory {
  readonly entries: readonly ZipEntry[];
  /** How far the archive begins behind the offset that its own numbers mean; 0 where nothing stands in front of it. */
  readonly shift: number;
}

const endLength = 22;
const longestComment = 65_535;
const entryLength = 46;
const endMagic = Buffer.from('PK\x05\x06', 'latin1');
const entryMagic = 0x02014b50;
const zip64LocatorMagic = 0x07064b50;
const zip64LocatorLength = 20;

/** Far more than ten thousand entries need, which is where clamd stops to count (MaxFiles). */
export const directoryReach = 4 * 1024 * 1024;
/** How far an end record may stand from the end. */
export const endReach = endLength + longestComment;

/**
 * The directory at the end of a file, given the last bytes of it and the offset of the first of them. `none`: there is no end
 * record, so this is no whole zip. `beyond`: it begins before the bytes given. `zip64`: its numbers stand elsewhere, where clamd
 * does not look. `broken`: parts of it contradict each other, so that two readers would see two archives.
 */
export function readDirectory(
  tail: Buffer,
  start: number,
  // The last end record counts, as for clamd.
  end: number = tail.lastIndexOf(endMagic),
): ZipDirectory | 'none' | 'beyond' | 'zip64' | 'broken' {
  if (end < 0 || end + endLength > tail.length || tail.length - end > endReach) return 'none';
  const isOneOfSeveral = tail.readUInt32LE(end + 4) !== 0;
  const count = tail.readUInt16LE(end + 10);
  if (isOneOfSeveral || tail.readUInt16LE(end + 8) !== count) return 'broken';
  const size = tail.readUInt32LE(end + 12);
  const offset = tail.readUInt32LE(end + 16);
  if (size === 0xffff_ffff || offset === 0xffff_ffff || hasZip64Locator(tail, end)) return 'zip64';
  const from = end - size;
  if (from < 0) return start === 0 || size > start + end ? 'broken' : 'beyond';
  const entries = readEntries(tail.subarray(from, end), count);
  const shift = start + from - offset;
  return entries === null || shift < 0 ? 'broken' : { entries, shift };
}

/** Where end records may be, in the bytes given: readers do not agree on which of several counts. Null where there are too many to ask. */
export function endRecords(tail: Buffer): readonly number[] | null {
  const ends: number[] = [];
  for (let at = tail.indexOf(endMagic, Math.max(0, tail.length - endReach)); at >= 0; at = tail.indexOf(endMagic, at + 1)) {
    if (at + endLength <= tail.length) ends.push(at);
    if (ends.length > mostEnds) return null;
  }
  return ends;
}

/**
 * Where an archive begins that a forgiving reader would make of this end record (Python asks for no count, Info-ZIP goes back to the
 * offset as it stands, some take no notice of what is left over), or null where nobody would.
 */
export function beginOfForgiven(tail: Buffer, start: number, end: number): number | null {
  const size = tail.readUInt32LE(end + 12);
  const offset = tail.readUInt32LE(end + 16);
  const begin = start + end - size - offset;
  if (hasZip64Locator(tail, end)) return begin;
  const isDirectory = (at: number) => at >= 0 && at + 4 <= end && tail.readUInt32LE(at) === entryMagic;
  if (isDirectory(end - size) || isDirectory(offset - start)) return begin;
  const isOutside = size > end || offset < start;
  return isOutside && size >= entryLength && begin >= 0 ? begin : null;
}

function hasZip64Locator(tail: Buffer, end: number): boolean {
  return end >= zip64LocatorLength && tail.readUInt32LE(end - zip64LocatorLength) === zip64LocatorMagic;
}

/** Nobody writes even two. */
const mostEnds = 32;

/** Exactly `count` entries (its low 16 bits where there are more), without a gap or a rest. */
function readEntries(bytes: Buffer, count: number): ZipEntry[] | null {
  const entries: ZipEntry[] = [];
  let at = 0;
  while (at + entryLength <= bytes.length && bytes.readUInt32LE(at) === entryMagic) {
    entries.push({
      flags: bytes.readUInt16LE(at + 8),
      method: bytes.readUInt16LE(at + 10),
      crc: bytes.readUInt32LE(at + 16),
      packed: bytes.readUInt32LE(at + 20),
      size: bytes.readUInt32LE(at + 24),
      localOffset: bytes.readUInt32LE(at + 42),
    });
    at += entryLength + bytes.readUInt16LE(at + 28) + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return at === bytes.length && (entries.length & 0xffff) === count ? entries : null;
}

/**
 * Stored and deflate. ClamAV 1.4 unpacks imploded, deflate64 and bzip2 as well, but then nobody has seen whether it knows what is in
 * there: they are as rare as those that it does not unpack.
 */
const unpackedMethods: ReadonlySet<number> = new Set([0, 8]);
/** AES: the real method stands elsewhere. clamd answers for it with an alert of its own. */
const aesMethod = 99;

export function isUnpacked(method: number, flags: number): boolean {
  return unpackedMethods.has(method) || (method === aesMethod && (flags & flag.encrypted) !== 0);
}

export const flag = {
  encrypted: 1 << 0,
  /** Sizes follow the data; the local header may be silent about them. */
  sizesFollow: 1 << 3,
  /** Header values are masked; clamd skips such a member. */
  masked: 1 << 13,
} as const;

/** In a size: the number stands in a zip64 field. clamd takes it for the number, and skips the member. */
export const elsewhere = 0xffff_ffff;
