import type { UnscannableReason } from '../../scan/model.ts';
import type { Look } from './look.ts';
import { Tail } from './tail.ts';

/** Readers look for the end mark in the last KiB; some programs append more. */
const endReach = 64 * 1024;
const endMark = Buffer.from('%%EOF', 'latin1');
const longestName = '/#45#6e#63#72#79#70#74'.length;
/** The name of the entry that says "encrypted", with at least one letter written as its number. */
const disguised = /\/(?!Encrypt)(?:E|#45)(?:n|#6e)(?:c|#63)(?:r|#72)(?:y|#79)(?:p|#70)(?:t|#74)/i;

/**
 * clamd says by itself that a PDF is encrypted, where it finds the name of that entry as it is usually written; of one cut short it
 * says nothing.
 */
export class PdfLook implements Look {
  readonly #tail: Tail;
  #rest = '';
  #isDisguised = false;

  constructor(size: number | null) {
    this.#tail = new Tail(size, endReach);
  }

  push(chunk: Uint8Array): void {
    this.#tail.push(chunk);
    if (this.#isDisguised) return;
    const text = this.#rest + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString('latin1');
    this.#isDisguised = disguised.test(text);
    this.#rest = text.slice(-longestName);
  }

  end(): UnscannableReason | null {
    if (this.#isDisguised) return 'unscannable:encrypted';
    return this.#tail.bytes().includes(endMark) ? null : 'unscannable:damaged';
  }

  close(): void {
    this.#tail.close();
  }
}
