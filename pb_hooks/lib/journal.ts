/**
 * The journal of closings. An older database that is put back, or one whose history lost its end, would open builds again in which
 * something was found since. The journal outside of it knows them, so that they are closed before PocketBase serves anything.
 *
 * Whatever goes wrong with the journal itself stops neither uploads nor verdicts: the health route says so, and the sweep tries again.
 */
import { HISTORY } from './checks.ts';
import { type HistoryRow, READABLE_ENTRY } from './history.ts';
import type { HistoryEvent } from './history-entry.ts';
import { appendText, journalFolder, locked, readText, replaceText, sizeOf } from './journal-file.ts';
import {
  type Anchor,
  closes,
  type Journal,
  type Line,
  type Notice,
  type ReadJournal,
  readJournal,
  type Seal,
  textOf,
  trim,
  wholeText,
} from './journal-lines.ts';
import { closeOutdated } from './restored.ts';
import { secret } from './settings.ts';

/** Builds that are remembered; a database older than what is dropped has all its open builds closed. */
const MAX_CLOSED = 20_000;
/** Lines are folded into one for each build beyond this size. */
const MAX_BYTES = 8_388_608;
/** Rows of the history that one call looks at. */
const MAX_ROWS = 50_000;
const NOTICE_MS = 24 * 3_600_000;
/** What stands under a row of another shape was not written by us, and may be corrected: it is no place to go on from. */
const HASH = /^[0-9a-f]{64}$/;
const BEGINNING: Anchor = { seq: 0, hash: '' };

const HEAD = 'av.journal.head';
const KEPT = 'av.journal.kept';
const PROBLEM = 'av.journal.problem';
const NOTICE = 'av.journal.notice';

/** Writes down which builds these rows closed; to be called once their transaction is committed. Never throws. Most rows close none. */
export function keepClosings(app: CoreApp, rows: readonly HistoryRow[]): void {
  const closings = rows.filter(({ event }) => closes(event));
  if (closings.length === 0) return;
  guarded(app, () => {
    const lines: Line[] = closings.map(({ seq, hash, event }) => ({ kind: 'closed', build: event.build, seq, hash }));
    locked(app, () => {
      appendText(app, textOf(lines, seal()));
      app.store().remove(PROBLEM);
      app.store().set(KEPT, `${app.store().get(KEPT) ?? ''}${closings.map(({ seq }) => seq).join(',')},`);
    });
  });
}

/**
 * Compares the history with the journal, closes what is open against it, and goes on from there. Before PocketBase serves: throws where
 * something would have to be closed and cannot be, which keeps PocketBase from serving.
 */
export function compareWithJournal(app: CoreApp): void {
  locked(app, () => compare(app));
}

/** A duty of the sweep: what was missed is added, and a database that is put back under a running PocketBase is noticed. */
export function followJournal(app: CoreApp): void {
  // From the look at the head to its move nobody else may come in between: it might be moved to what has taken its place meanwhile.
  locked(app, () => {
    const head = headOf(app);
    if (head === null || !isThere(app, head)) return compare(app);
    if (secret('AV_HISTORY_KEY') === '') return;
    let size: number | null | undefined;
    guarded(app, () => {
      size = sizeOf(app);
    });
    if (size === null) return compare(app);
    guarded(app, () => {
      if (Number(size) > MAX_BYTES) fold(app);
      followHistory(app, head);
    });
  });
}

/** Sentences for the health route. */
export function journalProblems(app: CoreApp): string[] {
  const problem = String(app.store().get(PROBLEM) ?? '');
  const notice = JSON.parse(String(app.store().get(NOTICE) ?? 'null')) as Notice | null;
  const isNew = notice !== null && Math.abs(Date.now() - notice.at) < NOTICE_MS;
  return [...(problem === '' ? [] : [problem]), ...(isNew ? [notice.text] : [])];
}

