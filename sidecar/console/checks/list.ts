/** /checks: the table, its tabs, search, paging and the bar for several checks at once. */
import { html } from 'hono/html';
import type { Html } from '../console-env.ts';
import { bytes, count, duration, when } from '../format.ts';
import { checkWord, reasonWords, stateBadge } from '../words.ts';
import { type CheckQuery, listHref, searchKind, type TabName, tabs } from './check-query.ts';
import { type CheckRow, dateOf, isJudged, namesOf, scanMs, totalBytes } from './check-row.ts';
import type { CheckPage, Overview } from './checks-source.ts';
import { cutInTheMiddle, foreignText, visible } from './names.ts';
import { percent, type Surroundings, scanTime, shortLine } from './state-line.ts';

export interface ListView {
  readonly query: CheckQuery;
  readonly overview: Overview;
  readonly page: CheckPage;
  /** Why the operator may change nothing; null where they may. */
  readonly whyNotChange: string | null;
  around(check: CheckRow): Surroundings;
}

const tabWords: Readonly<Record<TabName, string>> = {
  all: 'All',
  waiting: 'Waiting',
  scanning: 'Scanning',
  clean: 'Clean',
  infected: 'Infected',
  'cannot-judge': 'Cannot judge',
  failed: 'Failed',
};

export function listBody(view: ListView): Html {
  const { query, overview, page } = view;
  return html`<div class="page-head"><h1>Checks</h1><p class="actions"><a class="button" href="/checks/rescan">Scan many again…</a><a class="button" href="/checks/charts">Charts</a></p></div>
${searchForm(view)}
<nav class="filters" aria-label="Checks by state">${tabs.map((tab) => tabLink(tab, query, overview.counts[tab]))}</nav>
${page.rows.length === 0 ? emptyState(view) : table(view)}
${pager(view)}`;
}

function tabLink(tab: TabName, query: CheckQuery, checks: number): Html {
  const isCurrent = tab === query.tab;
  const href = listHref(query, { tab, reason: isCurrent ? query.reason : '' });
  return html`<a href="${href}"${isCurrent ? html` aria-current="page"` : ''}>${tabWords[tab]} <span class="num">${count(checks)}</span></a>`;
}

function searchForm({ query, overview }: ListView): Html {
  const hasReasons = ['all', 'cannot-judge', 'failed'].includes(query.tab) && overview.reasons.length > 0;
  return html`<form class="toolbar checks-search" role="search" method="get" action="/checks">
${query.tab === 'all' ? '' : html`<input type="hidden" name="state" value="${query.tab}">`}
<label class="hidden" for="q">Search checks</label>
<input type="search" id="q" name="q" value="${query.search}" maxlength="200" placeholder="Build, file, SHA-256 or finding" autocomplete="off" spellcheck="false">
${hasReasons ? reasonSelect(query, overview) : ''}
<button type="submit" class="button">Search</button>
${query.search === '' && query.reason === '' ? '' : html`<a class="plain" href="${listHref(query, { search: '', reason: '' })}">Show all</a>`}
</form>`;
}

function reasonSelect(query: CheckQuery, { reasons }: Overview): Html {
  const matching = reasons.filter(([reason]) => query.tab === 'all' || isOfTab(query.tab, reason));
  const known =
    matching.some(([reason]) => reason === query.reason) || query.reason === '' ? matching : [...matching, [query.reason, 0] as const];
  const option = ([reason, checks]: readonly [string, number]) =>
    html`<option value="${reason}"${reason === query.reason ? html` selected` : ''}>${cutInTheMiddle(reasonWords(reason).meaning, 70)} (${count(checks)})</option>`;
  return html`<label class="hidden" for="reason">Reason</label>
<select id="reason" name="reason"><option value="">Any reason</option>${known.map(option)}</select>`;
}

function isOfTab(tab: TabName, reason: string): boolean {
  return (tab === 'cannot-judge') === (checkWord('error', reason).word === checkWord('error', 'unscannable:format').word);
}

function table(view: ListView): Html {
  const { page, whyNotChange } = view;
  return html`<form method="get" action="/checks/confirm" id="selection" class="checks-selection">
${bar(whyNotChange)}
<div class="table-scroll" tabindex="0" role="region" aria-label="Checks">
<table class="checks">
<thead><tr><th class="select"><input type="checkbox" id="select-all" aria-label="Select all on this page" hidden></th><th>State</th><th>Build</th><th>Files</th><th>Finding</th><th class="num">Waited</th><th class="num">Scan</th></tr></thead>
<tbody>${page.rows.map((check) => row(check, view.around(check)))}</tbody>
</table>
</div>
</form>`;
}

/** Without script the buttons stand ready and the next page asks for a selection; with it they wait for one. */
function bar(whyNotChange: string | null): Html {
  const off = whyNotChange === null ? '' : html` disabled aria-describedby="why-not"`;
  return html`<div class="toolbar checks-bar">
<span id="selected" class="muted" role="status">With the selected:</span>
<button class="button" name="do" value="rescan"${off}>Scan again…</button>
<button class="button" name="do" value="release"${off}>Release builds…</button>
<button class="button" name="do" value="revoke"${off}>Close again…</button>
${whyNotChange === null ? '' : html`<span id="why-not" class="muted">${whyNotChange}</span>`}
</div>`;
}

