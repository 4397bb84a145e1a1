import type { Clock } from './ports.ts';

/** Wakes one sleeper. A ring while nobody sleeps is kept for the next sleep, so no wake-up is ever lost. */
export class Bell {
  readonly #clock: Clock;
  #rung = false;
  #wake: (() => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** Resolves when rung or after `ms`, whichever is first; rejects with the signal's reason. */
  async wait(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#rung) await this.#sleep(ms, signal);
    this.#rung = false;
    signal.throwIfAborted();
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const asleep = new AbortController();
    const wake = () => asleep.abort();
    signal.addEventListener('abort', wake, { once: true });
    this.#wake = wake;
    try {
      await this.#clock.sleep(ms, asleep.signal);
    } catch (thrown) {
      if (!asleep.signal.aborted) throw thrown;
    } finally {
      this.#wake = null;
      signal.removeEventListener('abort', wake);
    }
  }
}