function compare(app: CoreApp): void {
  app.store().remove(HEAD);
  // The journal may have lost them, and another history gives their numbers to other rows.
  app.store().remove(KEPT);
  let journal: ReadJournal | null | undefined;
  guarded(app, () => {
    const text = readText(app);
    journal = text === null ? null : readJournal(text, seal());
  });
  if (journal === undefined) return;
  const next = journal === null ? newJournal(app) : comparedWith(app, journal);
  // First: what was closed now is not to be closed again each minute where the journal can be read but not written.
  app.store().set(HEAD, JSON.stringify(next.head));
  app.store().set(NOTICE, JSON.stringify(next.notice));
  guarded(app, () => {
    if (secret('AV_HISTORY_KEY') === '') return;
    trim(next, MAX_CLOSED);
    replaceText(app, wholeText(next, seal()));
    app.store().remove(PROBLEM);
    if (journal === null && next.notice !== null) app.logger().warn(`av: ${next.notice.text}`, 'folder', journalFolder(app));
    followHistory(app, next.head ?? BEGINNING);
  });
}

/** There was none: made from the history, as far as that goes. */
function newJournal(app: CoreApp): Journal {
  const isFirst = topOf(app) === 0;
  const text =
    'There was no journal of closings, so it is made from the history; after an upgrade that is as it should be. Where an older database was restored at the same time, have all builds scanned again.';
  return { closed: new Map(), head: BEGINNING, floor: null, notice: isFirst ? null : { at: Date.now(), text } };
}

function comparedWith(app: CoreApp, journal: ReadJournal): Journal {
  const { closed, floor } = journal;
  const head = journal.head ?? BEGINNING;
  const missing = missingOf(app, [...closed.values(), head, ...(floor ? [floor] : [])]);
  const isLost = (anchor: Anchor | null) => anchor !== null && missing.has(nameOf(anchor));
  if (missing.size > 0) {
    const lost = [...closed].filter(([, anchor]) => isLost(anchor));
    const isUnsure = isLost(floor) || journal.damaged > 0 || journal.torn;
    const row = Math.max(...[...missing.values()].map(({ seq }) => seq));
    const { count, last } = closeOutdated(app, isUnsure ? null : lost.map(([build]) => build), row);
    for (const [build] of lost) closed.set(build, last);
    const text = `The database is older than the journal of closings beside it: it was restored, or rows of the history are gone. ${count} builds were closed again and wait for a new scan.`;
    app.logger().error(`av: ${text}`, 'row', row, 'all', isUnsure);
    return { closed, head: last, floor: isLost(floor) ? last : floor, notice: { at: Date.now(), text } };
  }
  if (journal.damaged === 0) return { closed, head, floor, notice: journal.notice };
  const text = `${journal.damaged} lines of the journal of closings could not be read, so it is made again from the history. Where an older database was restored at the same time, have all builds scanned again.`;
  app.logger().error(`av: ${text}`, 'folder', journalFolder(app));
  return { closed, head: BEGINNING, floor, notice: { at: Date.now(), text } };
}

/** Adds the closings of the rows since the head, without those that were kept at once, and moves the head on. */
function followHistory(app: CoreApp, head: Anchor): void {
  const kept = new Set(String(app.store().get(KEPT) ?? '').split(','));
  const next = anchorAt(app, Math.min(topOf(app), head.seq + MAX_ROWS));
  const isBehind = next !== null && next.seq > head.seq && HASH.test(next.hash);
  if (!isBehind && !app.store().get(PROBLEM)) return;
  const to = isBehind ? next : head;
  const lines = closingsBetween(app, head.seq, to.seq).filter(({ seq }) => !kept.has(String(seq)));
  appendText(app, textOf([...lines, { kind: 'head', ...to }], seal()));
  app.store().remove(PROBLEM);
  app.store().set(HEAD, JSON.stringify(to));
  const left = [...kept].filter((seq) => Number(seq) > to.seq);
  app.store().set(KEPT, left.map((seq) => `${seq},`).join(''));
}

function fold(app: CoreApp): void {
  const journal = readJournal(readText(app) ?? '', seal());
  trim(journal, MAX_CLOSED);
  replaceText(app, wholeText(journal, seal()));
}

