/** The log of a build on a page: readable as it comes, and taken over by browser/log-view.ts where scripts run. */
import { html, raw } from 'hono/html';
import type { Html } from '../console-env.ts';
import { count, counted } from '../format.ts';
import { rowsOf } from './log-rows.ts';
import { type Found, type LogWindow, logBase } from './log-source.ts';

export interface LogOnPage {
  readonly buildId: string;
  readonly isRunning: boolean;
  /** Null where the log is no longer kept. */
  readonly window: LogWindow | null;
  readonly target: number | null;
  /** What was searched for without script, and what was found. */
  readonly query: string;
  readonly found: Found | null;
}

export function logView({ buildId, isRunning, window, target, query, found }: LogOnPage): Html {
  if (window === null) {
    return html`<p class="empty">The log of this build is no longer kept. TRIVY_DB_KEEP_LOGS says for how many builds it is.</p>`;
  }
  const base = logBase(buildId);
  const running = isRunning ? raw(' data-running') : '';
  return html`<build-log class="log" id="log-${buildId}" data-keep data-log="${base}" data-total="${window.total}"${running}${target === null ? '' : html` data-target="${target}"`}>
<div class="toolbar">
<form class="log-search" method="get" action="${base}" role="search"><input type="search" name="q" value="${query}" maxlength="200" placeholder="Search the whole log" aria-label="Search the log"><button type="submit" class="button">Search</button></form>
<span class="log-found" data-log-part="found" role="status"></span>
<span class="toolbar" data-log-part="step" hidden><button type="button" class="button" aria-label="Line before, with this">↑</button><button type="button" class="button" aria-label="Next line with this">↓</button></span>
<button type="button" class="button" data-log-part="on" hidden>Search further</button>
<span class="toolbar log-tools"><span class="muted" data-log-part="mode"></span>
<button type="button" class="button" data-log-part="wrap" aria-pressed="false" hidden>Wrap lines</button>
<a class="button" href="${base}/log" download>Download the log</a></span>
</div>
<p class="warn" data-log-part="problem" role="status"></p>
<div class="log-frame">
<div class="log-pane" data-log-part="pane" tabindex="0" role="region" aria-label="Log, ${counted(window.total, 'line')}">${rowsOrEmpty(base, window, found, isRunning)}</div>
<button type="button" class="button primary log-new" data-log-part="new" hidden></button>
</div>
<p class="log-pages muted" data-log-part="pages">${found === null ? pages(base, window) : searched(base, query, found)}</p>
</build-log>`;
}

function rowsOrEmpty(base: string, window: LogWindow, found: Found | null, isRunning: boolean): Html {
  if (found !== null) return html`${raw(rowsOf(found.lines, [], { base }).html)}`;
  if (window.html !== '') return html`${raw(window.html)}`;
  return html`<p class="empty">${isRunning ? 'Nothing has been written yet.' : 'Nothing was written to this log.'}</p>`;
}

function pages(base: string, { from, to, total }: LogWindow): Html {
  const older = from > 1 ? html`<a href="${base}?before=${from}#log">Older lines</a>` : '';
  const newer = to < total ? html`<a href="${base}?after=${to}#log">Newer lines</a>` : '';
  return html`Lines ${count(from)} to ${count(to)} of ${count(total)}. ${older} ${newer}`;
}

function searched(base: string, query: string, { lines, next, total }: Found): Html {
  const within = next === null ? `of ${count(total)}` : `in the part that was searched, up to line ${count(next - 1)} of ${count(total)}`;
  const further = next === null ? '' : html`<a href="${base}?q=${encodeURIComponent(query)}&amp;from=${next}#log">Search further</a>`;
  return html`${counted(lines.length, 'line')} ${within} ${lines.length === 1 ? 'has' : 'have'} “${query}”. ${further} <a href="${base}#log">Show the log</a>`;
}
