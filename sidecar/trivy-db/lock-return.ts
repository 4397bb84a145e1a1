/** Gives a lock back for certain: one that its living holder forgets would keep everybody from building until the process ends. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { HeldLock } from './lock.ts';

const FIRST_MS = 200;
const MOST_MS = 30_000;

export class LockReturn {
  readonly #failed: (thrown: unknown) => void;
  readonly #owed = new Set<HeldLock>();
  #isTrying = false;

  /** `failed` hears of the first failure for each lock. */
  constructor(failed: (thrown: unknown) => void) {
    this.#failed = failed;
  }

  /** Never rejects. What cannot be given back now is tried again, after longer and longer pauses, until it can. */
  async giveBack(held: HeldLock): Promise<void> {
    try {
      await held.release();
    } catch (thrown) {
      this.#failed(thrown);
      this.#owed.add(held);
      if (!this.#isTrying) void this.#keepTrying();
    }
  }

  /** Tries at once, for whoever wants the lock now. Never rejects. */
  async settle(): Promise<void> {
    for (const held of this.#owed) {
      await held.release().then(
        () => this.#owed.delete(held),
        () => {},
      );
    }
  }

  async #keepTrying(): Promise<void> {
    this.#isTrying = true;
    for (let pause = FIRST_MS; this.#owed.size > 0; pause = Math.min(MOST_MS, pause * 2)) {
      // A process that is about to end proves its lock stale by that.
      await sleep(pause, undefined, { ref: false });
      await this.settle();
    }
    this.#isTrying = false;
  }
}
