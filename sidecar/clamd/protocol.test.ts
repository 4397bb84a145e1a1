import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ScanError } from '../scan/errors.ts';
import { parseReply, parseVersion } from './protocol.ts';

function codeOf(run: () => unknown): string {
  try {
    return `returned ${JSON.stringify(run())}`;
  } catch (thrown) {
    return thrown instanceof ScanError ? thrown.code : `threw ${thrown}`;
  }
}

describe('parseReply', () => {
  it('knows clean', () => {
    expect(parseReply('stream: OK\0')).toEqual({ kind: 'clean' });
  });

  it.each(['Win.Test.EICAR_HDB-1', 'Eicar.UNOFFICIAL', 'a name (with) spaces', 'OK', 'x'.repeat(512)])('knows the finding %s', (name) => {
    expect(parseReply(`stream: ${name} FOUND\0`)).toEqual({ kind: 'infected', signature: name });
  });

  it.each([
    ['Heuristics.Limits.Exceeded.MaxFileSize', 'unscannable:too-large'],
    ['Heuristics.Limits.Exceeded.MaxScanSize', 'unscannable:too-large'],
    ['Heuristics.Limits.Exceeded.MaxRecursion', 'unscannable:too-deep'],
    ['Heuristics.Limits.Exceeded.MaxFiles', 'unscannable:too-many-files'],
    ['Heuristics.Limits.Exceeded.MaxScanTime', 'unscannable:too-slow'],
    ['Heuristics.Limits.Exceeded.MaxSomethingNew', 'unscannable:limits'],
    ['Heuristics.Limits.Exceeded.constructor', 'unscannable:limits'],
    ['Heuristics.Limits.Exceeded', 'unscannable:limits'],
    ['Heuristics.Broken.Executable', 'unscannable:damaged'],
    ['Heuristics.Encrypted.Zip', 'unscannable:encrypted'],
    ['Heuristics.Encrypted.7Zip', 'unscannable:encrypted'],
    ['Heuristics.XZ.DicSizeLimit', 'unscannable:xz-filter'],
  ])('takes %s for %s', (name, reason) => {
    expect(parseReply(`stream: ${name} FOUND\0`)).toEqual({ kind: 'unscannable', reason });
  });

  it.each([
    '',
    '\0',
    'stream: OK',
    'stream: OK\n',
    'stream: OK\0\0',
    ' stream: OK\0',
    'stream: OK\0stream: OK\0',
    'OK\0',
    'stream:  FOUND\0',
    `stream: ${'x'.repeat(513)} FOUND\0`,
    'stream: X.BOOK-1 FOU',
    'stream: X.BOOK-1 OK\0',
    "stream: Can't allocate memory ERROR\0",
    'INSTREAM size limit exceeded. ERROR\0',
    'COMMAND READ TIMED OUT\n',
    'stream: a\nb FOUND\0',
    'stream: a\0b FOUND\0',
    'PONG\0',
    'HTTP/1.1 200 OK\r\n\r\n',
  ])('refuses %j', (reply) => {
    expect(codeOf(() => parseReply(reply))).toBe('engine-reply');
  });

  it.each([
    "stream: Can't write to file ERROR\0",
    "stream: Can't create temporary directory ERROR\0",
    'Error writing to temporary file ERROR\0',
  ])('takes %j for a full disk, which is nobody’s fault', (reply) => {
    expect(codeOf(() => parseReply(reply))).toBe('engine-busy');
  });

  it('calls nothing clean but the one reply', () => {
    const pieces = fc.constantFrom('stream: ', 'OK', 'FOUND', '\0', '\n', ' ', 'ERROR', 'Heuristics.', 'x');
    const replies = fc.oneof(
      fc.string(),
      fc.array(pieces).map((list) => list.join('')),
    );
    fc.assert(
      fc.property(replies, (reply) => {
        fc.pre(reply !== 'stream: OK\0');
        const outcome = codeOf(() => parseReply(reply));
        expect(outcome).not.toContain('"clean"');
        expect(outcome).toMatch(/^engine-reply$|^returned/);
      }),
      { numRuns: 2000 },
    );
  });

  it('takes no part of a reply for the whole', () => {
    fc.assert(
      fc.property(fc.constantFrom('stream: OK\0', 'stream: Some.Name-1 FOUND\0'), fc.nat(30), (reply, length) => {
        fc.pre(length < reply.length);
        expect(codeOf(() => parseReply(reply.slice(0, length)))).toBe('engine-reply');
      }),
    );
  });
});

describe('parseVersion', () => {
  it('knows an engine without official signatures', () => {
    expect(parseVersion('ClamAV 1.4.6\0')).toEqual({ version: '1.4.6', signatures: 'test', signaturesAt: null });
  });

  it.each([
    ['Sat Nov 21 06:04:42 2026', '2026-11-21T06:04:42.000Z'],
    ['Sun Nov  1 23:59:59 2026', '2026-11-01T23:59:59.000Z'],
    ['Thu Feb 29 00:00:00 2024', '2024-02-29T00:00:00.000Z'],
  ])('reads the date %s as UTC', (text, iso) => {
    expect(parseVersion(`ClamAV 1.4.6/27000/${text}\0`)).toEqual({ version: '1.4.6', signatures: 27_000, signaturesAt: iso });
  });

  it('notices an engine that has lost its signatures', () => {
    expect(codeOf(() => parseVersion('ClamAV 1.4.6/4294967295/invalid timestam\0'))).toBe('engine-unavailable');
  });

  it.each([
    '',
    'ClamAV 1.4.6',
    'ClamAV \0',
    'ClamAV 1.4.6/27000\0',
    'ClamAV 1.4.6/27000/yesterday\0',
    'ClamAV 1.4.6/x/Sat Nov 21 06:04:42 2026\0',
    'ClamAV 1.4.6/27000/Sat Foo 21 06:04:42 2026\0',
    'PONG\0',
  ])('refuses %j', (reply) => {
    expect(codeOf(() => parseVersion(reply))).toBe('engine-reply');
  });
});
