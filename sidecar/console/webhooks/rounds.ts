import type { Clock } from '../../scan/ports.ts';

/** Works and rests in turn until `signal` aborts; never rejects: what a round throws is told, and the next one tries again. */
export async function rounds(
  restMs: number,
  { clock, failed }: { readonly clock: Clock; failed(why: string): void },
  signal: AbortSignal,
  work: () => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await work();
    } catch (thrown) {
      if (!signal.aborted) failed(thrown instanceof Error ? thrown.message : String(thrown));
    }
    await clock.sleep(restMs, signal).catch(() => {});
  }
}
