/** The life of a check, from the history: what happened, when, who decided it and why. */
import { html } from 'hono/html';
import type { Html } from '../console-env.ts';
import { count, duration, when } from '../format.ts';
import { checkWord, reasonWords, stateBadge } from '../words.ts';
import type { CheckHistory, HistoryEntry } from './check-history.ts';
import { type CheckRow, dateOf } from './check-row.ts';
import { foreignText } from './names.ts';
import { scanTime } from './state-line.ts';

export function timeline(check: CheckRow, history: CheckHistory): Html {
  const opened = openTimes(history.entries);
  const items = history.entries.map(
    (entry) => html`<li>${when(entry.date)} ${eventText(entry)}${openedText(opened.get(entry.seq), entry.downloads)}</li>`,
  );
  const rest = history.isComplete
    ? html`<li>${when(dateOf(check.created))} ${isMadeAnew(check, history) ? 'This check was made anew.' : 'Uploaded.'}</li>`
    : html`<li class="muted">Older entries were not looked at. <a href="/checks/${check.id}?history=whole">Look through the whole history</a></li>`;
  return html`<ol class="timeline">${items.reverse()}${rest}</ol>`;
}

/** Somebody deleted the row of the check, and the sweep made another: it is younger than what the history tells of its build. */
function isMadeAnew(check: CheckRow, { entries }: CheckHistory): boolean {
  const created = dateOf(check.created);
  return check.revision > 1 && created !== null && entries.some(({ date }) => date !== null && date < created);
}

/** How long it had been open when something was found in it, in milliseconds; null where it never was, or nobody knows. */
export function openBeforeFinding(history: CheckHistory): number | null {
  return [...openTimes(history.entries).values()].at(-1) ?? null;
}

/** By the number of the entry that shut it. */
function openTimes(entries: readonly HistoryEntry[]): ReadonlyMap<number, number> {
  const times = new Map<number, number>();
  let since: Date | null = null;
  for (const { seq, open, date, event, openSeconds } of entries) {
    if (open === true) since ??= date;
    if (open === false) {
      if (openSeconds !== null) times.set(seq, openSeconds * 1000);
      else if (since !== null && date !== null && event === 'settled') times.set(seq, date.getTime() - since.getTime());
      since = null;
    }
  }
  return times;
}

function openedText(ms: number | undefined, downloads: number | null): string {
  if (ms === undefined) return '';
  const often =
    downloads === null ? '' : downloads === 0 ? ', and nobody had downloaded it' : `, and downloaded about ${timesText(downloads)}`;
  return ` It had been open for ${duration(ms)}${often}.`;
}

const timesText = (times: number) => (times === 1 ? 'once' : `${count(times)} times`);

function eventText(entry: HistoryEntry): Html {
  switch (entry.event) {
    case 'settled':
      return settledText(entry);
    case 'failed':
      return html`${stateBadge(checkWord('error', 'unexpected'))} ${entry.rescan ? 'Another scan failed; what was said before stands. ' : ''}${reasonWords(entry.reason).meaning}`;
    case 'released':
      return html`<strong>Released</strong> by ${decider(entry)}`;
    case 'revoked':
      return html`<strong>Closed again</strong> by ${decider(entry)}`;
    case 'rescan-requested':
      return html`<strong>Another scan asked for</strong> by ${decider(entry)}`;
    case 'imported':
      return html`Taken over from an older installation as ${foreignText(entry.status)}.`;
    case 'voided':
      return html`<strong>The verdict does not count</strong>: engine ${foreignText(entry.engine?.name ?? '', 60)} was found to lie. It is scanned again. ${decider(entry)}`;
    case 'restored':
      return html`<strong>Closed after an older database was restored</strong>: something was found in it later. It is scanned again. ${foreignText(entry.note, 300)}`;
    case 'would-refuse':
      return html`A download was let through that the gate would have refused: it was in monitor mode.`;
    default:
      return html`${foreignText(entry.event)}`;
  }
}

function decider({ by, note }: HistoryEntry): Html {
  const who = by.startsWith('policy:') ? html`the policy for ${foreignText(by.slice('policy:'.length), 80)}` : foreignText(by, 80);
  return html`${who}: <q>${foreignText(note, 500)}</q>`;
}

function settledText(entry: HistoryEntry): Html {
  const { status, reason, virusName, engine, waited, rescan, open } = entry;
  const finding =
    status === 'infected'
      ? html` <span class="mono">${foreignText(virusName, 80)}</span>`
      : status === 'error'
        ? html` ${reasonWords(reason).meaning}`
        : '';
  const after = rescan ? 'On another scan' : waited === null ? 'Judged' : `${scanTime(waited * 1000)} after the upload`;
  const by = engine === null ? '' : html` by ${foreignText(engine.name, 40)}${signaturesText(engine.signatures)}`;
  const gate = open === true ? (status === 'clean' ? ' Open from here.' : ' It stays released.') : '';
  return html`${stateBadge(checkWord(status, reason))}${finding}<div class="muted line">${after}${by}.${gate}</div>`;
}

function signaturesText(signatures: number | 'test' | null): string {
  if (signatures === null) return '';
  return signatures === 'test' ? ' with TEST signatures' : ` with signatures ${count(signatures)}`;
}
