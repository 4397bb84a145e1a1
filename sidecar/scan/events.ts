import type { ScanError } from './errors.ts';
import type { Check, GiveBackCode, Verdict } from './model.ts';

export type QueueCall = 'claim' | 'renew' | 'settle';

/** What the domain tells the outside about its work; each is called once per event and must not throw. */
export interface ScanEvents {
  claimed(checks: readonly Check[]): void;
  /** The verdict is stored. `ms` is from the first permit to the stored verdict. */
  judged(check: Check, verdict: Verdict, ms: number): void;
  /** The lease was ended without a verdict. */
  givenBack(check: Check, code: GiveBackCode, error: ScanError, ms: number): void;
  /** Nothing was stored: somebody else owns the check, or its lease will run out by itself. */
  leftAlone(check: Check, error: ScanError, ms: number): void;
  /** A call to the queue failed and will be repeated. */
  callFailed(call: QueueCall, error: ScanError): void;
}
