import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ScanError } from '../scan/errors.ts';
import type { Answer } from '../scan/model.ts';
import type { ScanInput } from '../scan/ports.ts';
import { type AskAbout, arMagic, recognized, scanAr } from './ar.ts';

const never = new AbortController().signal;

function arOf(members: readonly (readonly [name: string, data: Buffer])[]): Buffer {
  const parts = members.flatMap(([name, data]) => {
    const header = `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(data.length).padEnd(10)}\`\n`;
    return [Buffer.from(header, 'latin1'), data, Buffer.from(data.length % 2 === 1 ? '\n' : '')];
  });
  return Buffer.concat([arMagic, ...parts]);
}

/** In pieces of these lengths, over and over. */
function inputOf(bytes: Buffer, lengths: readonly number[] = [bytes.length]): ScanInput {
  const cut = async function* () {
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const length = lengths[i % lengths.length]!;
      yield Buffer.from(bytes.subarray(at, at + length));
      at += length;
    }
  };
  // As the stream of a file: an instance, whose members a spread would not take.
  return new (class {
    get size() {
      return bytes.length;
    }
    readonly bytes = cut();
    /** Its memory is used again. */
    spent(chunk: Uint8Array): void {
      chunk.fill(0xee);
    }
  })();
}

/** An engine that finds EVIL, and remembers what it was asked. */
function engine(
  judge: (content: string) => Answer = (content) =>
    content.includes('EVIL') ? { kind: 'infected', signature: 'Evil' } : { kind: 'clean' },
) {
  const asked: { part: string; content: string }[] = [];
  const ask: AskAbout = async (input, part) => {
    let content = '';
    // As the adapter: what the source throws comes out as it is.
    for await (const chunk of input.bytes) {
      content += Buffer.from(chunk).toString('latin1');
      input.spent?.(chunk);
    }
    expect(content.length).toBe(input.size);
    asked.push({ part, content });
    return part === 'whole' ? { kind: 'clean' } : judge(content);
  };
  return { asked, ask, members: () => asked.filter(({ part }) => part === 'member').map(({ content }) => content) };
}

describe('an ar archive', () => {
  it('is asked about whole and member by member, whatever pieces it comes in', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 5 }),
        async (contents, lengths) => {
          const bytes = arOf(contents.map((content, i) => [`m${i}/`, Buffer.from(content)]));
          const { ask, asked, members } = engine();
          const { isAr, input } = await recognized(inputOf(bytes, lengths), 5_000, never);
          expect(isAr).toBe(true);
          expect((await scanAr(input, ask, never)).kind).toBe('clean');
          expect(members().sort()).toEqual(
            contents
              .filter(({ length }) => length > 0)
              .map((each) => Buffer.from(each).toString('latin1'))
              .sort(),
          );
          expect(asked.find(({ part }) => part === 'whole')?.content).toBe(bytes.toString('latin1'));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('is what its worst member is', async () => {
    const { ask } = engine((content) => {
      if (content === 'zstd') return { kind: 'unscannable', reason: 'unscannable:zstd' };
      return content === 'EVIL' ? { kind: 'infected', signature: 'Evil' } : { kind: 'clean' };
    });
    const of = (...contents: string[]) => scanAr(inputOf(arOf(contents.map((text) => ['m/', Buffer.from(text)]))), ask, never);
    expect(await of('a', 'b')).toEqual({ kind: 'clean' });
    expect(await of('a', 'zstd')).toEqual({ kind: 'unscannable', reason: 'unscannable:zstd' });
    expect(await of('zstd', 'EVIL', 'a')).toEqual({ kind: 'infected', signature: 'Evil' });
  });

  it('hands out members without their long BSD names', async () => {
    const { ask, members } = engine();
    await scanAr(inputOf(arOf([['#1/20', Buffer.from('a-long-name-of-20-cccontent')]])), ask, never);
    expect(members()).toEqual(['content']);
  });

  it.each([
    ['cut in a member', (bytes: Buffer) => bytes.subarray(0, -3)],
    ['cut in a header', (bytes: Buffer) => bytes.subarray(0, arMagic.length + 30)],
    ['without the mark of a header', (bytes: Buffer) => Buffer.from(bytes.toString('latin1').replace('`\n', '``'), 'latin1')],
    ['with more behind its end', (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('something else')])],
    ['with a size that is none', (bytes: Buffer) => Buffer.from(bytes.toString('latin1').replace('10        `', '1x        `'), 'latin1')],
  ])('is damaged %s', async (_, damage) => {
    const { ask } = engine();
    const bytes = damage(
      arOf([
        ['a/', Buffer.from('0123456789')],
        ['b/', Buffer.from('0123456789')],
      ]),
    );
    expect(await scanAr(inputOf(bytes, [7]), ask, never)).toEqual({ kind: 'unscannable', reason: 'unscannable:damaged' });
  });

  it('is infected by a member in front of the damage', async () => {
    const { ask } = engine();
    const bytes = arOf([
      ['a/', Buffer.from('EVIL')],
      ['b/', Buffer.from('0123456789')],
    ]).subarray(0, -3);
    expect(await scanAr(inputOf(bytes), ask, never)).toEqual({ kind: 'infected', signature: 'Evil' });
  });

  it('fails as its source, its engine or its signal fails', async () => {
    const bytes = arOf([
      ['a/', Buffer.alloc(100_000, 'a')],
      ['b/', Buffer.from('b')],
    ]);
    const broken = async function* () {
      yield bytes.subarray(0, 5000);
      throw new ScanError('download', 'the store broke off');
    };
    await expect(scanAr({ size: bytes.length, bytes: broken() }, engine().ask, never)).rejects.toThrow('the store broke off');
    const dies: AskAbout = async (input, part, signal) => {
      if (part === 'member') throw new ScanError('engine-reply', 'the engine died');
      for await (const _ of input.bytes) signal.throwIfAborted();
      return { kind: 'clean' };
    };
    await expect(scanAr(inputOf(bytes, [1000]), dies, never)).rejects.toThrow('the engine died');
  });

  it('never throws on bytes of any kind', async () => {
    const kinds = ['clean', 'unscannable', 'infected'];
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 500 }), fc.integer({ min: 1, max: 70 }), async (noise, length) => {
        const bytes = Buffer.concat([arMagic, Buffer.from(noise)]);
        expect(kinds).toContain((await scanAr(inputOf(bytes, [length]), engine().ask, never)).kind);
      }),
      { numRuns: 100 },
    );
  });
});

it('lets the source go also where an engine cannot be reached and asks for no byte', async () => {
  let ended = 0;
  const source = async function* () {
    try {
      yield arOf([['a', Buffer.from('content')]]);
    } finally {
      ended += 1;
    }
  };
  const refuse: AskAbout = async ({ bytes }) => {
    await bytes[Symbol.asyncIterator]().return?.();
    throw new ScanError('engine-unavailable', 'refused');
  };
  const { input } = await recognized({ size: 76, bytes: source() }, 1000, never);
  await expect(scanAr(input, refuse, never)).rejects.toThrow('refused');
  expect(ended).toBe(1);
});
