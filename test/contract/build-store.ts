/** What every BuildStore must do. Run on the fake and on the adapter over a real PocketBase. */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import type { ScanError } from '../../sidecar/scan/errors.ts';
import type { BuildFile, Check } from '../../sidecar/scan/model.ts';
import type { BuildStore } from '../../sidecar/scan/ports.ts';

export interface BuildStoreSubject {
  readonly store: BuildStore;
  /** A claimed check of a build with these files, in this order. */
  claimed(contents: readonly Uint8Array<ArrayBuffer>[]): Promise<Check>;
  /** The storage loses this file. */
  lose(check: Check, file: BuildFile): Promise<void>;
}

const never = new AbortController().signal;

export function buildStoreContract(subject: () => BuildStoreSubject): void {
  const bytesOf = (length: number) => new Uint8Array(length).map((_, at) => (at * 31 + (at >> 8)) & 255);
  const read = async (bytes: AsyncIterable<Uint8Array>) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of bytes) chunks.push(chunk);
    return Buffer.concat(chunks);
  };

  it.each([0, 1, 10_240, 1_500_000])('yields all %i bytes, their exact size and their digest', async (length) => {
    const content = bytesOf(length);
    const check = await subject().claimed([content]);
    const stream = await subject().store.open(check, check.files[0]!, never);
    expect(stream.size).toBe(length);
    expect((await read(stream.bytes)).equals(content)).toBe(true);
    expect(stream.position).toBe(length);
    expect(stream.digest()).toEqual({ sha256: createHash('sha256').update(content).digest('hex'), bytes: length });
    stream.close();
    stream.close();
  });

  it('has no digest before the end', async () => {
    const check = await subject().claimed([bytesOf(1_500_000)]);
    const stream = await subject().store.open(check, check.files[0]!, never);
    for await (const chunk of stream.bytes) {
      expect(chunk.length).toBeLessThan(1_500_000);
      expect(stream.position).toBe(chunk.length);
      break;
    }
    expect(() => stream.digest()).toThrow();
    stream.close();
  });

  it('serves the files of one check side by side', async () => {
    const contents = [bytesOf(300_000), bytesOf(5), bytesOf(70_000)];
    const check = await subject().claimed(contents);
    const lengths = await Promise.all(
      check.files.map(async (file) => (await read((await subject().store.open(check, file, never)).bytes)).length),
    );
    expect(lengths).toEqual([300_000, 5, 70_000]);
  });

  it('says when the storage has lost a file', async () => {
    const check = await subject().claimed([bytesOf(10), bytesOf(20)]);
    await subject().lose(check, check.files[1]!);
    expect((await subject().store.open(check, check.files[0]!, never)).size).toBe(10);
    const failure = await subject()
      .store.open(check, check.files[1]!, never)
      .catch((thrown: ScanError) => thrown);
    expect(failure).toMatchObject({ name: 'ScanError', code: 'download:missing' });
  });

  it('rejects with the reason of an abort', async () => {
    const check = await subject().claimed([bytesOf(10)]);
    const reason = new Error('enough');
    await expect(subject().store.open(check, check.files[0]!, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
}
