/**
 * Every format that we know of, what ClamAV 1.4 does with it, and what we answer where it answers OK. The looks work by this table,
 * docs/formats.md shows it, and test/integration/formats.test.ts proves each line with a real engine.
 */
import type { UnscannableReason } from '../../scan/model.ts';
import { ascii, begins, type FirstBytes, hex, isArj, isCompress, isExt, isLha, isLzmaAlone, isOldDebian } from './first-bytes.ts';

export interface Format {
  readonly name: string;
  /** By which endings people know it. */
  readonly files: string;
  /** What ClamAV 1.4 does with it on our configuration. */
  readonly engine: string;
  /** What we make of its OK: `judged` takes it as a proof. */
  readonly answer: 'judged' | UnscannableReason;
  /** Where it is answered so; everywhere if absent. */
  readonly where?: 'as the upload' | 'inside an archive';
  /** By which it is told at once. Formats without are told by a look of their own. */
  readonly first?: readonly FirstBytes[];
}

const nothing = 'does not unpack it';
const anyBits = { mask: Buffer.from('0000', 'hex') };

const judged = [
  { name: 'plain file', files: 'programs, pictures, text, anything else', engine: 'scans it', answer: 'judged' },
  {
    name: 'zip',
    files: '.zip .jar .war .apk .whl .nupkg .vsix .xpi .docx',
    engine: 'unpacks stored and deflated members',
    answer: 'judged',
  },
  {
    name: 'zip behind a program',
    files: 'self-extracting .exe, .pyz, .pex, .crx',
    engine: 'finds members whose headers tell their size',
    answer: 'judged',
  },
  { name: 'tar', files: '.tar .gem .ova, container images', engine: 'unpacks it', answer: 'judged' },
  { name: 'gzip', files: '.gz .tar.gz .tgz, npm packages', engine: 'unpacks it', answer: 'judged' },
  { name: 'bzip2', files: '.bz2 .tar.bz2', engine: 'unpacks its first stream', answer: 'judged' },
  { name: 'xz', files: '.xz .tar.xz', engine: 'unpacks its first stream', answer: 'judged' },
  { name: '7z', files: '.7z', engine: 'unpacks Copy, LZMA, LZMA2 and PPMd, alone or with BCJ or BCJ2', answer: 'judged' },
  { name: 'cab', files: '.cab', engine: 'unpacks it', answer: 'judged' },
  { name: 'ISO 9660', files: '.iso', engine: 'unpacks it', answer: 'judged' },
  { name: 'cpio', files: '.cpio, initramfs', engine: 'unpacks it', answer: 'judged' },
  { name: 'OLE2', files: '.msi .doc .xls .ppt', engine: 'unpacks its streams', answer: 'judged' },
  { name: 'PDF', files: '.pdf', engine: 'unpacks its streams and attachments', answer: 'judged' },
  {
    name: 'ar',
    files: '.deb .ipk .a',
    engine: 'does not unpack it, but is asked about each member',
    answer: 'judged',
    where: 'as the upload',
  },
] as const satisfies readonly Format[];

