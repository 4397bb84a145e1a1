/** What the domain needs of the world. Every failure is thrown as a ScanError; fakes and adapters pass one contract suite. */
import type { Answer, BuildFile, Check, Engine, Lease, Lie, Settlement } from './model.ts';

export interface Claim {
  readonly checks: readonly Check[];
  /** A suspect waits until nobody holds a lease: claim nothing but `alone` for now. */
  readonly drain: boolean;
}

export interface SettleAnswer {
  readonly lost: ReadonlySet<string>;
  readonly refused: ReadonlyMap<string, string>;
}

export interface CheckQueue {
  /** Takes at most `max` checks; empty when there is nothing to do. `alone` says that this worker holds no lease. */
  claim(options: { max: number; alone: boolean }, signal: AbortSignal): Promise<Claim>;
  /** Prolongs leases; answers the ids of those that are lost. */
  renew(leases: readonly Lease[], signal: AbortSignal): Promise<{ lost: ReadonlySet<string> }>;
  /**
   * Ends leases, each exactly once; answers the ids whose lease was lost before, and with their explanation those whose outcome was
   * refused as invalid and whose lease therefore still lives. Repeating a settled item is harmless.
   */
  settle(items: readonly Settlement[], signal: AbortSignal): Promise<SettleAnswer>;
}

export interface Voided {
  /** Builds that were open and are closed now. */
  readonly closed: number;
  /** Builds that were closed before and are scanned again all the same. */
  readonly rescanned: number;
}

export interface Voids {
  /** Takes back what the engine said since then: those builds are closed and scanned again. Harmless when repeated. */
  voidSince(lie: Lie, signal: AbortSignal): Promise<Voided>;
}

/** One pass over the bytes of one file. `bytes` ends only when all announced bytes were yielded; anything else is thrown. */
export interface FileStream {
  /** As announced by the store, exact. */
  readonly size: number;
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Bytes yielded so far. */
  readonly position: number;
  /** SHA-256 in lower-case hex of what was yielded, and how many bytes went into it; throws before the end was reached. */
  digest(): Digest;
  /** Takes back a chunk that nobody will look at again. Optional to call: it only frees memory sooner. */
  spent?(chunk: Uint8Array): void;
  /** Ends the transfer; harmless when it has ended. */
  close(): void;
}

export interface Digest {
  readonly sha256: string;
  readonly bytes: number;
}

export interface BuildStore {
  /** Asks for the file under the lease of its check; resolves when its size is known. */
  open(check: Check, file: BuildFile, signal: AbortSignal): Promise<FileStream>;
}

export interface ScanInput {
  readonly size: number;
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Told of each chunk whose bytes have left for good. */
  spent?(chunk: Uint8Array): void;
}

export interface Scanner {
  /** The largest file any engine may be asked about, in bytes. */
  readonly maxBytes: number;
  /** Resolves when at least one engine has passed its canaries; rejects only when `signal` aborts. */
  ready(signal: AbortSignal): Promise<void>;
  /** Streams the bytes to one ready engine. An answer is given only if every byte was sent before it and it was understood as a whole. */
  scan(input: ScanInput, signal: AbortSignal): Promise<Scanned>;
}

export interface Scanned {
  readonly answer: Answer;
  readonly engine: Engine;
  /** Bytes of the file that went to the engine, by what the connection took; 0 for what was refused unread. */
  readonly sent: number;
}

export interface Clock {
  /** Milliseconds; only differences count. */
  now(): number;
  /** Rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}
