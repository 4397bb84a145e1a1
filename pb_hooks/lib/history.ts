/**
 * The append-only record of what was decided. Each row carries HMAC-SHA256(hash of the row before + its own entry, AV_HISTORY_KEY),
 * so that a changed, missing or inserted row is found by whoever holds the key.
 */
import { HISTORY } from './checks.ts';
import { dateText } from './dates.ts';
import { secret } from './settings.ts';
import type { EngineInfo, WireFileVerdict } from './wire.ts';

export interface HistoryEvent {
  event: 'settled' | 'imported' | 'would-refuse' | 'infected-build-deleted' | 'failed';
  check: string;
  build: string;
  status?: string;
  open?: boolean;
  reason?: string | undefined;
  virusName?: string | undefined;
  rescan?: boolean;
  revision?: number;
  engine?: EngineInfo;
  /** Their `ms` is left out. */
  files?: WireFileVerdict[];
  worker?: string;
  code?: string;
  scanTime?: string;
  log?: string;
}

/** What PocketBase makes its own ids of. */
const ID_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** Every key an entry may hold, at any depth, in the order in which it is written: the same event is the same text everywhere. */
const keys = [
  'at',
  'build',
  'check',
  'code',
  'engine',
  'event',
  'files',
  'log',
  'name',
  'open',
  'reason',
  'rescan',
  'revision',
  'scanTime',
  'sha256',
  'signature',
  'signatures',
  'signaturesAt',
  'size',
  'status',
  'verdict',
  'version',
  'virusName',
  'worker',
] as const satisfies (keyof HistoryEvent | keyof EngineInfo | Exclude<keyof WireFileVerdict, 'ms'> | 'at')[];

/** Why no entry can be written, or null. Without a key nothing is ever settled, so the gate stays shut. */
export function historyProblem(): string | null {
  return secret('AV_HISTORY_KEY') === ''
    ? 'AV_HISTORY_KEY is not set: no verdict can be recorded, so nothing is let through. Set it to a long random text.'
    : null;
}

/** Appends the events in their order, within the caller's transaction. Throws without a key. */
export function appendHistory(tx: CoreApp, events: readonly HistoryEvent[]): void {
  if (events.length === 0) return;
  const problem = historyProblem();
  if (problem) throw new Error(problem);
  const key = secret('AV_HISTORY_KEY');
  let { seq, hash } = lastRow(tx);
  const created = dateText(Date.now());
  // Plain SQL, since nobody follows the history live: a fifth of the cost of a record, paid for every verdict.
  const insert = tx
    .db()
    .newQuery(`INSERT INTO ${HISTORY} (id, seq, entry, hash, created) VALUES ({:id}, {:seq}, {:entry}, {:hash}, {:created})`);
  for (const event of events) {
    const entry = entryText(event, created);
    seq += 1;
    hash = $security.hs256(hash + entry, key);
    insert.bind({ id: $security.randomStringWithAlphabet(15, ID_ALPHABET), seq, entry, hash, created }).execute();
  }
}

/** Canonical JSON: keys in one fixed order, nothing undefined, no spaces. */
export function entryText(event: HistoryEvent, at: string): string {
  return JSON.stringify({ ...event, at }, keys as unknown as string[]);
}

/** The highest revision on record of each of these builds that has any. Reads the whole history: for the rare check that is missing. */
export function lastRevisions(app: CoreApp, builds: readonly string[]): Map<string, number> {
  const rows = arrayOf(new DynamicModel({ build: '', revision: 0 }));
  app
    .db()
    .newQuery(
      `SELECT json_extract(entry, '$.build') AS build, MAX(json_extract(entry, '$.revision')) AS revision FROM ${HISTORY}
       WHERE json_extract(entry, '$.revision') IS NOT NULL AND json_extract(entry, '$.build') IN (SELECT value FROM json_each({:builds}))
       GROUP BY 1`,
    )
    .bind({ builds: JSON.stringify(builds) })
    .all(rows);
  return new Map(rows.map((row) => [String(row['build']), Number(row['revision'])]));
}

function lastRow(tx: CoreApp): { seq: number; hash: string } {
  const rows = arrayOf(new DynamicModel({ seq: 0, hash: '' }));
  tx.db().newQuery(`SELECT seq, hash FROM ${HISTORY} ORDER BY seq DESC LIMIT 1`).all(rows);
  const last = rows[0];
  return last ? { seq: Number(last['seq']), hash: String(last['hash']) } : { seq: 0, hash: '' };
}
