import { crc32, deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { tarOf, zipOf } from '../../sidecar/clamd/payloads.ts';
import { patchedZip, wrappings } from './archives.ts';
import { patchedTar } from './format-samples.ts';

const name = 'member.bin';
const innocent = tarOf('innocent.txt', Buffer.from('nothing to see'));
const header = innocent.subarray(0, 512);
/** Without its end mark. */
const first = innocent.subarray(0, 1024);

function paxOf(record: string): Buffer {
  const text = ` ${record}\n`;
  const length = String(text.length + String(text.length + 2).length);
  return patchedTar(tarOf('pax', Buffer.from(length + text)).subarray(0, 1024), [[156, Buffer.from('x')]]);
}

function hostileTars(data: Buffer): Record<string, Buffer> {
  const tar = tarOf(name, data);
  const size = (field: string | Buffer) => patchedTar(tar, [[124, Buffer.isBuffer(field) ? field : Buffer.from(field, 'latin1')]]);
  const type = (flag: string) => patchedTar(tar, [[156, Buffer.from(flag, 'latin1')]]);
  const octal = data.length.toString(8);
  const base256 = Buffer.alloc(12);
  base256.writeUInt8(0x80, 0);
  base256.writeUInt32BE(data.length, 8);
  const named = (prefix: string) => tarOf(`${prefix}.bin`, data);
  const hidden = tarOf('harmless', Buffer.concat([Buffer.alloc(512, 'j'), tar]));
  const emptyExtended = patchedTar(header, [
    [124, Buffer.from('00000000000\0')],
    [156, Buffer.from('x')],
  ]);
  return {
    'size in base 256': size(base256),
    'zeros in front of the size': size(`\0\0\0\0${octal.padStart(7, '0')} `),
    'a negative size': size(`-${octal.padStart(10, '0')} `),
    'no size in the header, one in pax': Buffer.concat([paxOf(`size=${data.length}`), size('00000000000\0')]),
    'sparse in pax': Buffer.concat([paxOf('GNU.sparse.major=1'), tar]),
    'data behind a link': type('1'),
    'data behind a folder': type('5'),
    'data behind a volume name': type('V'),
    'an unknown attribute': Buffer.concat([emptyExtended, tar]),
    'a sparse file': type('S'),
    ...Object.fromEntries([...'AEIN'].map((flag) => [`of the rare type ${flag}`, type(flag)])),
    'a folder by its name': patchedTar(Buffer.concat([tarOf('d/', tar)]), [[156, Buffer.from('\0')]]),
    'a size in pax behind a blank': Buffer.concat([paxOf(' size=512'), hidden]),
    'a pax record of no length': Buffer.concat([paxOf('a=b').fill('=', 512, 520), tar]),
    'a pax record of hexadecimal length': Buffer.concat([paxOf('a=b').fill('0x0b a=size=', 512, 520), tar]),
    'no name in the header, one in pax': Buffer.concat([paxOf(`path=${name}`), patchedTar(tar, [[0, Buffer.alloc(100)]])]),
    'a member behind one empty block': Buffer.concat([first, Buffer.alloc(512), tar]),
    'a member behind the end': Buffer.concat([innocent, tar]),
    'a header without mark': Buffer.concat([first, patchedTar(tar, [[257, Buffer.alloc(8)]])]),
    'a header with another sum': Buffer.concat([tar.subarray(0, 148), Buffer.from('0000000\0'), tar.subarray(156)]),
    'garbage between members': Buffer.concat([first, Buffer.alloc(512, 'garbage'), tar]),
    'behind an empty block': Buffer.concat([Buffer.alloc(512), tar]),
    'without mark, behind empty blocks': Buffer.concat([Buffer.alloc(1024), patchedTar(tar, [[257, Buffer.alloc(8)]])]),
    'behind a block of text': Buffer.concat([Buffer.alloc(512, 'nothing to see here. '), tar]),
    'behind much text': Buffer.concat([Buffer.alloc(256 * 1024, 'nothing to see here. '), tar]),
    'cut in its only member': tar.subarray(0, 540),
    'like a GIF': named('GIF'),
    'like a TIFF': named('MM'),
    'like a PDF': named('%PDF-1'),
    'like Flash': named('FWS'),
    'like RTF': named('{\\rt'),
    'like PostScript': named('%!PS-Adobe-'),
    'like cpio': named('0707010'),
    'like compiled Python': named('ab\r\n'),
    'like a program, without mark': patchedTar(named('MZ'), [[257, Buffer.alloc(8)]]),
    'like mail, without mark': patchedTar(named('From '), [[257, Buffer.alloc(8)]]),
    'like a disk': Buffer.concat([tarOf('a', Buffer.from('EFI PART')).subarray(0, 1024), tar]),
  };
}

function gzipWith(flags: number, between: Buffer, data: Buffer): Buffer {
  const plain = gzipSync(data);
  return Buffer.concat([Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3]), between, plain.subarray(10)]);
}

