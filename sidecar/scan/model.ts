/** The words of the domain as types. */
import type { GiveBackCode, UnscannableReason } from '../../pb_hooks/lib/reasons.ts';

export type { GiveBackCode, UnscannableReason };

/** A file of a build. `size` is 0 until the first bytes are asked for. */
export interface BuildFile {
  readonly name: string;
  readonly size: number;
}

/** The right to work on a check until it runs out, proved by its token. */
export interface Lease {
  readonly id: string;
  readonly token: string;
}

/** A claimed obligation to judge one build. */
export interface Check {
  readonly id: string;
  readonly build: string;
  readonly attempts: number;
  readonly suspect: boolean;
  readonly rescan: boolean;
  readonly lease: Lease;
  /** How long it had waited when it was claimed. */
  readonly waitedSeconds: number;
  readonly files: readonly BuildFile[];
}

/** A clamd daemon as it was when it answered. `signatures` is `"test"` where no official set is loaded. */
export interface Engine {
  readonly name: string;
  readonly version: string;
  readonly signatures: number | 'test';
  readonly signaturesAt: string | null;
}

/** A fact about bytes, made by an engine. A failure to look is never one of these: it is thrown. */
export type Answer =
  | { readonly kind: 'clean' }
  | { readonly kind: 'infected'; readonly signature: string }
  | { readonly kind: 'unscannable'; readonly reason: UnscannableReason };

export interface FileVerdict {
  readonly name: string;
  readonly size: number;
  /** Lower-case hex; empty only where the file was judged too large before it was read. */
  readonly sha256: string;
  readonly answer: Answer;
  readonly ms: number;
}

export interface Verdict {
  readonly kind: Answer['kind'];
  readonly files: readonly FileVerdict[];
  /** Where several engines took part: the one with the oldest signatures. */
  readonly engine: Engine;
}

/** The one way a lease ends by our own doing. */
export type Outcome = { readonly kind: 'verdict'; readonly verdict: Verdict } | { readonly kind: 'give-back'; readonly code: GiveBackCode };

export interface Settlement {
  readonly check: Check;
  readonly outcome: Outcome;
  /** The story of this scan for humans, one event a line. */
  readonly log: string;
}
