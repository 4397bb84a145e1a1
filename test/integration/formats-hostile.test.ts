/** What is made to slip past the engine: whatever its form and wherever it is, EICAR is never called clean. */
import { writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { obtainArchivers } from '../../scripts/parts/archivers.ts';
import { tarOf, zipOf } from '../../sidecar/clamd/payloads.ts';
import { inputOf } from '../contract/scanner.ts';
import { type RunningClamd, startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { type RunningPool, startPool } from '../harness/engine-pool.ts';
import { hostileForms, nestedForms } from '../harness/hostile-forms.ts';
import { createPackers, type Packers } from '../harness/packers.ts';

const never = new AbortController().signal;
const data = Buffer.concat([eicar(), Buffer.from('harmless words behind it\n'.repeat(20))]);

const places: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  'the upload itself': (bytes) => bytes,
  'in a zip': (bytes) => zipOf({ name: 'inner.bin', data: bytes }),
  'stored in a zip': (bytes) => zipOf({ name: 'a.txt', data: Buffer.from('a') }, { name: 'inner.bin', data: bytes, method: 0 }),
  'in a tar': (bytes) => tarOf('inner.bin', bytes),
  'in a tar.gz': (bytes) => gzipSync(tarOf('inner.bin', bytes)),
};

describe('EICAR', () => {
  let clamd: RunningClamd;
  let running: RunningPool;
  let packers: Packers;
  beforeAll(async () => {
    clamd = await startClamd();
    running = startPool([clamd.address]);
    packers = await createPackers(await obtainArchivers(() => {}));
    await running.pool.ready(never);
  });
  afterAll(async () => {
    await packers[Symbol.asyncDispose]();
    await running[Symbol.asyncDispose]();
    await clamd[Symbol.asyncDispose]();
  });

  const kindOf = async (bytes: Buffer) => (await running.pool.scan(inputOf(bytes), never)).answer.kind;

  it.each(Object.entries(hostileForms(data)))('is never called clean: %s', async (_, bytes) => {
    const kinds = await Promise.all(Object.entries(places).map(async ([place, wrap]) => [place, await kindOf(wrap(bytes))]));
    expect(kinds.filter(([, kind]) => kind === 'clean')).toEqual([]);
  });

  it.each(Object.entries(nestedForms(data)))('is never called clean: %s', async (_, bytes) => {
    expect(await kindOf(bytes)).not.toBe('clean');
  });

  /** What 7-Zip makes of it, which goes on where others give up; of a wrapping, what is in that. */
  async function unpack(bytes: Buffer, levels: number): Promise<Buffer> {
    const output = await packers.attempt('7zz', ['x', '-so', '-y', '-psecret', packers.file], () => writeFile(packers.file, bytes));
    return levels > 1 && output.length > 0 ? unpack(output, levels - 1) : output;
  }

  it.each([
    ['a tar', tarOf('a', data), 1],
    ['a zip', zipOf({ name: 'a', data }), 1],
    ['a stored zip', zipOf({ name: 'a', data, method: 0 }), 1],
    ['a gzip', gzipSync(data), 1],
    ['a tar.gz', gzipSync(tarOf('a', data)), 2],
    ['a zip in a zip', zipOf({ name: 'b.zip', data: zipOf({ name: 'a', data }) }), 2],
    ['a gzip in a tar', tarOf('b.gz', gzipSync(data)), 2],
  ])('is never called clean where 7-Zip would find it, whatever was changed: %s', async (_, original, levels) => {
    const interesting = Math.min(original.length, 700);
    const change = fc.tuple(fc.nat(interesting - 1), fc.oneof(fc.nat(255), fc.constantFrom(0, 0xff, 0x20, 0x30, 0x31)));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), fc.boolean(), async (changes, fromBehind) => {
        const bytes = Buffer.from(original);
        for (const [at, value] of changes) bytes[fromBehind ? bytes.length - 1 - at : at] = value;
        if ((await kindOf(bytes)) !== 'clean') return;
        expect((await unpack(bytes, levels)).subarray(0, eicar().length)).not.toEqual(eicar());
      }),
      { numRuns: 60 },
    );
  });
});
