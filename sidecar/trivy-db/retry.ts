/** Patience with a file system that fails for a moment: no file handles left, a full disk, a network mount that hangs. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Doubles from one attempt to the next. */
const FIRST_MS = 100;

/** As `work` does, tried up to `attempts` times (6: within about three seconds). Rejects as the last attempt did. */
export async function retried<T>(work: () => Promise<T>, attempts = 6): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (thrown) {
      if (attempt >= attempts) throw thrown;
      await sleep(FIRST_MS * 2 ** (attempt - 1));
    }
  }
}