/** Null before the first comparison that came to an end. */
function headOf(app: CoreApp): Anchor | null {
  return JSON.parse(String(app.store().get(HEAD) ?? 'null')) as Anchor | null;
}

function closingsBetween(app: CoreApp, after: number, to: number): Extract<Line, { kind: 'closed' }>[] {
  const rows = arrayOf(new DynamicModel({ seq: 0, hash: '', entry: '' }));
  app
    .db()
    .newQuery(
      `SELECT seq, hash, json_remove(entry, '$.files', '$.engine', '$.log') AS entry
       FROM (SELECT seq, hash, ${READABLE_ENTRY} AS entry FROM ${HISTORY} WHERE seq > {:after} AND seq <= {:to})
       WHERE json_extract(entry, '$.open') = 0 OR json_extract(entry, '$.event') = 'infected-build-deleted' ORDER BY seq`,
    )
    .bind({ after, to })
    .all(rows);
  return rows.flatMap((row) => {
    const event = JSON.parse(String(row['entry'])) as HistoryEvent;
    if (typeof event.build !== 'string' || !closes(event)) return [];
    return [{ kind: 'closed', build: event.build, seq: Number(row['seq']), hash: String(row['hash']) }];
  });
}

/** Those that the history does not hold, by name. */
function missingOf(app: CoreApp, anchors: readonly Anchor[]): Map<string, Anchor> {
  const asked = anchors.filter(({ seq }) => seq > 0);
  const rows = arrayOf(new DynamicModel({ place: 0 }));
  app
    .db()
    .newQuery(
      `SELECT j.key AS place FROM json_each({:anchors}) j
       LEFT JOIN ${HISTORY} h ON h.seq = json_extract(j.value, '$.seq') AND h.hash = json_extract(j.value, '$.hash') WHERE h.seq IS NULL`,
    )
    .bind({ anchors: JSON.stringify(asked.map(({ seq, hash }) => ({ seq, hash }))) })
    .all(rows);
  return new Map(rows.map((row) => asked[Number(row['place'])]!).map((anchor) => [nameOf(anchor), anchor]));
}

function nameOf({ seq, hash }: Anchor): string {
  return `${seq} ${hash}`;
}

function isThere(app: CoreApp, anchor: Anchor): boolean {
  return anchor.seq === 0 || anchorAt(app, anchor.seq)?.hash === anchor.hash;
}

function anchorAt(app: CoreApp, seq: number): Anchor | null {
  const rows = arrayOf(new DynamicModel({ hash: '' }));
  app.db().newQuery(`SELECT hash FROM ${HISTORY} WHERE seq = {:seq}`).bind({ seq }).all(rows);
  return rows[0] ? { seq, hash: String(rows[0]['hash']) } : null;
}

function topOf(app: CoreApp): number {
  const row = new DynamicModel({ seq: 0 });
  app.db().newQuery(`SELECT CAST(COALESCE(MAX(seq), 0) AS INTEGER) AS seq FROM ${HISTORY}`).one(row);
  return Number(row['seq']);
}

/** With the key of the history, so that only who may write one can have builds closed. A hash of the history begins with none of this. */
function seal(): Seal {
  const key = secret('AV_HISTORY_KEY');
  const make = (text: string) => $security.hs256(`journal ${text}`, key);
  // Without the key nothing can be proved, and nothing put on record either: what would have to be closed keeps PocketBase from serving.
  return { make, holds: (text, given) => key === '' || $security.equal(make(text), given) };
}

/** Notes what went wrong; whoever has written something takes the note away. */
function guarded(app: CoreApp, work: () => void): void {
  try {
    work();
  } catch (error) {
    const problem = `The journal of closings in ${journalFolder(app)} cannot be used: ${String(error)}. After a restored backup builds with a later finding might stand open. Mend the folder, or name another by AV_JOURNAL_DIR.`;
    if (app.store().get(PROBLEM) !== problem) app.logger().error(`av: ${problem}`);
    app.store().set(PROBLEM, problem);
  }
}
