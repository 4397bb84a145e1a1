/**
 * Our own look at a file, beside the engine's: does it have a form that clamd accepts but looks at only in part, or not at all?
 * It is fed while the file streams, in bounded memory; it never says clean, it only takes a clean away. What it can tell, and
 * what it cannot, is the table in formats.ts.
 */
import type { UnscannableReason } from '../../scan/model.ts';
import { Budget } from './budget.ts';
import { headLength } from './formats.ts';
import { judgeHead, specialistFor } from './magic.ts';

export interface Look {
  /**
   * Keeps no reference to the chunk: its memory is used again. Where it answers a promise, that and the next chunk have to wait
   * for it.
   */
  push(chunk: Uint8Array): void | Promise<void>;
  /** After the last byte: why an OK of the engine is no proof, or null where it is. */
  end(): UnscannableReason | null | Promise<UnscannableReason | null>;
  /** Gives back what it holds, at any time, more than once. */
  close(): void;
}

/** What looks hand down to those at what is inside. */
export interface LookContext {
  readonly unpacksRar: boolean;
  /** How many levels of members are opened: a zip in a zip takes one, a tar in a gzip none. */
  readonly levels: number;
  readonly budget: Budget;
  /** How many wrappings are around these bytes. */
  readonly depth: number;
}

/** Beyond what clamd follows (MaxRecursion). */
const deepest = 20;

/**
 * What is in the uploaded archive is looked at like an upload of its own, and that takes a second level: whether a zip in it is
 * damaged shows only in its members. So these are looked at too, but for damage in archives among them.
 */
const levels = 2;

/** `size` is the announced size, in bytes. */
export function createLook(size: number, engine: { readonly unpacksRar: boolean }): Look {
  return lookInside(size, { unpacksRar: engine.unpacksRar, levels, budget: new Budget(), depth: 0 });
}

/** At bytes of which we know the length, or not yet (null). */
export function lookInside(size: number | null, context: LookContext): Look {
  return new HeadLook(size, { ...context, depth: context.depth + 1 });
}

/** Waits for the first bytes, then hands everything to whoever knows that format. */
class HeadLook implements Look {
  readonly #size: number | null;
  readonly #context: LookContext;
  #head: Buffer | null = Buffer.alloc(0);
  #verdict: UnscannableReason | null = null;
  #specialist: Look | null = null;

  constructor(size: number | null, context: LookContext) {
    this.#size = size;
    this.#context = context;
  }

  push(chunk: Uint8Array): void | Promise<void> {
    if (this.#head === null) return this.#specialist?.push(chunk);
    this.#head = Buffer.concat([this.#head, chunk]);
    if (this.#head.length >= headLength) return this.#decide(this.#head);
  }

  end(): UnscannableReason | null | Promise<UnscannableReason | null> {
    const wait = this.#head === null ? undefined : this.#decide(this.#head);
    return wait === undefined ? this.#conclude() : wait.then(() => this.#conclude());
  }

  close(): void {
    this.#head = null;
    this.#specialist?.close();
  }

  #conclude(): UnscannableReason | null | Promise<UnscannableReason | null> {
    return this.#verdict ?? this.#specialist?.end() ?? null;
  }

  #decide(head: Buffer): void | Promise<void> {
    this.#head = null;
    this.#verdict = this.#context.depth > deepest ? 'unscannable:too-deep' : judgeHead(head, this.#context);
    if (this.#verdict !== null) return;
    this.#specialist = specialistFor(head)(this.#size, this.#context);
    return this.#specialist.push(head);
  }
}
