/**
 * Our own look at a file, beside the engine's: does it have a form that clamd accepts but looks at only in part, or not at all?
 * It is fed while the file streams, in bounded memory; it never says clean, it only takes a clean away.
 */
import type { UnscannableReason } from '../../scan/model.ts';
import { EmbeddedZipLook } from './embedded-zip.ts';
import { headLength, judgeHead, startsWith } from './magic.ts';
import { Ole2Look } from './ole2.ts';
import { SevenZipLook } from './seven-zip.ts';
import { XzLook } from './xz.ts';
import { ZipLook } from './zip.ts';

export interface Look {
  /** Keeps no reference to the chunk: its memory is used again. */
  push(chunk: Uint8Array): void;
  /** After the last byte: why an OK of the engine is no proof, or null where it is. */
  end(): UnscannableReason | null;
}

const specialists: readonly (readonly [magic: Buffer, look: (size: number) => Look])[] = [
  [Buffer.from('PK\x03\x04', 'latin1'), (size) => new ZipLook(size)],
  [Buffer.from('PK00PK\x03\x04', 'latin1'), (size) => new ZipLook(size)],
  [Buffer.from('PK\x07\x08', 'latin1'), (size) => new ZipLook(size)],
  [Buffer.from('377abcaf271c', 'hex'), (size) => new SevenZipLook(size)],
  [Buffer.from('fd377a585a00', 'hex'), (size) => new XzLook(size)],
  [Buffer.from('d0cf11e0a1b11ae1', 'hex'), () => new Ole2Look()],
];

/** `size` is the announced size, in bytes. */
export function createLook(size: number, engine: { readonly unpacksRar: boolean }): Look {
  return new HeadLook(size, engine);
}

/** Waits for the first bytes, then hands everything to whoever knows that format. */
class HeadLook implements Look {
  readonly #size: number;
  readonly #engine: { readonly unpacksRar: boolean };
  #head: Buffer | null = Buffer.alloc(0);
  #verdict: UnscannableReason | null = null;
  #specialist: Look | null = null;

  constructor(size: number, engine: { readonly unpacksRar: boolean }) {
    this.#size = size;
    this.#engine = engine;
  }

  push(chunk: Uint8Array): void {
    if (this.#head === null) {
      this.#specialist?.push(chunk);
      return;
    }
    this.#head = Buffer.concat([this.#head, chunk]);
    if (this.#head.length >= headLength) this.#decide(this.#head);
  }

  end(): UnscannableReason | null {
    if (this.#head !== null) this.#decide(this.#head);
    return this.#verdict ?? this.#specialist?.end() ?? null;
  }

  #decide(head: Buffer): void {
    this.#head = null;
    this.#verdict = judgeHead(head, this.#engine);
    if (this.#verdict !== null) return;
    const found = specialists.find(([magic]) => startsWith(head, magic));
    this.#specialist = found === undefined ? new EmbeddedZipLook(this.#size) : found[1](this.#size);
    this.#specialist.push(head);
  }
}
