/** Why a build ends otherwise than well. Each message is a sentence with the next step. */
import type { Outcome } from './model.ts';

/** How the program that was running ended; null both where none was. */
interface ProgramEnded {
  readonly exitCode: number | null;
  readonly signal: string | null;
}

const NO_PROGRAM: ProgramEnded = { exitCode: null, signal: null };

/** A step that did not do what it must. */
export class BuildFailure extends Error {
  override readonly name = 'BuildFailure';
  readonly exitCode: number | null;
  readonly signal: string | null;

  constructor(message: string, ended: ProgramEnded = NO_PROGRAM) {
    super(message);
    this.exitCode = ended.exitCode;
    this.signal = ended.signal;
  }
}

/** The reason of the signal that ends a build from outside. */
export class BuildStopped extends Error {
  override readonly name = 'BuildStopped';
  readonly outcome: Exclude<Outcome, 'succeeded' | 'died'>;
  readonly ended: ProgramEnded;

  constructor(outcome: BuildStopped['outcome'], message: string, ended: ProgramEnded = NO_PROGRAM) {
    super(message);
    this.outcome = outcome;
    this.ended = ended;
  }

  /** The same, once the program that ran has ended by it. */
  after(ended: ProgramEnded): BuildStopped {
    return new BuildStopped(this.outcome, this.message, ended);
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
