/** Why a build ends otherwise than well. Each message is a sentence with the next step. */
import type { Outcome } from './model.ts';

/** A step that did not do what it must. */
export class BuildFailure extends Error {
  override readonly name = 'BuildFailure';
  readonly exitCode: number | null;
  readonly signal: string | null;

  constructor(
    message: string,
    ended: { readonly exitCode: number | null; readonly signal: string | null } = { exitCode: null, signal: null },
  ) {
    super(message);
    this.exitCode = ended.exitCode;
    this.signal = ended.signal;
  }
}

/** The reason of the signal that ends a build from outside. */
export class BuildStopped extends Error {
  override readonly name = 'BuildStopped';
  readonly outcome: Exclude<Outcome, 'succeeded' | 'died'>;

  constructor(outcome: BuildStopped['outcome'], message: string) {
    super(message);
    this.outcome = outcome;
  }
}

/** Rejects with the signal's reason as soon as it aborts; what was waited for goes on by itself. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
    work.catch(() => {});
  }
}
