/** One sample of every format in the table, made of any content, by real archivers where they make it. */
import { randomBytes } from 'node:crypto';
import { crc32, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import type { FormatName } from '../../sidecar/clamd/formats/formats.ts';
import { rarOf, tarOf, zipOf } from '../../sidecar/clamd/payloads.ts';
import { arOf, lz4Of, patchedZip } from './archives.ts';
import { type Packers, packedName } from './packers.ts';

const name = 'member.bin';
const script = Buffer.from('#!/bin/sh\ntail -n +4 "$0" | tar xz\nexit 0\n');
/** What no packer makes smaller, so that something is there to be cut or spoilt. */
const ballast = randomBytes(20_000);

type Sample = (data: Buffer, packers: Packers) => Buffer | Promise<Buffer>;

const sevenZip =
  (...args: string[]): Sample =>
  (data, { pack }) =>
    pack('7zz', ['a', ...args, 'x.7z', packedName], 'x.7z', data);
const zipBy =
  (...args: string[]): Sample =>
  (data, { pack }) =>
    pack('7zz', ['a', '-tzip', ...args, 'x.zip', packedName], 'x.zip', data);
const xz = (data: Buffer, { pipe }: Packers, ...args: string[]) => pipe('xz', ['-c', ...args, '-'], data);
const bzip2 = (data: Buffer, { pipe }: Packers) => pipe('bzip2', ['-c'], data);
const cutShort = (bytes: Buffer) => bytes.subarray(0, bytes.length - 30);
const behind =
  (head: string, length = 600) =>
  (data: Buffer) =>
    Buffer.concat([Buffer.from(head, 'latin1'), Buffer.alloc(length, 'x'), data]);

/** Another size field, with the sum that it asks for. */
export function patchedTar(tar: Buffer, edits: readonly (readonly [at: number, bytes: Buffer])[]): Buffer {
  const copy = Buffer.from(tar);
  for (const [at, bytes] of edits) bytes.copy(copy, at);
  copy.fill(' ', 148, 156);
  const sum = copy.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return copy;
}

function pdf(data: Buffer): Buffer {
  const objects = [
    '<< /Type /Catalog /Pages 2 0 R /Names << /EmbeddedFiles << /Names [(e) 3 0 R] >> >> >>',
    '<< /Type /Pages /Kids [] /Count 0 >>',
    '<< /Type /Filespec /F (e) /EF << /F 4 0 R >> >>',
    `<< /Type /EmbeddedFile /Length ${data.length} >>\nstream\n${data.toString('latin1')}\nendstream`,
  ];
  let text = '%PDF-1.7\n';
  const offsets = objects.map((object, index) => {
    const at = text.length;
    text += `${index + 1} 0 obj\n${object}\nendobj\n`;
    return `${String(at).padStart(10, '0')} 00000 n \n`;
  });
  const table = `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${offsets.join('')}`;
  const trailer = `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${text.length}\n%%EOF\n`;
  return Buffer.from(text + table + trailer, 'latin1');
}

/** An OLE2 container of one small stream, and what else the directory names. */
function msi(data: Buffer, { pack }: Packers): Promise<Buffer> {
  return pack('msibuild', ['x.msi', '-a', 'Binary.member', packedName], 'x.msi', data);
}

async function encryptedOle2(data: Buffer, packers: Packers): Promise<Buffer> {
  const bytes = Buffer.concat([await msi(data, packers), Buffer.alloc(512)]);
  const entry = Math.ceil(bytes.length / 128) * 128 - 512;
  bytes.fill(0, entry);
  bytes.write('EncryptedPackage', entry, 'utf16le');
  bytes.writeUInt16LE(34, entry + 64);
  return bytes;
}

/** UDIF: one block, packed by zlib, and the description of it. */
function appleImage(data: Buffer): Buffer {
  const sectors = Math.ceil(data.length / 512);
  const packed = deflateSync(Buffer.concat([data, Buffer.alloc(sectors * 512 - data.length)]));
  const blocks = Buffer.alloc(204 + 80);
  blocks.write('mish', 0);
  blocks.writeUInt32BE(1, 4);
  blocks.writeBigUInt64BE(BigInt(sectors), 16);
  blocks.writeUInt32BE(2, 200);
  blocks.writeUInt32BE(0x8000_0005, 204);
  blocks.writeBigUInt64BE(BigInt(sectors), 220);
  blocks.writeBigUInt64BE(BigInt(packed.length), 236);
  blocks.writeUInt32BE(0xffff_ffff, 244);
  const plist = `<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data</key><data>${blocks.toString('base64')}</data></dict></array></dict></dict></plist>`;
  const trailer = Buffer.alloc(512);
  trailer.write('koly', 0);
  trailer.writeUInt32BE(4, 4);
  trailer.writeUInt32BE(512, 8);
  trailer.writeBigUInt64BE(BigInt(packed.length), 32);
  trailer.writeBigUInt64BE(BigInt(packed.length), 216);
  trailer.writeBigUInt64BE(BigInt(plist.length), 224);
  return Buffer.concat([packed, Buffer.from(plist), trailer]);
}

function spoiltZip(data: Buffer): Buffer {
  const zip = zipOf({ name, data: Buffer.concat([data, ballast]) });
  zip.fill(0xff, 30 + name.length, 30 + name.length + 40);
  return zip;
}

const spoiltTar = (data: Buffer) =>
  Buffer.concat([tarOf('a', Buffer.from('a')).subarray(0, 1024), Buffer.alloc(512, 'garbage'), tarOf(name, data)]);

export const formatSamples: Readonly<Record<FormatName, Sample>> = {
  'plain file': (data) => data,
  zip: (data) => zipOf({ name, data }),
  'zip behind a program': (data) => Buffer.concat([Buffer.from('#!/usr/bin/env python3\n'), zipOf({ name: '__main__.py', data })]),
  tar: (data) => tarOf(name, data),
  gzip: (data) => gzipSync(tarOf(name, data)),
  bzip2: (data, packers) => bzip2(tarOf(name, data), packers),
  xz: (data, packers) => xz(tarOf(name, data), packers),
  '7z': sevenZip(),
  cab: (data, { pack }) => pack('gcab', ['-c', '-z', 'x.cab', packedName], 'x.cab', data),
  'ISO 9660': (data, { pack }) => pack('genisoimage', ['-quiet', '-J', '-R', '-o', 'x.iso', 'content'], 'x.iso', data),
  cpio: (data, { pack }) => pack('cpio', ['-o', '--quiet', '-H', 'newc', '-O', 'x.cpio'], 'x.cpio', data),
  OLE2: msi,
  PDF: pdf,
  'zip, encrypted': zipBy('-psecret'),
  'zip, other methods': zipBy('-mm=LZMA'),
  zip64: (data) =>
    patchedZip(data, {
      local: [
        [18, 0xffff_ffff, 4],
        [22, 0xffff_ffff, 4],
      ],
    }),
  'zip without its directory': (data) => zipOf({ name, data }).subarray(0, 30 + name.length + deflateRawSync(data).length),
  'zip, damaged member': spoiltZip,
  'zip behind a program, sizes behind the data': (data) =>
    Buffer.concat([script, patchedZip(data, { local: [[6, 8, 2] as const, [18, 0, 4] as const], central: [[8, 8, 2]] })]),
  'archive behind a script': (data) => Buffer.concat([script, gzipSync(tarOf(name, data))]),
  'tar, damaged': spoiltTar,
  'tar with sizes elsewhere': (data) =>
    patchedTar(tarOf(name, data), [[124, Buffer.from(`80${data.length.toString(16).padStart(22, '0')}`, 'hex')]]),
  'tar like another format': (data) => tarOf('GIF.gif', data),
  'gzip, damaged': (data) => cutShort(gzipSync(Buffer.concat([data, ballast]))),
  'bzip2, cut short': async (data, packers) => cutShort(await bzip2(Buffer.concat([data, ballast]), packers)),
  'bzip2 of several streams': async (data, packers) =>
    Buffer.concat([await bzip2(Buffer.from('first'), packers), await bzip2(data, packers)]),
  'xz, cut short': async (data, packers) => cutShort(await xz(Buffer.concat([data, ballast]), packers)),
  'xz of several streams': async (data, packers) => Buffer.concat([await xz(Buffer.from('first'), packers), await xz(data, packers)]),
  'xz with newer filters': (data, packers) => xz(data, packers, '--arm64', '--lzma2'),
  '7z, encrypted': sevenZip('-psecret'),
  '7z, other methods': sevenZip('-m0=BZip2'),
  '7z, cut short': async (data, packers) => cutShort(await sevenZip()(data, packers)),
  'OLE2, encrypted': encryptedOle2,
  'PDF, encrypted': async (data, { pack }) =>
    pack('qpdf', ['--encrypt', 'user', 'owner', '256', '--', packedName, 'x.pdf'], 'x.pdf', pdf(data)),
  'PDF, cut short': (data) => cutShort(pdf(data)),
  RAR: (data) => rarOf(name, data),
  Zstandard: (data) => zstdCompressSync(data),
  'skippable frame': (data) => Buffer.concat([Buffer.from('502a4d1804000000', 'hex'), Buffer.from('skip'), zstdCompressSync(data)]),
  LZ4: lz4Of,
  LZMA: (data, packers) => xz(data, packers, '--format=lzma'),
  lzip: (data, { pipe }) => pipe('lzip', ['-c'], data),
  compress: behind('\x1f\x9d\x90'),
  pack: behind('\x1f\x1e'),
  lzop: (data, { pipe }) => pipe('lzop', ['-c'], data),
  Snappy: behind('\xff\x06\0\0sNaPpY'),
  ACE: behind('1234567**ACE**'),
  ZOO: behind('ZOO 2.10 Archive.\x1a\0\0\xdc\xa7\xc4\xfd'),
  ZPAQ: behind('7kSt\xa01\x83\xd3'),
  lrzip: behind('LRZI\0\x06'),
  ARJ: (data, { pack }) => pack('arj', ['a', '-gsecret', 'x.arj', packedName], 'x.arj', data),
  LHA: (data) => lha(data),
  'EGG and ALZ': behind('EGGA\0\x01'),
  ar: (data) => arOf(gzipSync(tarOf(name, data))),
  'ar in an archive': (data) => arOf(gzipSync(tarOf(name, data))),
  'Debian package before 1995': behind('0.939000\n12\n'),
  rpm: behind('\xed\xab\xee\xdb\x03\0'),
  xar: behind('xar!\0\x1c\0\x01'),
  SquashFS: (data, { pack }) => pack('mksquashfs', ['content', 'x.snap', '-quiet', '-no-progress'], 'x.snap', data),
  AppImage: async (data, packers) => {
    const program = await packers.program();
    program.write('AI\x02', 8, 'latin1');
    return Buffer.concat([program, await formatSamples.SquashFS(data, packers)]);
  },
  'Flatpak bundle': behind('flatpak\0\x01\0'),
  WIM: (data, { pack }) => pack('7zz', ['a', '-twim', 'x.wim', packedName], 'x.wim', data),
  UDF: (data, { pack }) => pack('genisoimage', ['-quiet', '-udf', '-o', 'x.iso', 'content'], 'x.iso', data),
  'Apple disk image': appleImage,
  'disk image': behind('QFI\xfb\0\0\0\x03'),
};

/** -lh0-: stored. */
function lha(data: Buffer): Buffer {
  const header = Buffer.alloc(22 + name.length + 2);
  header.writeUInt8(header.length - 2, 0);
  header.write('-lh0-', 2);
  header.writeUInt32LE(data.length, 7);
  header.writeUInt32LE(data.length, 11);
  header.writeUInt8(0x20, 19);
  header.writeUInt8(name.length, 21);
  header.write(name, 22);
  header.writeUInt16LE(crc32(data) & 0xffff, 22 + name.length);
  header.writeUInt8(
    header.subarray(2).reduce((sum, byte) => (sum + byte) & 0xff, 0),
    1,
  );
  return Buffer.concat([header, data, Buffer.alloc(1)]);
}
