import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from './scan/ports.ts';

/** The machine's monotonic clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  async sleep(ms, signal) {
    try {
      await sleep(ms, undefined, { signal });
    } catch (thrown) {
      // The timer answers an abort with an AbortError of its own.
      signal.throwIfAborted();
      throw thrown;
    }
  },
};