function hostileGzips(data: Buffer): Record<string, Buffer> {
  const gzip = gzipSync(data);
  const extra = Buffer.concat([Buffer.from([0x1a, 0xe1]), Buffer.alloc(0xe11a)]);
  const later = gzipWith(4, extra, data);
  Buffer.from('d0cf11e0a1b1', 'hex').copy(later, 4);
  return {
    'of another method': Buffer.concat([Buffer.from([0x1f, 0x8b, 7]), gzip.subarray(3)]),
    'with a wrong sum of its header': gzipWith(2, Buffer.from([0x12, 0x34]), data),
    'with a reserved flag': gzipWith(0x40, Buffer.alloc(0), data),
    'like a document of Hangul': later,
    'two members, the content behind padding': Buffer.concat([gzipSync(Buffer.from('a')), Buffer.alloc(512), gzip]),
    'two members, the archive in the second': Buffer.concat([gzipSync(Buffer.alloc(0)), gzipSync(zstdCompressSync(data))]),
    'of a Zstandard file': gzipSync(zstdCompressSync(data)),
    'of a gzip of a Zstandard file': gzipSync(gzipSync(zstdCompressSync(data))),
    'of a zip cut short': gzipSync(zipOf({ name, data }).subarray(0, -30)),
    'without its end': gzipSync(Buffer.concat([Buffer.from('x'), data])).subarray(0, -8),
  };
}

function hostileZips(data: Buffer): Record<string, Buffer> {
  const packed = deflateRawSync(data);
  const wrongSum = (crc32(data) ^ 1) >>> 0;
  return {
    'a Zstandard member': zipOf({ name: 'a.zst', data: zstdCompressSync(data) }),
    'a stored Zstandard member': zipOf({ name: 'a.zst', data: zstdCompressSync(data), method: 0 }),
    'an ar member': zipOf({ name: 'a.a', data: wrappings(data)['ar']! }),
    'stored, of two sizes': patchedZip(data, { local: [[8, 0, 2] as const], central: [[10, 0, 2] as const] }),
    'another sum': patchedZip(data, { central: [[16, wrongSum, 4]] }),
    'shorter in both headers': patchedZip(data, { local: [[18, packed.length - 4, 4]], central: [[20, packed.length - 4, 4]] }),
    'empty in both headers': patchedZip(data, { local: [[18, 0, 4]], central: [[20, 0, 4]] }),
    deflate64: patchedZip(data, { local: [[8, 9, 2]], central: [[10, 9, 2]] }),
    ...zipsBehind(data),
    'like a tar': likeTar(data),
    'behind a program, with a Zstandard member': Buffer.concat([
      Buffer.from('#!/bin/sh\nexit 0\n'),
      zipOf({ name: 'a.zst', data: zstdCompressSync(data) }),
    ]),
    'behind other bytes, with a Zstandard member': Buffer.concat([
      Buffer.from('Cr24PK\x03\x04PK\x03\x04', 'latin1'),
      zipOf({ name: 'a.zst', data: zstdCompressSync(data) }),
    ]),
  };
}

