/** Checks change by verdicts and recorded decisions alone; a row edited in the dashboard would open the gate without a trace. */
import { refusal } from './http.ts';

/** onRecordCreateRequest and onRecordUpdateRequest of the checks. Deleting one is allowed: the gate shuts and the sweep makes a new one. */
export function refuseDirectWrite(): void {
  throw refusal(403, 'Checks are written by the scanner alone. Delete this one to have the build scanned again.', 'check', 'read_only');
}
