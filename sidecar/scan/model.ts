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

/** What an engine was measured to look at. */
export interface EngineLimits {
  /** Largest stream it takes, in bytes. */
  readonly stream: number;
  /** Largest file, with all that it unpacks to, that it looks at whole, in bytes. */
  readonly scan: number;
  /** Archives in archives that it follows. */
  readonly recursion: number;
}

/** What a clamd daemon says of itself. `signatures` is `"test"` where no official set is loaded. */
export interface EngineVersion {
  readonly version: string;
  readonly signatures: number | 'test';
  /** ISO 8601. */
  readonly signaturesAt: string | null;
}

/** A clamd daemon as it was when it answered. */
export interface Engine extends EngineVersion {
  readonly name: string;
  readonly limits: EngineLimits;
  /** ISO 8601: when the last round began in which it gave the right answer to every canary. */
  readonly canaryAt: string;
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
  /** Who judged it; null where it was too large to be asked about. */
  readonly engine: Engine | null;
}

export interface Verdict {
  readonly kind: Answer['kind'];
  readonly files: readonly FileVerdict[];
  /** Where several engines took part: the one with the oldest signatures, as it was when it last answered. */
  readonly engine: Engine;
}

/** The one way a lease ends by our own doing. */
export type Outcome = { readonly kind: 'verdict'; readonly verdict: Verdict } | { readonly kind: 'give-back'; readonly code: GiveBackCode };

/** An engine answered a canary wrongly: what it said since it last answered every one rightly is worth nothing. */
export interface Lie {
  /** Name of the engine. */
  readonly engine: string;
  /** The `canaryAt` from which on its verdicts are void; null where this process has never seen it answer rightly. */
  readonly since: string | null;
  /** What it answered wrongly, for people. */
  readonly reason: string;
}

export interface Settlement {
  readonly check: Check;
  readonly outcome: Outcome;
  /** The story of this scan for humans, one event a line. */
  readonly log: string;
}