/** Readers of zips begin at the end and do not care what is in front. */
function zipsBehind(data: Buffer): Record<string, Buffer> {
  const program = Buffer.from('MZ'.padEnd(300, '\0'));
  const silent = patchedZip(data, { local: [[6, 8, 2] as const, [18, 0, 4] as const, [22, 0, 4] as const], central: [[8, 8, 2] as const] });
  const plain = zipOf({ name, data });
  const end = silent.length - 22;
  const gap = Buffer.alloc(40, 'j');
  const displaced = Buffer.from(silent);
  displaced.writeUInt32LE(program.length, silent.readUInt32LE(end + 16) + 42);
  const otherEnd = Buffer.from(silent);
  otherEnd.writeUInt16LE(30, otherEnd.length - 2);
  const member = (title: string, bytes: Buffer) =>
    Buffer.concat([
      Buffer.from(`${title.padEnd(48)}${String(bytes.length).padEnd(10)}\`\n`),
      bytes,
      Buffer.from(bytes.length % 2 === 1 ? '\n' : ''),
    ]);
  const between = silent.readUInt32LE(end + 16);
  return {
    'behind a program, of another method by its header': Buffer.concat([program, patchedZip(data, { local: [[8, 0, 2]] })]),
    'behind a program, encrypted by its header': Buffer.concat([program, patchedZip(data, { local: [[6, 1, 2]] })]),
    'behind a program, a gap in front of its end': Buffer.concat([
      program,
      displaced.subarray(0, end),
      gap,
      overEnd(displaced, between, program.length).subarray(-22),
    ]),
    'behind a program, another end in its comment': Buffer.concat([
      program,
      otherEnd,
      Buffer.from('..PK\x05\x06'.padEnd(30, 'z'), 'latin1'),
    ]),
    'behind sound': Buffer.concat([Buffer.from('ID3'.padEnd(300, '\0')), plain]),
    'behind a database': Buffer.concat([Buffer.from('SQLite format 3'.padEnd(300, '\0')), plain]),
    'behind a PDF': Buffer.concat([Buffer.from('%PDF-1.4\n'), silent, Buffer.from('%%EOF\n')]),
    'behind OLE2': Buffer.concat([Buffer.from('d0cf11e0a1b11ae1', 'hex'), Buffer.alloc(1528), silent]),
    'in the gaps of an ar archive': Buffer.concat([
      Buffer.from('!<arch>\n'),
      member('a', Buffer.concat([Buffer.alloc(8, 'j'), silent.subarray(0, between)])),
      member('b', Buffer.concat([Buffer.alloc(8, 'j'), overEnd(silent, between, 68 + (between % 2))])),
    ]),
  };
}

/** Directory and end, with so many bytes more between them and the member. */
function overEnd(zip: Buffer, from: number, more: number): Buffer {
  const tail = Buffer.from(zip.subarray(from));
  tail.writeUInt32LE(from + more, tail.length - 22 + 16);
  return tail;
}

/** With the mark of a tar where clamd looks for it. */
function likeTar(data: Buffer): Buffer {
  const padding = Buffer.alloc(300);
  padding.write('ustar', 257 - 31);
  return zipOf({ name: 'p', data: padding, method: 0 }, { name, data: zstdCompressSync(data) }, { name: 'b', data });
}

/** Forms that are told as the upload itself alone: one wrapping more, and the engine has the only word. */
export function nestedForms(data: Buffer): Readonly<Record<string, Buffer>> {
  const inner = zstdCompressSync(data);
  const spoilt = gzipSync(Buffer.concat([Buffer.from('x'), data])).subarray(0, -8);
  return {
    'a Zstandard member of a zip in a zip': zipOf({ name: 'b.zip', data: zipOf({ name: 'a.zst', data: inner }) }),
    'a Zstandard member of a tar in a zip': zipOf({ name: 'b.tar', data: tarOf('a.zst', inner) }),
    'a Zstandard member of a tar.gz in a zip': zipOf({ name: 'b.tgz', data: gzipSync(tarOf('a.zst', inner)) }),
    'a Zstandard member of a zip in a tar.gz': gzipSync(tarOf('b.zip', zipOf({ name: 'a.zst', data: inner }))),
    'a damaged gzip in a zip in a tar': tarOf('b.zip', zipOf({ name: 'a.gz', data: spoilt })),
  };
}

/**
 * Forms that an unpacker reads and clamd does not, or not as a whole: nearly each was seen to be called OK by ClamAV 1.4.6 with EICAR
 * inside.
 */
export function hostileForms(data: Buffer): Readonly<Record<string, Buffer>> {
  const prefixed = (kind: string, forms: Record<string, Buffer>) =>
    Object.entries(forms).map(([form, bytes]) => [`${kind}, ${form}`, bytes] as const);
  return Object.fromEntries([
    ...Object.entries(wrappings(data)),
    ...prefixed('tar', hostileTars(data)),
    ...prefixed('gzip', hostileGzips(data)),
    ...prefixed('zip', hostileZips(data)),
  ]);
}
