import type { UnscannableReason } from '../../scan/model.ts';

interface Magic {
  readonly reason: UnscannableReason;
  readonly what: string;
  readonly at: number;
  readonly bytes: Buffer;
  /** Bits that count; all where absent. */
  readonly mask?: Buffer;
  /** More than the first bytes, where these alone would mean little. */
  readonly confirm?: (head: Buffer) => boolean;
}

const ascii = (text: string) => Buffer.from(text, 'latin1');
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

/**
 * Formats that clamd accepts, never unpacks and calls OK, told by their first bytes. Each was tried on ClamAV 1.4.6 with EICAR
 * inside, or is unknown to its sources. Zip, 7z, xz and OLE2, of which it unpacks most, have modules of their own. Not told
 * apart from other data: brotli, which has no first bytes, raw zlib and raw deflate.
 */
const magics: readonly Magic[] = [
  { reason: 'unscannable:zstd', what: 'Zstandard', at: 0, bytes: hex('28b52ffd') },
  { reason: 'unscannable:zstd', what: 'Zstandard or LZ4, skippable frame first', at: 0, bytes: hex('502a4d18'), mask: hex('f0ffffff') },
  { reason: 'unscannable:lz4', what: 'LZ4 frame', at: 0, bytes: hex('04224d18') },
  { reason: 'unscannable:lz4', what: 'LZ4 legacy frame', at: 0, bytes: hex('02214c18') },
  { reason: 'unscannable:lzma', what: 'bare LZMA', at: 2, bytes: hex('00 00'), mask: hex('00 00'), confirm: isLzmaAlone },
  { reason: 'unscannable:lzip', what: 'lzip', at: 0, bytes: ascii('LZIP') },
  { reason: 'unscannable:compress', what: 'Unix compress', at: 0, bytes: hex('1f9d'), confirm: (head) => isCodeLength(head[2]) },
  { reason: 'unscannable:compress', what: 'Unix pack', at: 0, bytes: hex('1f1e') },
  { reason: 'unscannable:compress', what: 'SCO compress -H', at: 0, bytes: hex('1fa0') },
  { reason: 'unscannable:format', what: 'lzop', at: 0, bytes: hex('894c5a4f000d0a1a0a') },
  { reason: 'unscannable:format', what: 'Snappy frames', at: 0, bytes: hex('ff060000734e61507059') },
  { reason: 'unscannable:format', what: 'ACE', at: 7, bytes: ascii('**ACE**') },
  { reason: 'unscannable:format', what: 'ZOO', at: 20, bytes: hex('dca7c4fd') },
  { reason: 'unscannable:format', what: 'ZPAQ', at: 0, bytes: hex('37 6b 53 74 a0 31 83 d3') },
  { reason: 'unscannable:format', what: 'ar: .deb and static libraries', at: 0, bytes: ascii('!<arch>\n') },
  { reason: 'unscannable:format', what: 'rpm', at: 0, bytes: hex('edabeedb') },
  { reason: 'unscannable:format', what: 'xar: .pkg, .xip', at: 0, bytes: ascii('xar!') },
  { reason: 'unscannable:format', what: 'SquashFS: .snap', at: 0, bytes: ascii('hsqs') },
  { reason: 'unscannable:format', what: 'AppImage, a SquashFS behind a program', at: 8, bytes: ascii('AI\x02') },
  { reason: 'unscannable:format', what: 'AppImage type 1', at: 8, bytes: ascii('AI\x01') },
  { reason: 'unscannable:format', what: 'WIM', at: 0, bytes: ascii('MSWIM\0\0\0') },
];

const rar = ascii('Rar!\x1a\x07');

/** Enough of a file for every entry of the table. */
export const headLength = 32;

/** What the first bytes say about a file: a reason not to trust an OK, or nothing. */
export function judgeHead(head: Buffer, engine: { readonly unpacksRar: boolean }): UnscannableReason | null {
  if (!engine.unpacksRar && startsWith(head, rar)) return 'unscannable:rar';
  return magics.find((magic) => matches(head, magic))?.reason ?? null;
}

export function startsWith(head: Buffer, bytes: Buffer): boolean {
  return head.length >= bytes.length && head.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}

function matches(head: Buffer, { at, bytes, mask, confirm }: Magic): boolean {
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
function isLzmaAlone(head: Buffer): boolean {
  if (head.length < 14 || head[0]! >= 9 * 5 * 5 || head[13] !== 0) return false;
  const dictionary = head.readUInt32LE(1);
  const size = head.readBigUInt64LE(5);
  return isRound(dictionary) && (size === 0xffff_ffff_ffff_ffffn || (size > 0n && size < 1n << 38n));
}

/** Of compress: the longest code, 9 to 16 bits. */
function isCodeLength(byte = 0): boolean {
  const bits = byte & 0x1f;
  return bits >= 9 && bits <= 16;
}

function isRound(size: number): boolean {
  if (size === 0xffff_ffff) return true;
  if (size < 4096) return false;
  const highest = 2 ** (31 - Math.clz32(size));
  return size === highest || size === highest * 1.5;
}
