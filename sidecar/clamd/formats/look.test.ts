import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lookAt } from '../../../test/harness/look-at.ts';
import { rarOf, tarOf } from '../payloads.ts';

const text = Buffer.from('some text that stands for content\n');
const begins = (start: string, encoding: BufferEncoding = 'latin1') =>
  Buffer.concat([Buffer.from(start, encoding), Buffer.alloc(100, 'x')]);
const lzmaHeader = (dictionary: number, size: bigint) => {
  const header = Buffer.alloc(13);
  header.writeUInt8(0x5d, 0);
  header.writeUInt32LE(dictionary, 1);
  header.writeBigUInt64LE(size, 5);
  return Buffer.concat([header, Buffer.alloc(20)]);
};

describe('the first bytes', () => {
  it.each([
    ['Zstandard', zstdCompressSync(text), 'zstd'],
    ['a skippable frame', begins('5a2a4d18', 'hex'), 'zstd'],
    ['an LZ4 frame', begins('04224d18', 'hex'), 'lz4'],
    ['an old LZ4 frame', begins('02214c18', 'hex'), 'lz4'],
    ['bare LZMA of unknown size', lzmaHeader(8 << 20, 0xffff_ffff_ffff_ffffn), 'lzma'],
    ['bare LZMA of known size', lzmaHeader(3 << 19, 68n), 'lzma'],
    ['lzip', begins('LZIP\x01'), 'lzip'],
    ['Unix compress', begins('1f9d90', 'hex'), 'compress'],
    ['RAR 4', rarOf('a', text), 'rar'],
    ['RAR 5', begins('Rar!\x1a\x07\x01\x00'), 'rar'],
    ['lzop', begins('894c5a4f000d0a1a0a', 'hex'), 'format'],
    ['a Debian package', begins('!<arch>\ndebian-binary   '), 'ar'],
    ['rpm', begins('edabeedb', 'hex'), 'rpm'],
    ['SquashFS', begins('hsqs'), 'squashfs'],
    ['an AppImage', begins('\x7fELF\x02\x01\x01\x00AI\x02'), 'squashfs'],
    ['ACE', begins('1234567**ACE**'), 'format'],
  ])('mark %s', async (_, bytes, reason) => {
    for (const chunkLength of [1, 5, 1000]) expect(await lookAt(bytes, { chunkLength })).toBe(`unscannable:${reason}`);
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['one byte', Buffer.from('x')],
    ['text', text],
    ['a program', begins('\x7fELF\x02\x01\x01\x00')],
    ['tar', tarOf('a', text)],
    ['gzip', gzipSync(text)],
    ['zeros', Buffer.alloc(5000)],
    ['zlib', deflateSync(text)],
    ['a JSON file', Buffer.from('{"a": [1, 2, 3], "b": "]]]]"}')],
    ['almost Unix compress', begins('1f9d00', 'hex')],
    ['almost bare LZMA', lzmaHeader(12345, 68n)],
  ])('leave %s to the engine', async (_, bytes) => {
    expect(await lookAt(bytes)).toBeNull();
  });

  it('leave RAR to an engine that unpacks it', async () => {
    expect(await lookAt(rarOf('a', text), { unpacksRar: true })).toBeNull();
  });

  it('say the same whatever the chunks', async () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 500 }),
      fc.constantFrom<Uint8Array>(rarOf('a', text), zstdCompressSync(text), tarOf('a', text)),
    );
    await fc.assert(
      fc.asyncProperty(bytes, fc.integer({ min: 1, max: 100 }), async (content, chunkLength) => {
        expect(await lookAt(content, { chunkLength })).toBe(await lookAt(content));
      }),
    );
  });
});

describe('xz', () => {
  const xz = Buffer.from(
    '/Td6WFoAAAFpIt42AgAhARYAAAB0L+Wj4AF7ABxdADmbyfLnUIn5jDEtejfECJttMMOoKRMpxYtzAAAA/H9dhQABNPwCAAAAseRzez4wDYsCAAAAAAFZWg==',
    'base64',
  );

  it('is left to the engine where it ends as it must', async () => {
    expect(await lookAt(xz)).toBeNull();
    expect(await lookAt(Buffer.concat([xz, Buffer.alloc(8)]))).toBeNull();
  });

  it('is damaged where it is cut', async () => {
    expect(await lookAt(xz.subarray(0, 60))).toBe('unscannable:damaged');
    expect(await lookAt(xz.subarray(0, 6))).toBe('unscannable:damaged');
  });
});

describe('an OLE2 container', () => {
  function container(entryAt: number, nameLength = 34): Buffer {
    const bytes = Buffer.alloc(8192);
    Buffer.from('d0cf11e0a1b11ae1', 'hex').copy(bytes);
    Buffer.from('EncryptedPackage', 'utf16le').copy(bytes, entryAt);
    bytes.writeUInt16LE(nameLength, entryAt + 64);
    return bytes;
  }

  it.each([1, 127, 128, 200, 4096, 8192])('with an encrypted package is encrypted (chunks of %i)', async (chunkLength) => {
    expect(await lookAt(container(1024 + 3 * 128), { chunkLength })).toBe('unscannable:encrypted');
  });

  it.each([
    ['Word 97', 'eca5c100000000000000000100000000', true],
    ['Word 97 without password', 'eca5c10000000000000000000000', false],
    ['Excel 97', `0908100000060500${'00'.repeat(12)}2f003600`, true],
    ['Excel 97 without password', `0908100000060500${'00'.repeat(12)}e1000200`, false],
  ])('of %s is told by the document in it', async (_, start, isEncrypted) => {
    const bytes = container(4096, 0);
    Buffer.from(start, 'hex').copy(bytes, 1536);
    for (const chunkLength of [50, 512, 1537, 8192])
      expect(await lookAt(bytes, { chunkLength })).toBe(isEncrypted ? 'unscannable:encrypted' : null);
  });

  it('that only mentions one is left to the engine', async () => {
    expect(await lookAt(container(1024 + 64))).toBeNull();
    expect(await lookAt(container(1024, 36))).toBeNull();
  });
});
