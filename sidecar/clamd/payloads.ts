/** Small archives built byte by byte, whose right answer is known: what canaries are made of. */
import { crc32, deflateRawSync } from 'node:zlib';

export interface ZipMember {
  readonly name: string;
  readonly data: Buffer;
  /** Compression method to claim and, for 0 and 8, to use. Default 8, deflate. */
  readonly method?: number;
  /** General-purpose flags; bit 0 says "encrypted". */
  readonly flags?: number;
}

/** A zip archive with one central directory, as every packer writes it. */
export function zipOf(...members: readonly ZipMember[]): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const member of members) {
    const packed = member.method === undefined || member.method === 8 ? deflateRawSync(member.data) : member.data;
    const local = Buffer.concat([localHeader(member, packed.length), packed]);
    centrals.push(centralHeader(member, packed.length, offset));
    locals.push(local);
    offset += local.length;
  }
  const directory = Buffer.concat(centrals);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, directory, end]);
}

/** Flags to name length: the part that local and central header share. */
function sharedHeader(member: ZipMember, packed: number): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt16LE(20, 0);
  header.writeUInt16LE(member.flags ?? 0, 2);
  header.writeUInt16LE(member.method ?? 8, 4);
  header.writeUInt32LE(crc32(member.data), 10);
  header.writeUInt32LE(packed, 14);
  header.writeUInt32LE(member.data.length, 18);
  header.writeUInt16LE(Buffer.byteLength(member.name), 22);
  return header;
}

function localHeader(member: ZipMember, packed: number): Buffer {
  const magic = Buffer.from([0x50, 0x4b, 3, 4]);
  return Buffer.concat([magic, sharedHeader(member, packed), Buffer.alloc(2), Buffer.from(member.name)]);
}

function centralHeader(member: ZipMember, packed: number, offset: number): Buffer {
  const magic = Buffer.from([0x50, 0x4b, 1, 2, 20, 0]);
  const rest = Buffer.alloc(16);
  rest.writeUInt32LE(offset, 12);
  return Buffer.concat([magic, sharedHeader(member, packed), rest, Buffer.from(member.name)]);
}

/** Zips in zips, stored: `data` at the bottom of `depth` of them. Less than six bytes are too few for ClamAV to look at. */
export function nestedZip(depth: number, data: Buffer = Buffer.from('at the bottom')): Buffer {
  let inner = data;
  for (let level = 0; level < depth; level++) inner = zipOf({ name: 'z', data: inner, method: 0 });
  return inner;
}

/** What a hollow tar is long, and ClamAV counts beside the size that it claims. */
export const hollowTarBytes = 1536;

/** A tar that claims one member of `size` bytes and holds none: limits are judged by the claim alone. */
export function hollowTar(size: number, name = 'hollow'): Buffer {
  const header = tarHeader(name, size, 'L');
  return Buffer.concat([header, Buffer.alloc(1024)]);
}

export function tarOf(name: string, data: Buffer): Buffer {
  const padding = Buffer.alloc((512 - (data.length % 512)) % 512);
  return Buffer.concat([tarHeader(name, data.length, '0'), data, padding, Buffer.alloc(1024)]);
}

function tarHeader(name: string, size: number, type: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write('0000644\x000000000\x000000000\0', 100);
  header.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write(`        ${type}`, 148);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

/** RAR 4 with one stored member. */
export function rarOf(name: string, data: Buffer): Buffer {
  const marker = Buffer.from([0x52, 0x61, 0x72, 0x21, 0x1a, 0x07, 0x00]);
  const archive = rarBlock(0x73, 0, Buffer.alloc(6));
  const file = Buffer.alloc(25 + name.length);
  file.writeUInt32LE(data.length, 0);
  file.writeUInt32LE(data.length, 4);
  file.writeUInt8(3, 8);
  file.writeUInt32LE(crc32(data), 9);
  file.writeUInt8(20, 17);
  file.writeUInt8(0x30, 18);
  file.writeUInt16LE(name.length, 19);
  file.write(name, 25);
  const hasData = 0x8000;
  return Buffer.concat([marker, archive, rarBlock(0x74, hasData, file), data, rarBlock(0x7b, 0x4000, Buffer.alloc(0))]);
}

function rarBlock(type: number, flags: number, body: Buffer): Buffer {
  const block = Buffer.alloc(7 + body.length);
  block.writeUInt8(type, 2);
  block.writeUInt16LE(flags, 3);
  block.writeUInt16LE(block.length, 5);
  body.copy(block, 7);
  block.writeUInt16LE(crc32(block.subarray(2)) & 0xffff, 0);
  return block;
}
