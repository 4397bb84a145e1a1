/** The log of a build, read from the trivy-db role in bounded parts. */
import type { BuildLogAnswer } from '../../trivy-db/api.ts';
import type { TrivyDbClient } from './client.ts';
import { plain } from './log-line.ts';
import { FOLD_CONTEXT, type Rows, rowsOf, type ShownLine } from './log-rows.ts';

/** Lines of a page that is read without script, and of one answer to the script. */
export const PAGE_LINES = 200;
const MAX_AT_ONCE = 500;
/** An answer has fewer lines where they are long. Of those that are as long as any, these hold a page and what is before it. */
const MAX_ANSWERS = 10;
const SEARCH_AT_ONCE = 1000;
const SEARCH_LINES = 20_000;
const SEARCH_MS = 2000;
const MAX_FOUND = 1000;

/** The page of a build, where its log is too. */
export const logBase = (id: string) => `/trivy-db/builds/${id}`;

export interface LogWindow extends Rows {
  /** Of the rows; 0 and 0 where there are none. */
  readonly from: number;
  readonly to: number;
  /** Lines that the log has by now. */
  readonly total: number;
}

interface Show {
  readonly target?: number | null;
  readonly isWhole?: boolean;
}

/** Rows `from`…`to`, at most 500; null where the log is no longer kept. */
export async function logWindow(client: TrivyDbClient, id: string, from: number, to: number, show: Show = {}): Promise<LogWindow | null> {
  const last = Math.max(from, Math.min(to, from + MAX_AT_ONCE - 1));
  const read: ShownLine[] = [];
  let total = 0;
  let next = Math.max(1, from - FOLD_CONTEXT);
  for (let answers = 0; answers < MAX_ANSWERS && next <= last; answers++) {
    const answer = await client.lines(id, next, last);
    if (answer === null) return null;
    total = answer.total_lines;
    read.push(...answer.lines);
    next = (answer.lines.at(-1)?.number ?? last) + 1;
    if (next > total) break;
  }
  const lines = read.filter(({ number }) => number >= from);
  const before = read.filter(({ number }) => number < from);
  return {
    ...rowsOf(lines, before, { ...show, base: logBase(id) }),
    from: lines[0]?.number ?? 0,
    to: lines.at(-1)?.number ?? 0,
    total,
  };
}

/** Which part of a log is shown on a page: its end, the lines around one, or those before or after one. */
export interface Wanted extends Show {
  readonly before?: number | null;
  readonly after?: number | null;
}

export async function logPage(client: TrivyDbClient, id: string, wanted: Wanted): Promise<LogWindow | null> {
  const first = (await client.lines(id, 1, 1))?.total_lines ?? null;
  if (first === null) return null;
  const target = wanted.target ?? null;
  let from = Math.max(1, first - PAGE_LINES + 1);
  if (target !== null) from = Math.max(1, Math.min(target, first) - PAGE_LINES / 2);
  else if (wanted.after != null) from = wanted.after + 1;
  else if (wanted.before != null) from = Math.max(1, wanted.before - PAGE_LINES);
  const to = wanted.before != null && target === null ? Math.max(1, wanted.before - 1) : from + PAGE_LINES - 1;
  return logWindow(client, id, Math.min(from, Math.max(1, first)), to, wanted);
}

export interface Found {
  readonly lines: readonly ShownLine[];
  /** The first line that was not looked at; null at the end. */
  readonly next: number | null;
  readonly total: number;
}

/** Lines from `from` on that contain `query`, in any case: as many as can be looked at in about two seconds. Null where there is no log. */
export async function searchLog(client: TrivyDbClient, id: string, query: string, from: number): Promise<Found | null> {
  const wanted = query.toLowerCase();
  const lines: ShownLine[] = [];
  const until = performance.now() + SEARCH_MS;
  let next = from;
  let total = 0;
  do {
    const answer: BuildLogAnswer | null = await client.lines(id, next, next + SEARCH_AT_ONCE - 1);
    if (answer === null) return null;
    total = answer.total_lines;
    for (const line of answer.lines) if (plain(line.text).toLowerCase().includes(wanted)) lines.push(line);
    // Lines may be cut away from an answer that would be too large.
    next = (answer.lines.at(-1)?.number ?? total) + 1;
  } while (next <= total && next < from + SEARCH_LINES && lines.length < MAX_FOUND && performance.now() < until);
  return { lines, next: next <= total ? next : null, total };
}
