import { setTimeout as sleep } from 'node:timers/promises';

const pauseMs = 20;

type Truthy<T> = Exclude<T, null | undefined | false | 0 | ''>;

/**
 * Resolves with the first truthy value of `condition`; rejects after `ms`, naming the label and what was seen last.
 * A condition that throws is asked again like one that is false.
 */
export async function eventually<T>(label: string, condition: () => T | Promise<T>, ms = 10_000): Promise<Truthy<T>> {
  const deadline = performance.now() + ms;
  for (;;) {
    let seen: string;
    try {
      const value = await condition();
      if (value) return value as Truthy<T>;
      seen = `last value: ${String(value)}`;
    } catch (thrown) {
      seen = `last error: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
    }
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${label} (${seen})`);
    await sleep(pauseMs);
  }
}
