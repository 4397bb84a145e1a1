import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lookAt } from '../../../test/harness/look-at.ts';
import { zipOf } from '../payloads.ts';

const name = 'a.txt';
const one = zipOf({ name, data: Buffer.from('one member, and what it says') });
const central = one.length - 22 - 46 - name.length;
const end = one.length - 22;

/** The archive with other numbers: offset, value, bytes. */
function edited(...edits: readonly (readonly [at: number, value: number, bytes: number])[]): Buffer {
  const copy = Buffer.from(one);
  for (const [at, value, bytes] of edits) copy.writeUIntLE(value, at, bytes);
  return copy;
}

describe('a zip', () => {
  it.each([
    ['one member', one],
    ['stored', zipOf({ name, data: Buffer.from('x'), method: 0 })],
    ['no member', zipOf()],
    ['many members', zipOf(...Array.from({ length: 500 }, (_, index) => ({ name: `f${index}`, data: Buffer.from(`${index}`) })))],
    ['a zip inside, stored', zipOf({ name: 'inner.zip', data: one, method: 0 }, { name, data: Buffer.from('x') })],
    ['sizes behind the data', edited([6, 8, 2], [18, 0, 4], [central + 8, 8, 2])],
    ['a comment', Buffer.concat([edited([end + 20, 5, 2]), Buffer.from('hello')])],
    ['bytes behind it', Buffer.concat([one, Buffer.alloc(512)])],
    ['AES, which clamd answers for', edited([6, 1, 2], [8, 99, 2], [central + 8, 1, 2], [central + 10, 99, 2])],
  ])('of a form that clamd looks at whole is left to clamd: %s', async (_, bytes) => {
    expect(await lookAt(bytes)).toBeNull();
  });

  it.each([
    ['cut before the end record', one.subarray(0, end), 'damaged'],
    ['cut before the directory', one.subarray(0, central), 'damaged'],
    ['cut in the end record', one.subarray(0, one.length - 3), 'damaged'],
    ['LZMA', edited([8, 14, 2], [central + 10, 14, 2]), 'zip-method'],
    ['Zstandard', edited([8, 93, 2], [central + 10, 93, 2]), 'zip-method'],
    ['99 without encryption', edited([8, 99, 2], [central + 10, 99, 2]), 'zip-method'],
    ['two methods told', edited([8, 14, 2]), 'damaged'],
    ['two sizes told', edited([18, 3, 4]), 'damaged'],
    ['empty for clamd alone', edited([18, 0, 4]), 'damaged'],
    ['no header where the directory says', edited([central + 42, 1, 4]), 'damaged'],
    ['size in a zip64 field', edited([18, 0xffff_ffff, 4], [22, 0xffff_ffff, 4]), 'zip64'],
    ['directory in a zip64 record', edited([end + 16, 0xffff_ffff, 4]), 'zip64'],
    ['masked header', edited([6, 1 << 13, 2]), 'encrypted'],
    ['a wrong count of members', edited([end + 8, 7, 2], [end + 10, 7, 2]), 'damaged'],
    ['one of several volumes', edited([end + 4, 1, 2]), 'damaged'],
    ['a directory longer than the file', edited([end + 12, 0x7fff_ffff, 4]), 'damaged'],
    ['another zip in front', Buffer.concat([zipOf({ name: 'b', data: Buffer.from('b') }), one]), 'damaged'],
    ['a member the directory hides', hidden(), 'damaged'],
  ])('that clamd would see only in part is not clean: %s', async (_, bytes, reason) => {
    expect(await lookAt(bytes)).toBe(`unscannable:${reason}`);
  });

  it('with more members than anybody counts is not clean', async () => {
    const member = { name: 'x'.repeat(200), data: Buffer.alloc(0) };
    expect(await lookAt(zipOf(...Array.from({ length: 20_000 }, () => member)))).toBe('unscannable:too-many-files');
  });

  it('is judged alike whatever its chunks', async () => {
    const archives = [one, hidden(), edited([6, 8, 2], [18, 0, 4], [central + 8, 8, 2]), edited([18, 3, 4]), one.subarray(0, end)];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...archives), fc.integer({ min: 1, max: 300 }), async (bytes, chunkLength) => {
        expect(await lookAt(bytes, { chunkLength })).toBe(await lookAt(bytes));
      }),
    );
  });

  it('never throws, whatever is in it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(one.length - 1), fc.nat(255)), { maxLength: 12 }), async (changes) => {
        const bytes = Buffer.from(one);
        for (const [at, value] of changes) bytes[at] = value;
        const reason = await lookAt(bytes, { chunkLength: 7 });
        expect(reason === null || reason.startsWith('unscannable:')).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

/** Two members, of which the directory lists the second alone. */
function hidden(): Buffer {
  const first = zipOf({ name: 'hidden', data: Buffer.from('what only some readers show') });
  const local = first.subarray(0, first.length - 22 - 46 - 'hidden'.length);
  const rest = Buffer.from(one);
  rest.writeUInt32LE(local.length, central + 42);
  rest.writeUInt32LE(central + local.length, end + 16);
  return Buffer.concat([local, rest]);
}

describe('a zip behind something else', () => {
  const program = Buffer.from(`#!/bin/sh\n${'echo hello\n'.repeat(100)}`);

  it('is left to clamd where its members say how long they are', async () => {
    expect(await lookAt(Buffer.concat([program, one]))).toBeNull();
  });

  it.each([
    ['sizes behind the data', edited([6, 8, 2], [18, 0, 4], [central + 8, 8, 2]), 'unscannable:self-extracting'],
    ['size in a zip64 field', edited([central + 20, 0xffff_ffff, 4]), 'unscannable:self-extracting'],
    ['LZMA', edited([8, 14, 2], [central + 10, 14, 2]), 'unscannable:zip-method'],
  ])('is not clean where clamd does not find its members: %s', async (_, bytes, reason) => {
    expect(await lookAt(Buffer.concat([program, bytes]))).toBe(reason);
  });
});
