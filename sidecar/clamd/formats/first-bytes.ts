/** How a format shows itself in the first bytes of a file. */
export interface FirstBytes {
  readonly at: number;
  readonly bytes: Buffer;
  /** Bits that count; all where absent. */
  readonly mask?: Buffer;
  /** More than these bytes, where they alone would mean little. */
  readonly confirm?: (head: Buffer) => boolean;
}

type More = Pick<FirstBytes, 'mask' | 'confirm'>;

/** Bytes in hex, with spaces as one likes. */
export function hex(text: string, at = 0, more: More = {}): FirstBytes {
  return { at, bytes: Buffer.from(text.replaceAll(' ', ''), 'hex'), ...more };
}

export function ascii(text: string, at = 0, more: More = {}): FirstBytes {
  return { at, bytes: Buffer.from(text, 'latin1'), ...more };
}

export function begins(head: Buffer, { at, bytes, mask, confirm }: FirstBytes): boolean {
  if (head.length < at + bytes.length) return false;
  for (let index = 0; index < bytes.length; index++) {
    const bits = mask?.[index] ?? 0xff;
    if ((head[at + index]! & bits) !== (bytes[index]! & bits)) return false;
  }
  return confirm === undefined || confirm(head);
}

/**
 * .lzma has no first bytes of its own: properties, size of the dictionary, size of the content, and a range coder that always
 * begins with a zero. Packers write round dictionaries and either no size or one below 256 GiB.
 */
export function isLzmaAlone(head: Buffer): boolean {
  if (head.length < 14 || head[0]! >= 9 * 5 * 5 || head[13] !== 0) return false;
  const dictionary = head.readUInt32LE(1);
  const size = head.readBigUInt64LE(5);
  return isRound(dictionary) && (size === 0xffff_ffff_ffff_ffffn || (size > 0n && size < 1n << 38n));
}

function isRound(size: number): boolean {
  if (size === 0xffff_ffff) return true;
  if (size < 4096) return false;
  const highest = 2 ** (31 - Math.clz32(size));
  return size === highest || size === highest * 1.5;
}

/** Of compress: the longest code, 9 to 16 bits. */
export function isCompress(head: Buffer): boolean {
  const bits = head[2]! & 0x1f;
  return head.length > 3 && bits >= 9 && bits <= 16;
}

/** The main header of an ARJ archive: its length, that of its fixed part, and its kind. */
export function isArj(head: Buffer): boolean {
  return head.length > 11 && head.readUInt16LE(2) <= 2600 && head[4]! >= 30 && head[10] === 2;
}

/** Version, and the length of the first of two archives: deb-old(5). */
export function isOldDebian(head: Buffer): boolean {
  return /^0\.93\d{0,8}\n\d+\n/.test(head.toString('latin1', 0, 64));
}

/** -lh5- and the like. */
export function isLha(head: Buffer): boolean {
  return /^-(?:lh[0-7dx]|lz[s45]|pm[0-2s])-/.test(head.toString('latin1', 2, 7));
}

/** A partition table as PCs boot from: four entries, of which one at least says where and how long. */
export function isPartitioned(head: Buffer): boolean {
  const entries = [446, 462, 478, 494].map((at) => head.subarray(at, at + 16));
  if (entries.some((entry) => entry[0] !== 0 && entry[0] !== 0x80)) return false;
  return entries.some((entry) => entry[4] !== 0 && entry.readUInt32LE(8) > 0 && entry.readUInt32LE(12) > 0);
}

/** State, way with errors and revision of an ext file system are small numbers. */
export function isExt(head: Buffer): boolean {
  return head.length >= 1104 && head.readUInt16LE(1082) <= 7 && head.readUInt16LE(1084) <= 3 && head.readUInt32LE(1100) <= 1;
}
