import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { completeLength, LineSplitter } from './lines.ts';

function split(chunks: readonly Buffer[], { maxBytes = 100, returns = true } = {}): [text: string, cutBytes: number][] {
  const lines: [string, number][] = [];
  const splitter = new LineSplitter({ maxBytes, returns, onLine: (bytes, cutBytes) => lines.push([bytes.toString('utf8'), cutBytes]) });
  for (const chunk of chunks) splitter.push(chunk);
  splitter.end();
  return lines;
}

const texts = (...chunks: string[]) => split(chunks.map((chunk) => Buffer.from(chunk))).map(([text]) => text);

describe('lines', () => {
  it('end with LF, CRLF or CR, wherever the bytes are torn apart', () => {
    expect(texts('a\nb\r\nc\rd')).toEqual(['a', 'b', 'c', 'd']);
    expect(texts('a', '\r', '\n', 'b\r', 'c\n')).toEqual(['a', 'b', 'c']);
    expect(texts('\n\r\n', '\r', '\r', 'x', '\r', '\n', '\n')).toEqual(['', '', 'x', '']);
    expect(texts('', 'no end')).toEqual(['no end']);
    expect(texts()).toEqual([]);
  });

  it('keep their carriage returns where those end nothing', () => {
    expect(split([Buffer.from('a\rb\r\nc')], { returns: false })).toEqual([
      ['a\rb\r', 0],
      ['c', 0],
    ]);
  });

  it('are cut at a whole character, and tell how much is missing', () => {
    expect(split([Buffer.from('aaé€\n')], { maxBytes: 6 })).toEqual([['aaé', 3]]);
    expect(split([Buffer.from('aaé'), Buffer.from('€b'), Buffer.from('c\nd')], { maxBytes: 5 })).toEqual([
      ['aaé', 5],
      ['d', 0],
    ]);
    expect(split([Buffer.from('😀😀')], { maxBytes: 7 })).toEqual([['😀', 4]]);
    expect(split([Buffer.alloc(20, 0x80)], { maxBytes: 8 })).toEqual([['\uFFFD'.repeat(8), 12]]);
  });

  it('are the same however the bytes arrive, and lose none', () => {
    const alphabet = fc.constantFrom(...Buffer.from('ab\r\n\xff', 'latin1'));
    fc.assert(
      fc.property(
        fc.array(fc.array(alphabet, { maxLength: 12 })),
        fc.boolean(),
        fc.integer({ min: 1, max: 8 }),
        (chunks, returns, maxBytes) => {
          const parts = chunks.map((chunk) => Buffer.from(chunk));
          const whole = Buffer.concat(parts);
          const lines = split(parts, { maxBytes, returns });
          expect(lines).toEqual(split([whole], { maxBytes, returns }));
          const expected = whole.toString('latin1').split(returns ? /\r\n|\n|\r/ : /\n/);
          // An empty line that a lone CR ends is none.
          const bytes = lines.reduce(
            (sum, [text, cut]) => sum + Buffer.from(text, 'utf8').toString().replaceAll('\uFFFD', '?').length + cut,
            0,
          );
          expect(bytes).toBe(expected.join('').length);
        },
      ),
    );
  });

  it('know where a character is torn', () => {
    for (const [text, cut, expected] of [
      ['a€', 0, 4],
      ['a€', 1, 1],
      ['a€', 2, 1],
      ['a😀', 1, 1],
      ['a', 0, 1],
      ['', 0, 0],
    ] as const) {
      const bytes = Buffer.from(text);
      expect(completeLength(bytes.subarray(0, bytes.length - cut))).toBe(expected);
    }
  });
});
