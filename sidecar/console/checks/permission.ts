/** Who may change checks: only with their own PocketBase token, so that PocketBase decides and the history names them. */
import type { Operator } from '../../http/operator.ts';

/** Null for somebody who may; otherwise a sentence that says why not and what to do. */
export function whyNotChange(operator: Operator): string | null {
  if (operator.pocketbaseToken !== null) return null;
  const how = operator.via === 'proxy' ? 'through the proxy' : 'with the operator token';
  return `You are logged in ${how}, which may read checks but not change them. Log in as a PocketBase superuser to change them.`;
}
