/** What every Scanner must do. Run on the fake and on the pool over a real clamd. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ScanError } from '../../sidecar/scan/errors.ts';
import type { ScanInput, Scanner } from '../../sidecar/scan/ports.ts';

export interface ScannerSubject {
  readonly scanner: Scanner;
  /** Bytes in which it finds `signature`. */
  readonly harmful: Uint8Array;
  readonly signature: string;
  dispose(): Promise<void>;
}

const never = new AbortController().signal;

export function scannerContract(name: string, makeScanner: () => Promise<ScannerSubject>): void {
  describe(`${name} as a Scanner`, () => {
    let subject: ScannerSubject;
    beforeAll(async () => {
      subject = await makeScanner();
      await subject.scanner.ready(never);
    });
    afterAll(() => subject.dispose());

    it.each([0, 1, 10_240, 65_536, 65_537, 3_000_000])(
      'calls %i harmless bytes clean, and says how many bytes it sent and to whom',
      async (length) => {
        const { answer, engine, sent } = await subject.scanner.scan(inputOf(patternOf(length)), never);
        expect(answer).toEqual({ kind: 'clean' });
        expect(sent).toBe(length);
        expect(Date.parse(engine.canaryAt)).toBeLessThanOrEqual(Date.now());
        expect(engine.limits.scan).toBeGreaterThanOrEqual(length);
        expect(engine.name).not.toBe('');
        expect(engine.version).not.toBe('');
      },
    );

    it.each([1, 7, 64, 100_000])('names what it finds, whatever the chunks (%i bytes each)', async (chunkLength) => {
      const { answer } = await subject.scanner.scan(inputOf(subject.harmful, chunkLength), never);
      expect(answer).toEqual({ kind: 'infected', signature: subject.signature });
    });

    it('counts what it sent of a finding too', async () => {
      const { sent } = await subject.scanner.scan(inputOf(subject.harmful, 7), never);
      expect(sent).toBe(subject.harmful.length);
    });

    it('is not misled by empty chunks', async () => {
      const chunks = [new Uint8Array(0), subject.harmful.subarray(0, 5), new Uint8Array(0), subject.harmful.subarray(5), new Uint8Array(0)];
      const { answer } = await subject.scanner.scan({ size: subject.harmful.length, bytes: yielding(chunks) }, never);
      expect(answer.kind).toBe('infected');
    });

    it('reads the source to its end before it answers', async () => {
      let ended = false;
      async function* bytes() {
        yield* yielding(chunksOf(patternOf(300_000), 65_536));
        ended = true;
      }
      await subject.scanner.scan({ size: 300_000, bytes: bytes() }, never);
      expect(ended).toBe(true);
    });

    it('keeps files apart that are scanned side by side', async () => {
      const kinds = await Promise.all(
        Array.from({ length: 12 }, async (_, index) => {
          const bytes = index % 3 === 0 ? subject.harmful : patternOf(1000 * index);
          return (await subject.scanner.scan(inputOf(bytes), never)).answer.kind;
        }),
      );
      expect(kinds).toEqual(Array.from({ length: 12 }, (_, index) => (index % 3 === 0 ? 'infected' : 'clean')));
    });

    it.each([10_000, 5_000_000])('hands on what the source throws, unchanged, and works on (%i bytes announced)', async (size) => {
      const failure = new ScanError('download', 'the store broke off');
      async function* bytes() {
        yield patternOf(size / 2);
        throw failure;
      }
      await expect(subject.scanner.scan({ size, bytes: bytes() }, never)).rejects.toBe(failure);
      expect((await subject.scanner.scan(inputOf(patternOf(100)), never)).answer.kind).toBe('clean');
    });

    it('rejects with the reason of its signal, before and in the middle of a scan', async () => {
      const stop = new AbortController();
      const reason = new ScanError('interrupted', 'that is enough');
      async function* bytes() {
        yield patternOf(100_000);
        stop.abort(reason);
        yield patternOf(100_000);
      }
      await expect(subject.scanner.scan({ size: 200_000, bytes: bytes() }, stop.signal)).rejects.toBe(reason);
      await expect(subject.scanner.scan(inputOf(patternOf(10)), stop.signal)).rejects.toBe(reason);
    });

    it('has a limit that a build of ordinary size is far below', () => {
      expect(subject.scanner.maxBytes).toBeGreaterThanOrEqual(1024 ** 3);
    });
  });
}

/** Bytes that mean nothing to any engine. */
export function patternOf(length: number): Uint8Array {
  return new Uint8Array(length).map((_, index) => (index * 31 + (index >>> 8)) & 0xff);
}

export function inputOf(bytes: Uint8Array, chunkLength = 65_536): ScanInput {
  return { size: bytes.length, bytes: yielding(chunksOf(bytes, chunkLength)) };
}

function chunksOf(bytes: Uint8Array, length: number): Uint8Array[] {
  return Array.from({ length: Math.ceil(bytes.length / length) }, (_, index) => bytes.subarray(index * length, (index + 1) * length));
}

async function* yielding(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
