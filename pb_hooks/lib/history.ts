/**
 * The append-only record of what was decided. Each row carries HMAC-SHA256(hash of the row before + its own entry, AV_HISTORY_KEY),
 * so that a changed, missing or inserted row is found by whoever holds the key.
 */
import { HISTORY } from './checks.ts';
import { secret } from './settings.ts';

export interface HistoryEvent {
  event: 'settled' | 'imported' | 'would-refuse' | 'infected-build-deleted' | 'failed';
  check: string;
  build: string;
  [detail: string]: unknown;
}

/** Why no entry can be written, or null. Without a key nothing is ever settled, so the gate stays shut. */
export function historyProblem(): string | null {
  return secret('AV_HISTORY_KEY') === '' ? 'AV_HISTORY_KEY is not set: no verdict can be recorded, so nothing is let through. Set it to a long random text.' : null;
}

/** Appends the events in their order, within the caller's transaction. Throws without a key. */
export function appendHistory(tx: CoreApp, events: readonly HistoryEvent[]): void {
  if (events.length === 0) return;
  const problem = historyProblem();
  if (problem) throw new Error(problem);
  const key = secret('AV_HISTORY_KEY');
  let { seq, hash } = lastRow(tx);
  const collection = tx.findCollectionByNameOrId(HISTORY);
  const at = new Date().toISOString();
  for (const event of events) {
    const entry = canonicalJson({ at, ...event });
    seq += 1;
    hash = $security.hs256(hash + entry, key);
    const row = new Record(collection);
    row.set('seq', seq);
    row.set('entry', entry);
    row.set('hash', hash);
    tx.saveNoValidate(row);
  }
}

function lastRow(tx: CoreApp): { seq: number; hash: string } {
  const rows = arrayOf(new DynamicModel({ seq: 0, hash: '' }));
  tx.db().newQuery(`SELECT seq, hash FROM ${HISTORY} ORDER BY seq DESC LIMIT 1`).all(rows);
  const last = rows[0];
  return last ? { seq: Number(last['seq']), hash: String(last['hash']) } : { seq: 0, hash: '' };
}

/** Keys sorted at every depth, nothing undefined, so that the same event is the same text everywhere. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`);
  return `{${members.join(',')}}`;
}

/** Refuses every change and removal; bound at model level, where truncation passes too. */
export function refuseHistoryChange(): void {
  throw new ForbiddenError('The scan history is append-only.');
}