const partly = [
  { name: 'zip, encrypted', files: '.zip', engine: 'alerts', answer: 'unscannable:encrypted' },
  {
    name: 'zip, other methods',
    files: '.zip by 7-Zip or WinZip: LZMA, PPMd, xz, Zstandard, also BZip2, Deflate64',
    engine: 'skips members by most of them and says OK',
    answer: 'unscannable:zip-method',
  },
  { name: 'zip64', files: '.zip, .appx, .msix', engine: 'skips members whose sizes stand elsewhere', answer: 'unscannable:zip64' },
  { name: 'zip without its directory', files: '.zip cut short', engine: 'skips every member', answer: 'unscannable:damaged' },
  { name: 'zip, damaged member', files: '.zip', engine: 'skips the member', answer: 'unscannable:damaged' },
  {
    name: 'zip behind a program, sizes behind the data',
    files: 'self-extracting .exe, .pyz',
    engine: 'skips the members',
    answer: 'unscannable:self-extracting',
  },
  { name: 'archive behind a script', files: '.run and .sh by makeself', engine: 'reads it as text', answer: 'unscannable:self-extracting' },
  { name: 'tar, damaged', files: '.tar', engine: 'goes on behind what it cannot read', answer: 'unscannable:damaged' },
  {
    name: 'tar with sizes elsewhere',
    files: '.tar with sparse files, pax or base-256 sizes',
    engine: 'takes the size in the header',
    answer: 'unscannable:tar-form',
  },
  {
    name: 'tar like another format',
    files: '.tar whose first name begins like a picture',
    engine: 'reads it as the picture',
    answer: 'unscannable:two-formats',
  },
  { name: 'gzip, damaged', files: '.gz .tar.gz', engine: 'scans what it could unpack', answer: 'unscannable:damaged' },
  { name: 'bzip2, cut short', files: '.bz2', engine: 'scans what it could unpack', answer: 'unscannable:damaged' },
  {
    name: 'bzip2 of several streams',
    files: '.bz2 by pbzip2 or lbzip2',
    engine: 'unpacks the first',
    answer: 'unscannable:several-streams',
  },
  { name: 'xz, cut short', files: '.xz', engine: 'scans nothing of it', answer: 'unscannable:damaged' },
  { name: 'xz of several streams', files: '.xz joined with cat', engine: 'unpacks the first', answer: 'unscannable:several-streams' },
  {
    name: 'xz with newer filters',
    files: '.xz with ARM64 or RISC-V filter',
    engine: 'scans nothing of it',
    answer: 'unscannable:xz-filter',
  },
  { name: '7z, encrypted', files: '.7z', engine: 'alerts', answer: 'unscannable:encrypted' },
  {
    name: '7z, other methods',
    files: '.7z by BZip2, Deflate, ARM64, Delta',
    engine: 'scans nothing of it',
    answer: 'unscannable:7z-method',
  },
  { name: '7z, cut short', files: '.7z', engine: 'scans nothing of it', answer: 'unscannable:damaged' },
  {
    name: 'OLE2, encrypted',
    files: '.docx .xlsx .pptx with a password',
    engine: 'scans the encrypted bytes',
    answer: 'unscannable:encrypted',
  },
  { name: 'PDF, encrypted', files: '.pdf', engine: 'alerts', answer: 'unscannable:encrypted' },
  { name: 'PDF, cut short', files: '.pdf', engine: 'scans what it finds', answer: 'unscannable:damaged' },
] as const satisfies readonly Format[];

