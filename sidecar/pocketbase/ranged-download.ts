import { createHash } from 'node:crypto';
import type { Agent, IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { free } from '../scan/free.ts';
import type { Digest, FileStream } from '../scan/ports.ts';
import { type RangeAnswer, requestRange, UnauthorizedError } from './range-request.ts';
import type { TokenSource } from './session.ts';
import { StallTimer } from './stall-timer.ts';
import { connectionFailed, TransferError } from './transfer-error.ts';

export interface DownloadLimits {
  readonly rangeBytes: number;
  /** PocketBase cuts every answer after five minutes, so that no range may take as long. */
  readonly rangeMs: number;
  /** Without a byte while one is waited for. */
  readonly stallMs: number;
  /** Pauses between attempts; when all are used up without progress the download has failed. */
  readonly retryMs: readonly number[];
}

export const defaultLimits: DownloadLimits = {
  rangeBytes: 64 * 1024 * 1024,
  rangeMs: 270_000,
  stallMs: 30_000,
  retryMs: [100, 400, 1500, 3000, 5000],
};

/** What an attempt must bring for the next failure to count as a first one; otherwise a drip could go on for ever. */
const PROGRESS_BYTES = 1024 * 1024;

export interface DownloadSource {
  readonly url: URL;
  readonly lease: string;
  readonly agent: Agent;
  readonly tokens: TokenSource;
}

/**
 * A file as consecutive ranges, each with a fresh deadline, continued after a broken connection at the byte where it stopped.
 * One reader; backpressure goes down to the socket. Every failure is thrown as a ScanError, an abort as the signal's reason.
 */
export class RangedDownload implements FileStream {
  readonly #source: DownloadSource;
  readonly #limits: DownloadLimits;
  readonly #signal: AbortSignal;
  readonly #hash = createHash('sha256');
  readonly #abort = () => this.close();
  #size: number | null = null;
  #at = 0;
  #hashed = 0;
  #open: RangeAnswer | null = null;
  #failures = 0;
  #isClosed = false;
  readonly bytes: AsyncIterable<Uint8Array>;

  private constructor(source: DownloadSource, limits: DownloadLimits, signal: AbortSignal) {
    this.#source = source;
    this.#limits = limits;
    this.#signal = signal;
    this.bytes = this.#read();
    signal.addEventListener('abort', this.#abort, { once: true });
  }

  /** Resolves when the size is known, with the first range under way. */
  static async open(source: DownloadSource, limits: DownloadLimits, signal: AbortSignal): Promise<RangedDownload> {
    signal.throwIfAborted();
    const download = new RangedDownload(source, limits, signal);
    try {
      await download.#retrying(async () => {
        download.#open = await download.#request();
      });
      return download;
    } catch (thrown) {
      download.close();
      throw download.#failure(thrown);
    }
  }

  get size(): number {
    return this.#size ?? 0;
  }

  get position(): number {
    return this.#at;
  }

  digest(): Digest {
    if (this.#size === null || this.#at !== this.#size) throw new Error(`only ${this.#at} of ${this.#size} bytes were read`);
    return { sha256: this.#hash.copy().digest('hex'), bytes: this.#hashed };
  }

  spent(chunk: Uint8Array): void {
    free(chunk);
  }

  close(): void {
    this.#isClosed = true;
    this.#signal.removeEventListener('abort', this.#abort);
    this.#drop();
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    try {
      while (this.#at < this.size) {
        const before = this.#at;
        try {
          this.#open ??= await this.#request();
          yield* this.#readRange(this.#open);
        } catch (thrown) {
          if (this.#at - before >= PROGRESS_BYTES) this.#failures = 0;
          await this.#recover(thrown);
        }
      }
      this.#signal.throwIfAborted();
    } catch (thrown) {
      throw this.#failure(thrown);
    } finally {
      this.close();
    }
  }

  async *#readRange({ body, to }: RangeAnswer): AsyncGenerator<Uint8Array> {
    if (body === null) return;
    const { stallMs, rangeMs } = this.#limits;
    const stall = new StallTimer(stallMs, () =>
      body.destroy(new TransferError('download', 'later', `no byte came for ${stallMs / 1000} s`)),
    );
    const late = setTimeout(() => body.destroy(new TransferError('download', 'at-once', 'the range took too long')), rangeMs);
    try {
      for (const chunks = body[Symbol.asyncIterator](); ; ) {
        stall.begin();
        const next: IteratorResult<Buffer> = await chunks.next();
        stall.end();
        if (next.done) break;
        const chunk = next.value;
        if (this.#at + chunk.length > to) throw new TransferError('download', 'never', 'PocketBase sent more than it announced');
        this.#hash.update(chunk);
        this.#hashed += chunk.length;
        this.#at += chunk.length;
        yield chunk;
      }
      if (this.#at < to) throw new TransferError('download', 'later', `the download ended ${to - this.#at} bytes early`);
      this.#open = null;
    } catch (thrown) {
      throw thrown instanceof Error ? connectionFailed(thrown, false) : thrown;
    } finally {
      stall.stop();
      clearTimeout(late);
    }
  }

  /** A 401 is answered by one new token; a second one is PocketBase's last word. */
  async #request(): Promise<RangeAnswer> {
    const { tokens } = this.#source;
    const token = await tokens.token(this.#signal);
    try {
      return await this.#requestWith(token);
    } catch (thrown) {
      if (!(thrown instanceof UnauthorizedError)) throw thrown;
    }
    try {
      return await this.#requestWith(await tokens.renewed(token, this.#signal));
    } catch (thrown) {
      if (!(thrown instanceof UnauthorizedError)) throw thrown;
      throw new TransferError('store-unavailable', 'never', thrown.message);
    }
  }

  async #requestWith(token: string): Promise<RangeAnswer> {
    const { url, agent, lease } = this.#source;
    const { rangeBytes, stallMs } = this.#limits;
    const headers = { authorization: token, 'x-av-lease': lease };
    const to = Math.min(this.#at + rangeBytes, this.#size ?? Number.POSITIVE_INFINITY);
    const range = { url, agent, headers, from: this.#at, to, size: this.#size, headMs: stallMs };
    const answer = await requestRange(range, this.#signal);
    this.#size = answer.size;
    // Until somebody reads it, an error of the body has no other listener.
    answer.body?.on('error', () => {});
    return answer;
  }

  async #retrying(work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await work();
      } catch (thrown) {
        await this.#recover(thrown);
      }
    }
  }

  /** Returns when the next attempt may begin; throws when there is none. */
  async #recover(thrown: unknown): Promise<void> {
    this.#drop();
    if (this.#signal.aborted || this.#isClosed || !(thrown instanceof TransferError) || thrown.retry === 'never') throw thrown;
    const pauseMs = this.#limits.retryMs[this.#failures];
    if (pauseMs === undefined) throw thrown;
    this.#failures++;
    if (thrown.retry === 'later') await sleep(pauseMs, undefined, { signal: this.#signal });
  }

  #failure(thrown: unknown): unknown {
    if (this.#signal.aborted) return this.#signal.reason;
    return thrown instanceof TransferError ? thrown.toScanError() : thrown;
  }

  #drop(): void {
    const body: IncomingMessage | null = this.#open?.body ?? null;
    this.#open = null;
    body?.destroy();
  }
}
