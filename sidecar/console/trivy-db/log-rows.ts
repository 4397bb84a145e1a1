/** Lines of a log as rows of a page, the same for the first page and for what the browser asks for later. */
import { html, raw } from 'hono/html';
import { count, counted } from '../format.ts';
import { levelOf, lineHtml, PREFIX, shortened } from './log-line.ts';

export interface ShownLine {
  readonly number: number;
  readonly text: string;
  readonly cutBytes: number;
}

/** Begins a stack trace of trivy-db, which nobody reads first: about fifty lines of Go. */
const FOLD_BEGINS = /^\s*Stacktrace:\s*$/;
/** A line of its log with a time, or the last word of the builder, ends it; so does another phase. */
const FOLD_ENDS = /^(?:\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d |(?:TRACE|DEBUG|INFO|WARN|ERROR|FATAL) |The build )/;
/** How far before a range one must read to know whether it begins within a stack trace. */
export const FOLD_CONTEXT = 100;

export interface Rows {
  readonly html: string;
  /** The first row belongs to a stack trace that began before it. */
  readonly startsFolded: boolean;
}

export interface RowOptions {
  readonly base: string;
  readonly target?: number | null;
  readonly isWhole?: boolean;
}

/**
 * Rows for `lines` of the log whose page is at `base`. `before` are the lines just before them, as far as they are known: a stack trace may
 * have begun there. `target` is shown open and marked; with `isWhole` it, or all where there is none, is shown uncut.
 */
export function rowsOf(lines: readonly ShownLine[], before: readonly ShownLine[], options: RowOptions): Rows {
  const parts: string[] = [];
  let trace: Trace | null = before.reduce<Trace | null>((state, line) => traceAfter(state, line.text), null);
  const startsFolded = lines[0] !== undefined && belongsTo(trace, lines[0].text);
  let folded: ShownLine[] = [];
  const close = () => {
    if (folded.length > 0) parts.push(foldHtml(folded, options, parts.length === 0));
    folded = [];
  };
  for (const line of lines) {
    const isFolded = belongsTo(trace, line.text);
    trace = traceAfter(trace, line.text);
    if (!isFolded) close();
    if (isFolded) folded.push(line);
    else parts.push(rowHtml(line, options));
  }
  close();
  return { html: parts.join(''), startsFolded };
}

/** A stack trace that is being written, in this phase. */
interface Trace {
  readonly phase: string;
}

function belongsTo(trace: Trace | null, text: string): boolean {
  const { phase, body } = partsOf(text);
  return trace !== null && trace.phase === phase && !FOLD_ENDS.test(body);
}

function traceAfter(trace: Trace | null, text: string): Trace | null {
  const { phase, body } = partsOf(text);
  if (FOLD_BEGINS.test(body)) return { phase };
  return belongsTo(trace, text) ? trace : null;
}

function partsOf(text: string): { readonly phase: string; readonly body: string } {
  const [prefix = '', , phase = ''] = PREFIX.exec(text) ?? [];
  return { phase, body: text.slice(prefix.length, prefix.length + 64) };
}

function foldHtml(lines: readonly ShownLine[], options: RowOptions, isContinued: boolean): string {
  const isOpen = lines.some(({ number }) => number === options.target);
  const title = `Stack trace${isContinued ? ', continued' : ''}: ${counted(lines.length, 'line')}`;
  const rows = raw(lines.map((line) => rowHtml(line, options)).join(''));
  return html`<details class="log-fold"${isOpen ? raw(' open') : ''}><summary>${title}</summary>${rows}</details>`.toString();
}

function rowHtml(line: ShownLine, { base, target = null, isWhole = false }: RowOptions): string {
  const { number, text } = line;
  const isUncut = isWhole && (target === null || target === number);
  const { shown, hidden } = isUncut ? { shown: text, hidden: 0 } : shortened(text);
  const level = levelOf(shown);
  const classes = `log-row${level === null ? '' : ` log-${level}`}${number === target ? ' log-target' : ''}${isUncut ? ' log-whole' : ''}`;
  const link = html`<a class="log-number" href="${base}?line=${number}#L${number}" tabindex="-1" aria-label="Line ${number}">${number}</a>`;
  const rest = html`${raw(lineHtml(shown))}${moreHtml(line, hidden, base)}`;
  return html`<div class="${classes}" id="L${number}">${link}<span class="log-text">${rest}</span></div>`.toString();
}

function moreHtml({ number, cutBytes }: ShownLine, hidden: number, base: string) {
  const cut = cutBytes > 0 ? html` <span class="log-time">${count(cutBytes)} more bytes were cut off</span>` : '';
  if (hidden === 0) return cut;
  const href = `${base}?line=${number}&whole=1#L${number}`;
  return html` <a class="log-more" href="${href}" data-whole="${number}">show all, ${count(hidden)} more characters</a>${cut}`;
}
