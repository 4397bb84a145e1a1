/**
 * A format is read from its first byte to its last by one generator, which waits inside for what has not come yet. So the code of a
 * format reads like its specification, and still never holds more than the bytes of one chunk.
 */
import type { UnscannableReason } from '../../scan/model.ts';
import type { Look } from './look.ts';

/** Yields nothing where it needs more bytes, and a promise where it has to wait for something else. */
export type Walk<T = UnscannableReason | null> = Generator<Promise<void> | undefined, T, void>;

/** A look that is one walk over the bytes. What it leaves unread at its end is dropped. */
export class WalkLook implements Look {
  readonly #input = new Input();
  readonly #walk: Walk;
  #reason: UnscannableReason | null = null;
  #done = false;
  #waiting = false;

  constructor(walk: (input: Input) => Walk) {
    this.#walk = walk(this.#input);
  }

  push(chunk: Uint8Array): void | Promise<void> {
    if (this.#done) return;
    this.#input.give(chunk);
    return this.#run();
  }

  end(): UnscannableReason | null | Promise<UnscannableReason | null> {
    this.#input.ended = true;
    const wait = this.#done ? undefined : this.#run();
    return wait === undefined ? this.#reason : wait.then(() => this.#reason);
  }

  close(): void {
    this.#done = true;
    this.#walk.return(null);
  }

  #run(): Promise<void> | undefined {
    if (this.#waiting) throw new Error('bytes came before the ones before them were dealt with');
    for (;;) {
      const step = this.#walk.next();
      if (step.done) {
        this.#done = true;
        this.#reason = step.value;
        return undefined;
      }
      if (step.value !== undefined) return this.#wait(step.value);
      if (!this.#input.ended) {
        this.#input.keep();
        return undefined;
      }
    }
  }

  async #wait(promise: Promise<void>): Promise<void> {
    this.#waiting = true;
    await promise;
    this.#waiting = false;
    if (!this.#done) await this.#run();
  }
}

const nothing = Buffer.alloc(0);

/** The bytes of a file as far as they have come and are not read. Short answers mean that there are no more. */
export class Input {
  /** Offset of the next byte. */
  position = 0;
  ended = false;
  #bytes: Buffer = nothing;

  /** What has come and is not read: borrowed, and gone with the next step that yields. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  give(chunk: Uint8Array): void {
    const view = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    this.#bytes = this.#bytes.length === 0 ? view : Buffer.concat([this.#bytes, view]);
  }

  /** The chunk will be used again: what is left of it is copied. */
  keep(): void {
    this.#bytes = this.#bytes.length === 0 ? nothing : Buffer.from(this.#bytes);
  }

  /** Goes on; at most as far as bytes have come. */
  advance(length: number): void {
    this.#bytes = this.#bytes.subarray(length);
    this.position += length;
  }

  /** The next `length` bytes without going on: for few, they are gathered. */
  *peek(length: number): Walk<Buffer> {
    while (this.#bytes.length < length && !this.ended) yield;
    return this.#bytes.subarray(0, length);
  }

  *take(length: number): Walk<Buffer> {
    const bytes = yield* this.peek(length);
    this.advance(bytes.length);
    return bytes;
  }

  /** Whether another byte follows; waits until that is known. */
  *more(): Walk<boolean> {
    while (this.#bytes.length === 0 && !this.ended) yield;
    return this.#bytes.length > 0;
  }

  /** Hands the next `length` bytes on, in pieces; answers how many there were. */
  *pass(length: number, to: (piece: Buffer) => void | Promise<void>): Walk<number> {
    let left = length;
    while (left > 0 && (yield* this.more())) {
      const piece = this.#bytes.subarray(0, left);
      const wait = to(piece);
      if (wait !== undefined) yield wait;
      this.advance(piece.length);
      left -= piece.length;
    }
    return length - left;
  }
}

/** Waits for what a look says at its end. */
export function* endOf(look: Look): Walk {
  const reason = look.end();
  if (!(reason instanceof Promise)) return reason;
  let settled: UnscannableReason | null = null;
  yield reason.then((value) => {
    settled = value;
  });
  return settled;
}

const zeros = Buffer.alloc(64 * 1024);

export function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const piece = bytes.subarray(at, at + zeros.length);
    if (!piece.equals(zeros.subarray(0, piece.length))) return false;
  }
  return true;
}

/** Padding, as tapes and some packers leave it behind the end. Where something else comes, what has come of it is not read. */
export function* onlyZerosFollow(input: Input): Walk<boolean> {
  while (yield* input.more()) {
    const { bytes } = input;
    if (!isZero(bytes)) return false;
    input.advance(bytes.length);
  }
  return true;
}
