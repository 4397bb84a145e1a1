import type { BuildLogReader, BuildLogs } from './model.ts';

export type LatestLog = BuildLogReader & { readonly buildId: string };

/** Tells when the next build has begun: one look at a time for all who wait, none when nobody does. */
export class LatestLogWatch {
  readonly #logs: BuildLogs;
  readonly #everyMs: number;
  readonly #waiting = new Set<{ readonly known: string | null; readonly found: (log: LatestLog | null) => void }>();
  #timer: NodeJS.Timeout | null = null;

  constructor(logs: BuildLogs, everyMs: number) {
    this.#logs = logs;
    this.#everyMs = everyMs;
  }

  /** The log of a build other than `known`, as soon as there is one; null when the signal ends the wait. */
  other(known: string | null, signal: AbortSignal): Promise<LatestLog | null> {
    if (signal.aborted) return Promise.resolve(null);
    return new Promise((resolve) => {
      const found = (log: LatestLog | null) => {
        this.#waiting.delete(waiting);
        signal.removeEventListener('abort', leave);
        if (this.#waiting.size === 0) this.#rest();
        resolve(log);
      };
      const leave = () => found(null);
      const waiting = { known, found };
      this.#waiting.add(waiting);
      signal.addEventListener('abort', leave, { once: true });
      this.#timer ??= setTimeout(() => this.#look(), 0);
    });
  }

  #rest(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #look(): Promise<void> {
    // What cannot be read now is looked at again.
    const latest = await this.#logs.latest().catch(() => null);
    if (latest !== null) for (const { known, found } of [...this.#waiting]) if (known !== latest.buildId) found(latest);
    this.#timer = this.#waiting.size === 0 ? null : setTimeout(() => this.#look(), this.#everyMs);
  }
}
