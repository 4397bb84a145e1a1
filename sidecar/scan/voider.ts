/** Takes back what engines said that turned out to lie: each lie is told to PocketBase until PocketBase has taken it. */
import { Bell } from './bell.ts';
import { ScanError } from './errors.ts';
import type { Lie } from './model.ts';
import type { Clock, Voided, Voids } from './ports.ts';

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;

export interface VoidEvents {
  /** Taken: so many builds are closed and scanned again. */
  voided(lie: Lie, voided: Voided): void;
  voidFailed(lie: Lie, error: ScanError): void;
}

export interface VoiderParts {
  readonly voids: Voids;
  readonly clock: Clock;
  readonly events: VoidEvents;
}

/**
 * What waits here is lost when this process ends. The next one asks each engine before it uses it: one that still lies is told
 * anew, since its newest known good canary. Only of an engine that is mended in between nobody hears any more.
 */
export class Voider {
  readonly #parts: VoiderParts;
  readonly #bell: Bell;
  #waiting: readonly Lie[] = [];
  #retryMs = FIRST_RETRY_MS;

  constructor(parts: VoiderParts) {
    this.#parts = parts;
    this.#bell = new Bell(parts.clock);
  }

  /** Lies that PocketBase has not taken yet: until then what rests on them can be downloaded. */
  get waiting(): readonly Lie[] {
    return this.#waiting;
  }

  report(lie: Lie): void {
    this.#waiting = [...this.#waiting, lie];
    this.#bell.ring();
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const failed = await this.#tellAll(signal);
      this.#retryMs = failed ? Math.min(this.#retryMs * 2, LAST_RETRY_MS) : FIRST_RETRY_MS;
      await this.#bell.wait(failed ? this.#retryMs : LAST_RETRY_MS, signal).catch(() => {});
    }
  }

  /** One that PocketBase refuses for good must not hold up the others. */
  async #tellAll(signal: AbortSignal): Promise<boolean> {
    const { voids, events } = this.#parts;
    let failed = false;
    for (const lie of this.#waiting) {
      try {
        const voided = await voids.voidSince(lie, signal);
        this.#waiting = this.#waiting.filter((each) => each !== lie);
        events.voided(lie, voided);
      } catch (thrown) {
        if (signal.aborted) return true;
        failed = true;
        events.voidFailed(lie, ScanError.from(thrown));
      }
    }
    return failed;
  }
}
