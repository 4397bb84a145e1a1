import type { UnscannableReason } from '../../scan/model.ts';
import { both } from './both.ts';
import type { Look } from './look.ts';
import { Tail } from './tail.ts';
import { beginOfForgiven, endReach, endRecords } from './zip-directory.ts';

/**
 * Readers of zips begin at the end of a file, and so open one behind, or in the gaps of, any other format; clamd looks at what the
 * first bytes say.
 */
export class ZipBehind {
  readonly #tail: Tail;

  constructor(size: number | null) {
    this.#tail = new Tail(size, 2 * endReach);
  }

  push(chunk: Uint8Array): void {
    this.#tail.push(chunk);
  }

  /** `from`: a zip that begins here or later is looked at as a member of its own. */
  judge(from = Number.POSITIVE_INFINITY): UnscannableReason | null {
    const bytes = this.#tail.bytes();
    const begins = endRecords(bytes)?.map((end) => beginOfForgiven(bytes, this.#tail.start, end)) ?? [0];
    return begins.some((begin) => begin !== null && begin < from) ? 'unscannable:two-formats' : null;
  }

  close(): void {
    this.#tail.close();
  }
}

/** `look` at a format that has nothing of its own to say of a zip behind it. */
export class AlsoZipBehind implements Look {
  readonly #look: Look;
  readonly #behind: ZipBehind;

  constructor(look: Look, size: number | null) {
    this.#look = look;
    this.#behind = new ZipBehind(size);
  }

  push(chunk: Uint8Array): void | Promise<void> {
    this.#behind.push(chunk);
    return this.#look.push(chunk);
  }

  end(): UnscannableReason | null | Promise<UnscannableReason | null> {
    const reason = this.#look.end();
    const behind = this.#behind.judge();
    return reason instanceof Promise ? reason.then((found) => both(found, behind)) : both(reason, behind);
  }

  close(): void {
    this.#look.close();
    this.#behind.close();
  }
}
