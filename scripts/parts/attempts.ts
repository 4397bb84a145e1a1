import type { Report } from './report.ts';

export interface Attempt<T> {
  /** Where the part would come from, as a human would say it. */
  readonly from: string;
  /** The part; null when this source has nothing to offer; throws with the reason when it should have. */
  readonly take: () => Promise<T | null>;
}

/**
 * Asks one source after the other and answers the first part that works. A source that fails costs one line and the next is
 * asked; when all have failed, the error lists why.
 *
 * @param advice what the reader can do when nothing worked
 */
export async function firstThatWorks<T>(part: string, attempts: readonly Attempt<T>[], report: Report, advice: string): Promise<T> {
  const reasons: string[] = [];
  for (const attempt of attempts) {
    try {
      const taken = await attempt.take();
      if (taken !== null) return taken;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      reasons.push(`${attempt.from}: ${reason}`);
      report(`${part}: not from ${attempt.from} (${reason})`);
    }
  }
  throw new Error([`${part} could not be obtained. ${advice}`, ...reasons.map((reason) => `  - ${reason}`)].join('\n'));
}
