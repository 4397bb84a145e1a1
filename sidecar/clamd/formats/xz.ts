import type { UnscannableReason } from '../../scan/model.ts';
import type { Look } from './look.ts';
import { Tail } from './tail.ts';

/** Padding after a stream is zeros, in fours; packers write none, and tape archives at most a block. */
const longestPadding = 64 * 1024;

/** clamd unpacks xz as far as it goes and says nothing of a missing end. */
export class XzLook implements Look {
  readonly #tail: Tail;

  constructor(size: number) {
    this.#tail = new Tail(size, longestPadding + 2);
  }

  push(chunk: Uint8Array): void {
    this.#tail.push(chunk);
  }

  end(): UnscannableReason | null {
    using tail = this.#tail;
    const bytes = tail.bytes();
    let end = bytes.length;
    while (end > 0 && bytes[end - 1] === 0) end -= 1;
    return bytes.toString('latin1', end - 2, end) === 'YZ' ? null : 'unscannable:damaged';
  }
}
