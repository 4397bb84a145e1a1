import type { UnscannableReason } from '../../scan/model.ts';
import { Bzip2Look, bzip2Marks } from './bzip2.ts';
import { ascii, begins, type FirstBytes, hex } from './first-bytes.ts';
import { judgeFirstBytes } from './formats.ts';
import { GzipLook } from './gzip.ts';
import type { Look, LookContext } from './look.ts';
import { Ole2Look } from './ole2.ts';
import { PdfLook } from './pdf.ts';
import { PlainLook } from './plain.ts';
import { SevenZipLook } from './seven-zip.ts';
import { TarLook } from './tar.ts';
import { isTar } from './tar-header.ts';
import { isTwofold } from './twofold.ts';
import { XzLook } from './xz.ts';
import { ZipLook } from './zip.ts';
import { AlsoZipBehind } from './zip-behind.ts';

type Specialist = (size: number | null, context: LookContext) => Look;

const ole2 = hex('d0cf11e0a1b11ae1');
const specialists: readonly (readonly [first: FirstBytes, look: Specialist])[] = [
  [ascii('PK\x03\x04'), (size, context) => new ZipLook(size, context)],
  [ascii('PK00PK\x03\x04'), (size, context) => new ZipLook(size, context)],
  [ascii('PK\x07\x08'), (size, context) => new ZipLook(size, context)],
  [hex('1f8b'), (size, context) => new AlsoZipBehind(new GzipLook(context), size)],
  [hex('377abcaf271c'), (size) => new AlsoZipBehind(new SevenZipLook(size), size)],
  [hex('fd377a585a00'), (size) => new AlsoZipBehind(new XzLook(), size)],
  [ole2, (size) => new AlsoZipBehind(new Ole2Look(), size)],
  [ascii('%PDF-'), (size) => new AlsoZipBehind(new PdfLook(size), size)],
  [ascii('BZh', 0, { confirm: isBzip2 }), (size) => new AlsoZipBehind(new Bzip2Look(size), size)],
];

function isBzip2(head: Buffer): boolean {
  return /^[1-9]$/.test(String.fromCharCode(head[3] ?? 0)) && bzip2Marks.some((mark) => head.subarray(4, 10).equals(mark));
}

/** Who looks at a file that begins so. */
export function specialistFor(head: Buffer): Specialist {
  const found = specialists.find(([first]) => begins(head, first));
  if (found !== undefined) return found[1];
  if (isTar(head)) return (size, context) => new TarLook(size, context);
  return (size, context) => new PlainLook(size, context, head);
}

/** What the first bytes say about a file: a reason not to trust an OK, or nothing. */
export function judgeHead(head: Buffer, engine: { readonly unpacksRar: boolean }): UnscannableReason | null {
  if (
    isTwofold(
      head,
      specialists.some(([first]) => begins(head, first)),
    )
  )
    return 'unscannable:two-formats';
  return isTar(head) ? null : judgeFirstBytes(head, engine);
}
