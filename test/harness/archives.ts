/** Archives with EICAR or any other content inside, in forms that production code never writes. */
import { deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { nestedZip, rarOf, tarOf, zipOf } from '../../sidecar/clamd/payloads.ts';

const name = 'member.bin';
const endLength = 22;

/** A zip of one deflated member with other numbers in it: offsets are into the local header, the central one and the end record. */
export function patchedZip(data: Buffer, patch: { local?: Patch; central?: Patch; end?: Patch }): Buffer {
  const zip = zipOf({ name, data });
  const central = zip.length - endLength - 46 - name.length;
  const bases = { local: 0, central, end: zip.length - endLength };
  for (const [where, edits] of Object.entries(patch) as [keyof typeof bases, Patch][]) {
    for (const [at, value, bytes] of edits) zip.writeUIntLE(value, bases[where] + at, bytes);
  }
  return zip;
}
type Patch = readonly (readonly [at: number, value: number, bytes: number])[];

/** LZ4 frame with one stored block. */
export function lz4Of(data: Buffer): Buffer {
  const header = Buffer.from('04224d18604073', 'hex');
  const length = Buffer.alloc(4);
  length.writeUInt32LE((data.length | 0x8000_0000) >>> 0, 0);
  return Buffer.concat([header, length, data, Buffer.alloc(4)]);
}

export function arOf(data: Buffer): Buffer {
  const header = `${'data.tar/'.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(data.length).padEnd(10)}\`\n`;
  return Buffer.concat([Buffer.from(`!<arch>\n${header}`), data, Buffer.alloc(data.length % 2, '\n')]);
}

/** Every way we know to wrap bytes so that an unpacker finds them again, whether or not an engine does. */
export function wrappings(data: Buffer): Readonly<Record<string, Buffer>> {
  const zip = zipOf({ name, data });
  const packed = deflateRawSync(data).length;
  const follows = [6, 8, 2] as const;
  return {
    zip,
    'zip, stored': zipOf({ name, data, method: 0 }),
    'zip in zip': zipOf({ name: 'inner.zip', data: zip }),
    'zip in zip, stored': zipOf({ name: 'inner.zip', data: zip, method: 0 }),
    'zip, sizes behind the data': patchedZip(data, { local: [follows, [18, 0, 4]], central: [[8, 8, 2]] }),
    'zip, sizes in a zip64 field': patchedZip(data, {
      local: [
        [18, 0xffff_ffff, 4],
        [22, 0xffff_ffff, 4],
      ],
    }),
    'zip, directory in a zip64 record': patchedZip(data, { end: [[16, 0xffff_ffff, 4]] }),
    'zip, another method told locally': patchedZip(data, { local: [[8, 14, 2]] }),
    'zip, empty by its local header': patchedZip(data, { local: [[18, 0, 4]] }),
    'zip, shorter by its local header': patchedZip(data, { local: [[18, packed - 1, 4]] }),
    'zip, masked header': patchedZip(data, { local: [[6, 1 << 13, 2]] }),
    'zip, encrypted': zipOf({ name, data, flags: 1 }),
    'zip without its directory': zip.subarray(0, zip.length - endLength - 46 - name.length),
    'zip without its end record': zip.subarray(0, zip.length - endLength),
    'zip behind another zip': Buffer.concat([zipOf({ name: 'b', data: Buffer.from('b') }), zip]),
    'zip before another zip': Buffer.concat([zip, zipOf({ name: 'b', data: Buffer.from('b') })]),
    'zip behind a program': Buffer.concat([Buffer.from('#!/bin/sh\nexit 0\n'), zip]),
    'zip with sizes behind the data, behind a program': Buffer.concat([
      Buffer.from('#!/bin/sh\nexit 0\n'),
      patchedZip(data, { local: [follows, [18, 0, 4]], central: [[8, 8, 2]] }),
    ]),
    'zips in zips beyond measure': zipOf({ name, data }, { name: 'deep.zip', data: nestedZip(110) }),
    tar: tarOf(name, data),
    'tar.gz': gzipSync(tarOf(name, data)),
    zstd: zstdCompressSync(data),
    'tar.zst': zstdCompressSync(tarOf(name, data)),
    lz4: lz4Of(data),
    rar: rarOf(name, data),
    ar: arOf(tarOf(name, data)),
  };
}
