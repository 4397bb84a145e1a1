/** What is inside is judged like the upload itself, in bounded time and memory. */
import { constants, deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { patchedZip } from '../../../test/harness/archives.ts';
import { hostileForms } from '../../../test/harness/hostile-forms.ts';
import { lookAt } from '../../../test/harness/look-at.ts';
import { nestedZip, rarOf, tarOf, zipOf } from '../payloads.ts';
import { createLook } from './look.ts';

const text = Buffer.from('some text that stands for content\n'.repeat(50));
const zst = zstdCompressSync(text);
const end = Buffer.alloc(1024);
const without = (tar: Buffer) => tar.subarray(0, -end.length);

describe('a member', () => {
  it.each([
    ['a zip', zipOf({ name: 'a', data: text }, { name: 'b.zst', data: zst })],
    ['a tar', Buffer.concat([without(tarOf('a', text)), tarOf('b.zst', zst)])],
    ['a tar.gz', gzipSync(Buffer.concat([without(tarOf('a', text)), tarOf('b.zst', zst)]))],
    ['a gzip of it', gzipSync(zst)],
    ['a zip behind a program', Buffer.concat([Buffer.from('#!/bin/sh\n'), zipOf({ name: 'a', data: text }, { name: 'b.zst', data: zst })])],
    ['a zip whose sizes follow', patchedZip(zst, { local: [[6, 8, 2] as const, [18, 0, 4] as const], central: [[8, 8, 2] as const] })],
  ])('is judged in %s', async (_, bytes) => {
    for (const chunkLength of [1, 61, 65_536]) expect(await lookAt(bytes, { chunkLength })).toBe('unscannable:zstd');
  });

  it('takes the name of one reason, and of several that of none', async () => {
    const rar = rarOf('a', text);
    const members = [
      { name: 'a', data: zst },
      { name: 'b', data: rar },
    ];
    expect(await lookAt(zipOf(...members, { name: 'c', data: zst }))).toBe('unscannable:several-reasons');
    expect(await lookAt(Buffer.concat([without(tarOf('a', zst)), without(tarOf('b', zst)), end]))).toBe('unscannable:zstd');
    expect(await lookAt(Buffer.concat([without(tarOf('a', zst)), tarOf('b', rar)]))).toBe('unscannable:several-reasons');
    expect(await lookAt(zipOf(...members), { unpacksRar: true })).toBe('unscannable:zstd');
  });

  it('that nobody wrote whole is damaged', async () => {
    const gzip = gzipSync(text);
    const wrongSum = Buffer.from(gzip);
    wrongSum.writeUInt32LE(1, gzip.length - 8);
    for (const data of [gzip.subarray(0, -9), wrongSum, zipOf({ name: 'a', data: text }).subarray(0, -40)]) {
      for (const bytes of [data, zipOf({ name: 'm', data }), tarOf('m', data), gzipSync(tarOf('m', data))])
        expect(await lookAt(bytes)).toBe('unscannable:damaged');
    }
  });
});

it('a pax record that leads nowhere is not read for ever', async () => {
  for (const records of ['=', 'a=b\n', '0 a=b\n', '1 ', '0x0b a=size=', '99999999999 a=b\n']) {
    const pax = tarOf('pax', Buffer.from(records));
    pax.write('x', 156);
    const sum = pax
      .fill(' ', 148, 156)
      .subarray(0, 512)
      .reduce((all, byte) => all + byte, 0);
    pax.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    expect(await lookAt(Buffer.concat([without(pax), tarOf('a', text)]))).toBe('unscannable:damaged');
  }
});

describe('honest files', () => {
  // By chance the first bytes could be those of a format: of gzip they are two.
  const random = fc.uint8Array({ minLength: 0, maxLength: 3000 }).map((bytes) => Uint8Array.from([0x20, 0x20, ...bytes]));

  it.each([
    ['in a tar', (data: Buffer) => tarOf('a', data)],
    ['in a zip', (data: Buffer) => zipOf({ name: 'a', data })],
    ['in a stored zip', (data: Buffer) => zipOf({ name: 'a', data, method: 0 })],
    ['in a tar.gz', (data: Buffer) => gzipSync(tarOf('a', data))],
    ['in two gzips, one behind the other', (data: Buffer) => Buffer.concat([gzipSync(data), gzipSync(data), Buffer.alloc(100)])],
  ])('are left to the engine: random bytes %s', async (_, wrap) => {
    await fc.assert(
      fc.asyncProperty(random, fc.integer({ min: 1, max: 4000 }), async (data, chunkLength) => {
        expect(await lookAt(wrap(Buffer.from(data)), { chunkLength })).toBeNull();
      }),
    );
  });

  it.each([
    ['a picture', Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), text])],
    [
      'a Windows program',
      Buffer.concat([Buffer.from('MZ'), Buffer.alloc(2000, 'x'), Buffer.from('Rar!\x1a\x07\x00 PK\x03\x04 7z\xbc\xaf', 'latin1')]),
    ],
    ['a script', Buffer.from('#!/bin/sh\necho "1f8b BZh9 ustar LZIP"\n')],
    [
      'a program that ends like a boot sector',
      Buffer.concat([Buffer.from('\x7fELF'), Buffer.alloc(506), Buffer.from('55aa', 'hex'), text]),
    ],
    ['Java byte code', Buffer.concat([Buffer.from('cafebabe00000041', 'hex'), text])],
    ['a tar without its end', without(tarOf('a', text))],
    ['a tar with a long end', Buffer.concat([tarOf('a', text), Buffer.alloc(8192)])],
    ['a zip in a zip', zipOf({ name: 'b.zip', data: zipOf({ name: 'a', data: text }) })],
    ['text that speaks of a tar', Buffer.alloc(2000, 'ustar was a format. ')],
  ])('are left to the engine: %s', async (_, bytes) => {
    expect(await lookAt(bytes)).toBeNull();
  });
});

