import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lookAt } from '../../../test/harness/look-at.ts';

const archive = (base64: string) => Buffer.from(base64, 'base64');

/** Made by 7-Zip 26.02 and py7zr 1.1 of a few lines of text. */
const plainDirectory = archive(
  'N3q8ryccAATxhjBmDAAAAAAAAABeAAAAAAAAAH+pDDABAAdoZWxsbyAxCgABBAYAAQkMAAcLAQABISEBAAwIAAgKAVEd1uEAAAUBGQwAAAAAAAAAAAAAAAARJQBmAGkAbABlAC0AbgB1AG0AYgBlAHIALQAxAC4AdAB4AHQAAAAVBgEAIICkgQAA',
);
const plainDeflate = archive(
  'N3q8ryccAAQVuWkgDQAAAAAAAABeAAAAAAAAACVpbLcBCAD3/2hlbGxvIDEKAQQGAAEJDQAHCwEAAQMEAQgMCAAICgFRHdbhAAAFARkMAAAAAAAAAAAAAAAAESUAZgBpAGwAZQAtAG4AdQBtAGIAZQByAC0AMQAuAHQAeAB0AAAAFQYBACCApIEAAA==',
);
const packedByLzma = archive(
  'N3q8ryccAAQWjG8MoQAAAAAAAAAiAAAAAAAAAP4H5tjgAC8AGF0ANBlJ7o3pBGCMqDTj5v7u5+3o/8zxpAAAAAAAgTMHrg/QDrA8nz9HQQuzhjU2EAZKPjFzi3/X3uMG1fvJWsig+x7RWLTD9P80zsPJZG5yvB7H7xmRn59PBOkBmv4an8DnI58W5mqx1uR9X/L7kzK5fRgoeFO1E4cgkwlU7SIA0XTBznjW7jREzf8pkLj+H+AAb1QE0TjzY3T+ABcGIAEJgIEABwsBAAEjAwEBBV0AEAAADIFGCgEcGsiXAAA=',
);
const packedByLzma2 = archive(
  'N3q8ryccAARig8YRvQAAAAAAAAAWAAAAAAAAAKc3lXHgAC8AGF0ANBlJ7o3pBGCMqDTj5v7u5+3o/8zxpAAAAOABdQCVXQAAgTMHrg/QDrA8nzkQnHGULWw0Ilr6nmijFk3rG2EFhIL+r0UeQlte0Eguuf7v+bb2K/Ws2fee+vze5E7QrTJNmuXA3Z3xCS4ECzvpERQdQgjkSUgg5ZIsQMLM0sbR9ToVGUwNnGh1gQ3RgX9m/NCtiy4LJ5LpVN4JxQbXXtqZrS16/QqXMfVzKAf2fU57r1hWLgAAAAAXBiABCYCdAAcLAQABISEBGAyBdgAA',
);
const packedBzip2 = archive(
  'N3q8ryccAASlj9J6uQAAAAAAAAAiAAAAAAAAAOjMwxdCWmg5MUFZJlNZCMpltgAADFkAABBAAD8AAkSgACEVAaMEAAyNb52KHwyPxkaBsXckU4UJAIymW2AAAIEzB64P0YkKnKCQoHJD1LHik+bORXwUxORCSWBz/+kieVnzKkzc1E5htaVArL9sYxi2R8kqFKuL5Vp+rTfqKZZbrEyqSH/7QrM5dtl6KQZtACEB2Y52B++khrFmhmupD583gCA+HkUyr0j/MIMvO3FI33IvnffVmtdPZ+IAABcGOQEJgIAABwsBAAEjAwEBBV0AEAAADIFGCgHR6KGBAAA=',
);

describe('a 7z archive', () => {
  it.each([
    ['its directory plain', plainDirectory],
    ['its directory packed by LZMA', packedByLzma],
    ['its directory packed by LZMA2', packedByLzma2],
  ])('packed by LZMA2 is left to the engine, %s', async (_, bytes) => {
    for (const chunkLength of [1, 33, 65_536]) expect(await lookAt(bytes, { chunkLength })).toBeNull();
  });

  it.each([
    ['Deflate', plainDeflate],
    ['BZip2, in a packed directory', packedBzip2],
  ])('packed by a method that clamd does not unpack is marked: %s', async (_, bytes) => {
    expect(await lookAt(bytes)).toBe('unscannable:7z-method');
  });

  it('cut short is damaged', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 6, max: packedByLzma.length - 1 }), async (length) => {
        expect(await lookAt(packedByLzma.subarray(0, length))).toBe('unscannable:damaged');
      }),
    );
  });

  it('whose directory cannot be read is never left to the engine', async () => {
    const garbled = Buffer.from(packedByLzma);
    garbled.fill(0x55, 32, packedByLzma.length);
    expect(await lookAt(garbled)).toBe('unscannable:7z-method');
  });

  it('never throws, whatever is in it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(plainDirectory, packedByLzma, packedByLzma2, packedBzip2),
        fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { maxLength: 8 }),
        async (original, changes) => {
          const bytes = Buffer.from(original);
          for (const [at, value] of changes) if (at > 5 && at < bytes.length) bytes[at] = value;
          const reason = await lookAt(bytes);
          expect(reason === null || reason.startsWith('unscannable:')).toBe(true);
        },
      ),
      { numRuns: 1000 },
    );
  });
});
