import { type FSWatcher, watch } from 'node:fs';

/** How often is looked all the same: a watcher may be missing, and misses what another machine writes. */
const POLL_MS = 1000;
/** A log that grows all the time wakes its followers no more often than that. */
const SETTLE_MS = 50;

/** Wakes all who follow one log with one watcher and one timer between them, and with none while nobody does. */
export class LogWatch {
  readonly #path: string;
  readonly #waiting = new Set<() => void>();
  #followers = 0;
  #changes = 0;
  #watcher: FSWatcher | null = null;
  #timer: NodeJS.Timeout | null = null;
  #settling: NodeJS.Timeout | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  /** To be read before looking at the log, and given to `changed` after it: so that no change between is missed. */
  get changes(): number {
    return this.#changes;
  }

  join(): void {
    if (this.#followers++ > 0) return;
    this.#timer = setInterval(() => this.#wake(), POLL_MS);
    this.#timer.unref();
    try {
      this.#watcher = watch(this.#path, { persistent: false }, () => {
        this.#settling ??= setTimeout(() => this.#wake(), SETTLE_MS).unref();
      });
      this.#watcher.on('error', () => this.#unwatch());
    } catch {
      // The timer does.
    }
  }

  leave(): void {
    if (--this.#followers > 0) return;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#unwatch();
  }

  /** Resolves at the next change after `seen`, or when the signal aborts. */
  changed(seen: number, signal: AbortSignal): Promise<void> {
    if (seen !== this.#changes || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = null;
    if (this.#settling !== null) clearTimeout(this.#settling);
    this.#settling = null;
  }

  #wake(): void {
    if (this.#settling !== null) clearTimeout(this.#settling);
    this.#settling = null;
    this.#changes++;
    for (const wake of [...this.#waiting]) wake();
  }
}
