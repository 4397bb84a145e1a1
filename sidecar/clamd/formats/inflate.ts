import { createInflateRaw, type InflateRaw, inflateRawSync } from 'node:zlib';
import type { Budget } from './budget.ts';
import type { Input, Walk } from './walk.ts';

const largestChunk = 64 * 1024;

export type Sink = (piece: Buffer) => void | Promise<void>;

/** What a deflate stream unpacks to, in pieces, on another thread; nothing is gathered. */
export class Inflater {
  readonly #stream: InflateRaw;
  readonly #sink: Sink;
  readonly #budget: Budget;
  #settle: { resolve(consumed: number): void; reject(thrown: unknown): void } | null = null;
  #failure: unknown = null;
  #busy: Promise<void> | null = null;
  /** The stream has come to its end, before the bytes it was given. */
  ended = false;

  constructor(sink: Sink, budget: Budget) {
    this.#sink = sink;
    this.#budget = budget;
    this.#stream = createInflateRaw({ chunkSize: largestChunk });
    this.#stream.on('data', (piece: Buffer) => this.#pass(piece));
    this.#stream.on('error', (error) => this.#fail(error));
  }

  /**
   * Answers how many bytes of the chunk belonged to the stream; fewer than it has where the stream has ended.
   * @throws what zlib says of damaged data; `BudgetSpent`.
   */
  async write(chunk: Buffer): Promise<number> {
    const before = this.#stream.bytesWritten;
    await new Promise<number>((resolve, reject) => {
      if (this.#failure !== null) return reject(this.#failure);
      this.#settle = { resolve, reject };
      this.#stream.write(chunk, () => resolve(0));
    });
    await this.#allPassed();
    this.#settle = null;
    if (this.#failure !== null) throw this.#failure;
    const consumed = this.#stream.bytesWritten - before;
    if (consumed < chunk.length) this.ended = true;
    return consumed;
  }

  /** After the last byte: whether the stream is whole. */
  async finish(): Promise<boolean> {
    if (this.ended) return true;
    const isWhole = await new Promise<boolean>((resolve) => {
      this.#settle = { resolve: () => resolve(true), reject: () => resolve(false) };
      this.#stream.once('end', () => resolve(true));
      this.#stream.end();
    });
    await this.#allPassed();
    return isWhole && this.#failure === null;
  }

  /** zlib is ready for more before everything has gone where it should. */
  async #allPassed(): Promise<void> {
    while (this.#failure === null && (this.#busy !== null || this.#stream.readableLength > 0))
      await (this.#busy ?? new Promise((resolve) => setImmediate(resolve)));
  }

  close(): void {
    this.#stream.destroy();
  }

  #pass(piece: Buffer): void {
    this.#budget.spend(piece.length);
    if (!this.#budget.lasts) return this.#fail(new BudgetSpent());
    try {
      const wait = this.#sink(piece);
      if (wait === undefined) return;
      this.#stream.pause();
      this.#busy = wait.then(
        () => {
          this.#busy = null;
          this.#stream.resume();
        },
        (thrown) => this.#fail(thrown),
      );
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #fail(thrown: unknown): void {
    this.#failure ??= thrown;
    this.#stream.destroy();
    this.#settle?.reject(this.#failure);
  }
}

class BudgetSpent extends Error {}

interface AtOnce {
  readonly unpacked: Buffer;
  /** How many of the bytes belonged to the stream. */
  readonly packed: number;
}

/** For what is small and there as a whole. `large` where it unpacks to more than this is for; null where it is damaged or cut short. */
export function inflateAtOnce(bytes: Buffer, expected: number): AtOnce | 'large' | null {
  const chunkSize = Math.max(64, Math.min(expected, largestChunk));
  try {
    const { buffer, engine } = inflateRawSync(bytes, { chunkSize, maxOutputLength: 1024 * 1024, info: true }) as unknown as {
      buffer: Buffer;
      engine: { bytesWritten: number };
    };
    return { unpacked: buffer, packed: engine.bytesWritten };
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? 'large' : null;
  }
}

/** Unpacks one deflate stream of at most `length` bytes; `packed` is how long it was. */
export function* inflateAll(
  input: Input,
  length: number,
  inflater: Inflater,
): Walk<{ readonly reason: 'unscannable:damaged' | 'unscannable:too-large' | null; readonly packed: number }> {
  let packed = 0;
  let failure: unknown = null;
  while (!inflater.ended && packed < length && (yield* input.more())) {
    const chunk = input.bytes.subarray(0, length - packed);
    let consumed = 0;
    yield inflater.write(chunk).then(
      (count) => {
        consumed = count;
      },
      (thrown) => {
        failure = thrown;
      },
    );
    if (failure !== null) return { reason: reasonOf(failure), packed };
    input.advance(consumed);
    packed += consumed;
  }
  let isWhole = inflater.ended;
  if (!isWhole)
    yield inflater.finish().then((whole) => {
      isWhole = whole;
    });
  return { reason: isWhole ? null : 'unscannable:damaged', packed };
}

/** @throws what neither the data nor its size explains. */
function reasonOf(failure: unknown): 'unscannable:damaged' | 'unscannable:too-large' {
  if (failure instanceof BudgetSpent) return 'unscannable:too-large';
  if (typeof (failure as NodeJS.ErrnoException).code === 'string' && /^Z_/.test((failure as NodeJS.ErrnoException).code!))
    return 'unscannable:damaged';
  throw failure;
}