describe('hostile input', () => {
  const forms = Object.entries(hostileForms(text));

  it('never makes a look throw, and is judged alike whatever its chunks', async () => {
    const changes = fc.array(fc.tuple(fc.nat(1500), fc.nat(255)), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...forms), changes, fc.integer({ min: 20, max: 900 }), async ([, original], edits, chunkLength) => {
        const bytes = Buffer.from(original);
        for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
        const reason = await lookAt(bytes, { chunkLength });
        expect(reason === null || reason.startsWith('unscannable:')).toBe(true);
        expect(await lookAt(bytes)).toBe(reason);
      }),
      { numRuns: 300 },
    );
  });

  const bomb = (() => {
    const block = deflateRawSync(Buffer.alloc(32 * 1024 * 1024), { finishFlush: constants.Z_FULL_FLUSH });
    const blocks = Array.from({ length: 320 }, () => block);
    return Buffer.concat([Buffer.from('1f8b0800000000000003', 'hex'), ...blocks, Buffer.from([3, 0])]);
  })();

  it.each([
    ['10 GB in 10 MB of gzip', bomb, 'unscannable:too-large'],
    ['the same in a zip', zipOf({ name: 'a', data: bomb, method: 0 }), 'unscannable:too-large'],
    ['a gzip of gzips', Array.from({ length: 100 }).reduce<Buffer>((inner) => gzipSync(inner), text), 'unscannable:too-deep'],
    ['110 zips in zips, which the engine counts', nestedZip(110), null],
    ['members that begin in each other', overlapping(), 'unscannable:damaged'],
  ])('ends in bounded memory: %s', async (_, bytes, reason) => {
    const look = createLook(bytes.length, { unpacksRar: false });
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    for (let at = 0; at < bytes.length; at += 65_536) {
      await look.push(Buffer.from(bytes.subarray(at, at + 65_536)));
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    expect(await look.end()).toBe(reason);
    look.close();
    expect(most).toBeLessThan(150 * 1024 * 1024);
  });
});

/** Each header is followed by data that runs over the ones behind it, and fails. */
function overlapping(): Buffer {
  const header = Buffer.concat([zipOf({ name: 'a', data: text }).subarray(0, 31), Buffer.from([0, 0xff, 0xff, 0, 0])]);
  header.writeUInt16LE(8, 6);
  return Buffer.concat(Array.from({ length: 50_000 }, () => header));
}
