/**
 * What the journal of closings says, as text: which builds must not be open, each proved by a row of the history that a database has to
 * hold. Where the row is not there, the database is older than the closing. Pure.
 */
import type { HistoryEvent } from './history-entry.ts';

/** A row of the history; seq 0 is the beginning, which every history has. */
export interface Anchor {
  readonly seq: number;
  readonly hash: string;
}

export type Line =
  | ({ readonly kind: 'closed'; readonly build: string } & Anchor)
  /** Every row up to this one was looked at. */
  | ({ readonly kind: 'head' } & Anchor)
  /** Lines of rows up to this one were dropped, being too many. */
  | ({ readonly kind: 'floor' } & Anchor)
  /** What an operator is to be told for a day; `at` in milliseconds. */
  | { readonly kind: 'notice'; readonly at: number; readonly text: string };
export type Notice = Omit<Extract<Line, { kind: 'notice' }>, 'kind'>;

export interface Journal {
  /** By build. */
  readonly closed: Map<string, Anchor>;
  head: Anchor | null;
  floor: Anchor | null;
  notice: Notice | null;
}

/** Proves that a line is ours. */
export interface Seal {
  make(text: string): string;
  holds(text: string, seal: string): boolean;
}

export interface ReadJournal extends Journal {
  lines: number;
  /** Lines that are none of ours; what they said is unknown. */
  damaged: number;
  /** The last line was cut off while it was written. */
  torn: boolean;
}

/** Of these a build is closed, unless they say that it is open. */
const CLOSING: readonly HistoryEvent['event'][] = ['settled', 'failed', 'revoked', 'voided', 'restored'];

/**
 * Whether a database that does not hold this row might have the build open. The first verdict on what was never open closes nothing:
 * an older database has the build waiting, or not at all.
 */
export function closes(event: HistoryEvent): boolean {
  if (event.build === '') return false;
  if (event.event === 'infected-build-deleted') return true;
  if (event.open !== false || !CLOSING.includes(event.event)) return false;
  const isVerdict = event.event === 'settled' || event.event === 'failed';
  return !(isVerdict && event.revision === 1 && event.rescan !== true && event.wasOpen !== true);
}

/** Begins with a line break as well as ending with one, so that what is left of a write that failed spoils no other line. */
export function textOf(lines: readonly Line[], seal: Seal): string {
  return lines.map((line) => lineText(line, seal)).join('');
}

/** The whole journal in as few lines as it takes. */
export function wholeText({ closed, head, floor, notice }: Journal, seal: Seal): string {
  const lines: Line[] = [...closed].map(([build, anchor]) => ({ kind: 'closed', build, ...anchor }));
  if (floor) lines.push({ kind: 'floor', ...floor });
  if (notice) lines.push({ kind: 'notice', ...notice });
  if (head) lines.push({ kind: 'head', ...head });
  return textOf(lines, seal);
}

/** Of several lines about one thing the one of the latest row counts: they are appended after their commits, in any order. */
export function readJournal(text: string, seal: Seal): ReadJournal {
  const journal: ReadJournal = { closed: new Map(), head: null, floor: null, notice: null, lines: 0, damaged: 0, torn: false };
  const lines = text.split('\n');
  const last = lines.pop() ?? '';
  for (const line of lines) if (line !== '') add(journal, line, seal, () => (journal.damaged += 1));
  if (last !== '') add(journal, last, seal, () => (journal.torn = true));
  return journal;
}

/** Drops the oldest beyond `max` and remembers up to where, so that a database older than that is known to be told of incompletely. */
export function trim(journal: Journal, max: number): void {
  const surplus = journal.closed.size - max;
  if (surplus <= 0) return;
  const oldest = [...journal.closed].sort(([, a], [, b]) => a.seq - b.seq).slice(0, surplus);
  for (const [build] of oldest) journal.closed.delete(build);
  journal.floor = later(journal.floor, oldest[surplus - 1]![1]);
}

function lineText(line: Line, seal: Seal): string {
  const text = JSON.stringify(line);
  return `\n${seal.make(text)} ${text}\n`;
}

function add(journal: ReadJournal, text: string, seal: Seal, unreadable: () => void): void {
  journal.lines += 1;
  const line = lineIn(text, seal);
  if (line === null) return void unreadable();
  switch (line.kind) {
    case 'closed':
      return void journal.closed.set(line.build, later(journal.closed.get(line.build) ?? null, anchorIn(line)));
    case 'head':
      journal.head = later(journal.head, anchorIn(line));
      return;
    case 'floor':
      journal.floor = later(journal.floor, anchorIn(line));
      return;
    case 'notice':
      journal.notice = { at: line.at, text: line.text };
      return;
    default:
      return line satisfies never;
  }
}

/** What was sealed is of the shape that it was sealed with. */
function lineIn(text: string, seal: Seal): Line | null {
  const space = text.indexOf(' ');
  const json = text.slice(space + 1);
  if (space < 1 || !seal.holds(json, text.slice(0, space))) return null;
  try {
    return JSON.parse(json) as Line;
  } catch {
    return null;
  }
}

function anchorIn({ seq, hash }: Anchor): Anchor {
  return { seq, hash };
}

function later(a: Anchor | null, b: Anchor): Anchor {
  return a !== null && a.seq > b.seq ? a : b;
}