const unpackedByNobody = [
  { name: 'Zstandard', files: '.zst .tar.zst', engine: nothing, answer: 'unscannable:zstd', first: [hex('28b52ffd')] },
  {
    name: 'skippable frame',
    files: '.zst or .lz4 that begins with one',
    engine: nothing,
    answer: 'unscannable:zstd',
    first: [hex('502a4d18', 0, { mask: Buffer.from('f0ffffff', 'hex') })],
  },
  { name: 'LZ4', files: '.lz4', engine: nothing, answer: 'unscannable:lz4', first: [hex('04224d18'), hex('02214c18')] },
  {
    name: 'LZMA',
    files: '.lzma .tar.lzma',
    engine: nothing,
    answer: 'unscannable:lzma',
    first: [hex('0000', 0, { ...anyBits, confirm: isLzmaAlone })],
  },
  { name: 'lzip', files: '.lz', engine: nothing, answer: 'unscannable:lzip', first: [ascii('LZIP')] },
  { name: 'compress', files: '.Z', engine: nothing, answer: 'unscannable:compress', first: [hex('1f9d', 0, { confirm: isCompress })] },
  { name: 'pack', files: '.z', engine: nothing, answer: 'unscannable:compress', first: [hex('1f1e'), hex('1fa0'), hex('1f9e')] },
  { name: 'lzop', files: '.lzo', engine: nothing, answer: 'unscannable:format', first: [hex('894c5a4f000d0a1a0a')] },
  { name: 'Snappy', files: '.sz', engine: nothing, answer: 'unscannable:format', first: [hex('ff060000734e61507059')] },
  { name: 'ACE', files: '.ace', engine: nothing, answer: 'unscannable:format', first: [ascii('**ACE**', 7)] },
  { name: 'ZOO', files: '.zoo', engine: nothing, answer: 'unscannable:format', first: [hex('dca7c4fd', 20)] },
  { name: 'ZPAQ', files: '.zpaq', engine: nothing, answer: 'unscannable:format', first: [hex('376b5374a03183d3')] },
  { name: 'lrzip', files: '.lrz', engine: nothing, answer: 'unscannable:format', first: [ascii('LRZI')] },
  {
    name: 'ARJ',
    files: '.arj',
    engine: 'unpacks it, and says OK where it is encrypted',
    answer: 'unscannable:format',
    first: [hex('60ea', 0, { confirm: isArj })],
  },
  {
    name: 'ar in an archive',
    files: '.deb and .a in a zip or a tar',
    engine: nothing,
    answer: 'unscannable:ar',
    where: 'inside an archive',
    first: [ascii('!<arch>\n'), ascii('!<thin>\n')],
  },
  {
    name: 'Debian package before 1995',
    files: '.deb, which dpkg-deb still unpacks',
    engine: nothing,
    answer: 'unscannable:ar',
    first: [ascii('0.93', 0, { confirm: isOldDebian })],
  },
  { name: 'rpm', files: '.rpm', engine: nothing, answer: 'unscannable:rpm', first: [hex('edabeedb')] },
  {
    name: 'LHA',
    files: '.lha .lzh',
    engine: 'unpacks some of it',
    answer: 'unscannable:format',
    first: [ascii('-', 2, { confirm: isLha })],
  },
  {
    name: 'EGG and ALZ',
    files: '.egg of ESTsoft, .alz',
    engine: 'unpacks some of it',
    answer: 'unscannable:format',
    first: [ascii('EGGA'), ascii('ALZ\x01')],
  },
  {
    name: 'xar',
    files: '.pkg .xip',
    engine: 'unpacks it, but not the payload of newer packages',
    answer: 'unscannable:format',
    first: [ascii('xar!')],
  },
  { name: 'SquashFS', files: '.snap .sfs', engine: nothing, answer: 'unscannable:squashfs', first: [ascii('hsqs')] },
  {
    name: 'AppImage',
    files: '.AppImage',
    engine: 'scans the program, not the SquashFS behind it',
    answer: 'unscannable:squashfs',
    first: [ascii('AI\x02', 8), ascii('AI\x01', 8)],
  },
  { name: 'Flatpak bundle', files: '.flatpak', engine: nothing, answer: 'unscannable:format', first: [ascii('flatpak\0')] },
  { name: 'WIM', files: '.wim', engine: nothing, answer: 'unscannable:format', first: [ascii('MSWIM\0\0\0')] },
  { name: 'UDF', files: '.iso of Windows, .udf', engine: 'unpacks some of it', answer: 'unscannable:disk-image' },
  {
    name: 'Apple disk image',
    files: '.dmg',
    engine: 'unpacks HFS+, not APFS, and not every compression',
    answer: 'unscannable:disk-image',
  },
  {
    name: 'disk image',
    files: '.img .qcow2 .vmdk .vhdx .vdi, ext, FAT and NTFS file systems',
    engine: 'looks for partitions, not into their file systems',
    answer: 'unscannable:disk-image',
    first: [
      ascii('QFI\xfb'),
      ascii('KDMV'),
      ascii('vhdxfile'),
      ascii('conectix'),
      hex('7f10dabe', 64),
      ascii('NTFS    ', 3),
      ascii('FAT1', 54),
      ascii('FAT32   ', 82),
      hex('53ef', 1080, { confirm: isExt }),
    ],
  },
] as const satisfies readonly Format[];

const rar = {
  name: 'RAR',
  files: '.rar',
  engine: 'unpacks it only where the unrar module is installed',
  answer: 'unscannable:rar',
  first: [ascii('Rar!\x1a\x07')],
} as const satisfies Format;

/** In the order of the documentation. */
export const formats = [...judged, ...partly, rar, ...unpackedByNobody] as const;
export type FormatName = (typeof formats)[number]['name'];

/** Enough of a file for every entry of the table, and for the header of a tar. */
export const headLength = 1104;

/** What the first bytes alone say about a file: a reason not to trust an OK, or nothing. */
export function judgeFirstBytes(head: Buffer, engine: { readonly unpacksRar: boolean }): UnscannableReason | null {
  if (!engine.unpacksRar && rar.first.some((first) => begins(head, first))) return rar.answer;
  return unpackedByNobody.find((format: Format) => format.first?.some((first) => begins(head, first)))?.answer ?? null;
}