function row(check: CheckRow, around: Surroundings): Html {
  const names = namesOf(check);
  const href = `/checks/${encodeURIComponent(check.id)}`;
  const shownName = names[0] === undefined ? 'no files' : visible(names[0]);
  return html`<tr id="check-${check.id}">
<td class="select"><input type="checkbox" name="id" value="${check.id}" aria-label="Select build ${check.build}, ${cutInTheMiddle(shownName, 60)}"></td>
<td data-label="State" class="state-cell"><div>${stateBadge(checkWord(check.status, check.reason))}${around.progress === null ? '' : html` <span class="num">${percent(around.progress)}</span>`}<div class="muted line">${shortLine(check, around)}</div></div></td>
<td data-label="Build"><div><a class="mono" href="${href}">${check.build}</a><div class="muted line">${check.labels.map((label) => html`${foreignText(label, 20)} · `)}${when(dateOf(check.created))}</div></div></td>
<td data-label="Files" class="files-cell"><div>${filesCell(names, check)}</div></td>
<td data-label="Finding" class="finding-cell">${findingCell(check)}</td>
<td data-label="Waited" class="num">${waited(check, around.now)}</td>
<td data-label="Scan" class="num">${scanCell(check, around)}</td>
</tr>`;
}

function filesCell(names: readonly string[], check: CheckRow): Html | string {
  const [first] = names;
  if (first === undefined) return html`<span class="muted">none</span>`;
  // The one that something is wrong with says more than the first.
  const worst = check.files.find(({ verdict }) => verdict !== 'clean')?.name ?? first;
  const more = names.length === 1 ? '' : html` <span class="muted">+ ${count(names.length - 1)}</span>`;
  const size = check.files.length === 0 ? '' : html`<div class="muted line">${bytes(totalBytes(check))}</div>`;
  return html`${foreignText(worst, 44)}${more}${size}`;
}

function findingCell(check: CheckRow): Html | string {
  if (check.status === 'infected') {
    const others = check.files.filter(({ verdict }) => verdict === 'infected').length - 1;
    return html`<div><span class="mono">${foreignText(check.signature, 36)}</span>${others > 0 ? html` <span class="muted">+ ${count(others)}</span>` : ''}</div>`;
  }
  return check.status === 'error' ? html`<div class="line">${reasonWords(check.reason).meaning}</div>` : '';
}

/** From the upload to the first claim: so far, or as the first line of the log tells. */
function waited(check: CheckRow, now: number): string {
  if (check.status === 'pending') return check.pendingSince === null ? '' : duration(now - check.pendingSince.getTime());
  const told = /claimed after (\d{1,9}) s of waiting/.exec(check.log)?.[1];
  if (told === undefined) return '';
  return told === '0' ? '< 1 s' : duration(Number(told) * 1000);
}

function scanCell(check: CheckRow, { progress, now }: Surroundings): string {
  if (progress?.startedAt) return `${duration(now - progress.startedAt.getTime())}…`;
  return isJudged(check) && check.files.length > 0 ? scanTime(scanMs(check)) : '';
}

function emptyState({ query, overview, page }: ListView): Html {
  if (overview.counts.all === 0) return html`<p class="empty">No build has been uploaded yet. Try <code>npm run demo</code>.</p>`;
  if (page.searchedUntil !== null)
    return html`<p class="empty">Nothing found so far. There are older checks that this search has not looked at.</p>`;
  if (query.from !== null) return html`<p class="empty">There is nothing further. <a href="${listHref(query)}">Show the newest</a>.</p>`;
  if (query.search !== '') {
    const where = searchKind(query.search) === 'sha256' ? 'No file with this SHA-256 has been judged' : 'No build, file or finding matches';
    const elsewhere = query.tab === 'all' ? '' : html` <a href="${listHref(query, { tab: 'all', reason: '' })}">Search all checks</a>.`;
    return html`<p class="empty">${where}: <bdi>${cutInTheMiddle(visible(query.search), 80)}</bdi>.${elsewhere}</p>`;
  }
  return html`<p class="empty">${query.reason === '' ? `No check is in the state ${tabWords[query.tab]}.` : 'No check has this reason.'} <a href="/checks">Show all checks</a>.</p>`;
}

function pager({ query, page }: ListView): Html | string {
  const { older, newer, searchedUntil } = page;
  if (older === null && newer === null && searchedUntil === null) return '';
  const until = searchedUntil === null ? null : dateOf(searchedUntil.created);
  return html`<nav class="pager" aria-label="Pages">
${query.from === null ? '' : html`<a class="button" href="${listHref(query)}">Newest</a>`}
${newer === null ? '' : html`<a class="button" rel="prev" href="${listHref(query, { from: { direction: 'newer', cursor: newer } })}">Newer</a>`}
${older === null ? '' : html`<a class="button" rel="next" href="${listHref(query, { from: { direction: 'older', cursor: older } })}">Older</a>`}
${searchedUntil === null ? '' : html`<span class="muted">Searched back to ${when(until)}.</span> <a class="button" href="${listHref(query, { from: { direction: 'older', cursor: searchedUntil } })}">Search further back</a>`}
</nav>`;
}
