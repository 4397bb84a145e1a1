/** What the domain needs of the world. Every failure is thrown as a ScanError; fakes and adapters pass one contract suite. */
import type { Answer, BuildFile, Check, Engine, Lease, Settlement } from './model.ts';

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

/** One pass over the bytes of one file. `bytes` ends only when all announced bytes were yielded; anything else is thrown. */
export interface FileStream {
  /** As announced by the store, exact. */
  readonly size: number;
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Bytes yielded so far. */
  readonly position: number;
  /** SHA-256 in lower-case hex of what was yielded; throws before the end was reached. */
  sha256(): string;
  /** Takes back a chunk that nobody will look at again. Optional to call: it only frees memory sooner. */
  spent?(chunk: Uint8Array): void;
  /** Ends the transfer; harmless when it has ended. */
  close(): void;
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
  scan(input: ScanInput, signal: AbortSignal): Promise<{ answer: Answer; engine: Engine }>;
}

export interface Clock {
  /** Milliseconds; only differences count. */
  now(): number;
  /** Rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}
