import { ScanError } from '../scan/errors.ts';

/**
 * Runs `work` under a signal that aborts with the caller's or after `ms`. The caller's reason wins; running out of time is
 * `store-unavailable`. Not AbortSignal.any: derived signals of one that lives as long as the process would pile up on it.
 */
export async function withDeadline<T>(
  ms: number,
  what: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const inner = new AbortController();
  const late = new ScanError('store-unavailable', `PocketBase did not answer ${what} within ${ms / 1000} s`);
  const timer = setTimeout(() => inner.abort(late), ms);
  const abort = () => inner.abort(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await work(inner.signal);
  } catch (thrown) {
    throw inner.signal.aborted ? inner.signal.reason : thrown;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}
