/** Progress of running scans, as the scanner role tells it. */
import type { PeerFetch } from '../console-env.ts';
import type { CheckRow } from './check-row.ts';
import { type RunningScan, type ScannerAnswer, scannerAnswer } from './scanner-api.ts';

const FRESH_MS = 500;

export interface Progress {
  readonly sentBytes: number;
  /** Null while the size of a file is not known. */
  readonly totalBytes: number | null;
  readonly engine: string | null;
  readonly startedAt: Date | null;
}

/** Pages are shown without progress while the scanner does not answer: what it does is not what it has decided. */
export class RunningScans {
  readonly #scanner: PeerFetch | null;
  #last: { readonly answer: Promise<ScannerAnswer | null>; readonly at: number } | null = null;

  constructor(scanner: PeerFetch | null) {
    this.#scanner = scanner;
  }

  /** Null where there is no scanner to ask, or no answer. Never rejects; asked at most twice a second. */
  async now(): Promise<ScannerAnswer | null> {
    if (this.#last === null || performance.now() - this.#last.at > FRESH_MS) {
      this.#last = { answer: this.#ask(), at: performance.now() };
    }
    return await this.#last.answer;
  }

  async #ask(): Promise<ScannerAnswer | null> {
    if (this.#scanner === null) return null;
    try {
      const answer = await this.#scanner('/api/scanner', { signal: AbortSignal.timeout(2000) });
      return answer.ok ? scannerAnswer.parse(await answer.json()) : null;
    } catch {
      return null;
    }
  }
}

/** Over all files of the check that are being streamed; null where none is. */
export function progressOf(check: Pick<CheckRow, 'id'>, scans: readonly RunningScan[]): Progress | null {
  const own = scans.filter((scan) => scan.check === check.id);
  const [first] = own;
  if (first === undefined) return null;
  const isKnown = own.every(({ totalBytes }) => totalBytes !== null);
  const started = new Date(own.map(({ startedAt }) => startedAt).sort()[0]!);
  return {
    sentBytes: own.reduce((sum, { sentBytes }) => sum + sentBytes, 0),
    totalBytes: isKnown ? own.reduce((sum, scan) => sum + (scan.totalBytes ?? 0), 0) : null,
    engine: first.engine,
    startedAt: Number.isNaN(started.getTime()) ? null : started,
  };
}
