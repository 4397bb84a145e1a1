/** `/trivy-db/builds/{id}`: the record of one build and its log. */
import { html } from 'hono/html';
import type { BuilderAnswer } from '../../trivy-db/api.ts';
import type { BuildRecord, PhaseRecord } from '../../trivy-db/model.ts';
import type { Html } from '../console-env.ts';
import { bytes, count, counted, when } from '../format.ts';
import { stateBadge } from '../words.ts';
import { exitWords, outcomeWord, sourcesWords, took, whoStarted } from './build-words.ts';
import { plain } from './log-line.ts';
import { phasesView } from './phases-view.ts';
import { publishing } from './status-view.ts';

const TOP_SOURCES = 8;

export interface BuildPage {
  readonly build: BuildRecord;
  readonly builder: BuilderAnswer;
  readonly csrf: Html;
  readonly notice: Html | null;
  readonly log: Html;
}

export function buildPage({ build, builder, csrf, notice, log }: BuildPage): Html {
  const published = builder.published?.buildId ?? null;
  return html`<p class="back"><a href="/trivy-db">Trivy DB</a></p>
<div class="page-head"><h1>Build <span class="mono wrap">${build.id}</span></h1><div class="actions">${publishing(build, published, builder.state, csrf)}</div></div>
${notice ?? ''}
<p class="lead">${stateBadge(outcomeWord(build))} Started by ${whoStarted(build)} ${when(build.startedAt)}; ${build.endedAt === null ? 'runs for' : 'took'} ${took(build)}.</p>
${build.error === null ? '' : html`<p class="notice bad" role="status">${build.error}</p>${lastLines(build)}`}
${phasesView(build)}
<div class="cards">
<section class="card" aria-labelledby="record"><h2 id="record">Record</h2>${facts(build)}</section>
<section class="card" aria-labelledby="rows"><h2 id="rows">Rows by source</h2>${rowsBySource(build.rows)}</section>
</div>
<section aria-labelledby="phases"><h2 id="phases">Phases</h2>${phaseTable(build.phases)}</section>
<section aria-labelledby="log"><h2 id="log">Log</h2>${log}</section>`;
}

function lastLines({ lastLines }: BuildRecord): Html {
  if (lastLines.length === 0) return html``;
  return html`<details><summary>Its last ${counted(lastLines.length, 'line')}</summary><pre class="command">${lastLines.map(plain).join('\n')}</pre></details>`;
}

function facts(build: BuildRecord): Html {
  const ended = exitWords({ ...build, endedAt: build.endedAt });
  return html`<dl class="facts">
<dt>Sources</dt><dd class="wrap">${sourcesWords(build)}</dd>
<dt>Began</dt><dd>${when(build.startedAt)}</dd>
<dt>Ended</dt><dd>${build.endedAt === null ? 'It runs' : when(build.endedAt)}${ended === '' ? '' : `, ${ended}`}</dd>
<dt>Database</dt><dd>${build.databaseBytes === null ? '–' : bytes(build.databaseBytes)}</dd>
<dt>Archive</dt><dd>${build.archiveBytes === null ? '–' : bytes(build.archiveBytes)}${build.isKept ? ', kept to roll back to' : ''}</dd>
<dt>Published</dt><dd>${build.publishedAt.length === 0 ? 'Never' : build.publishedAt.map((at, index) => html`${index === 0 ? '' : ', '}${when(at)}`)}</dd>
<dt>Digest</dt><dd class="mono wrap">${build.digest ?? '–'}</dd>
</dl>`;
}

function rowsBySource(rows: BuildRecord['rows']): Html {
  if (rows === null) return html`<p class="empty">They are counted once the database is built.</p>`;
  const sources = Object.entries(rows.bySource).sort(([, a], [, b]) => b - a);
  const rest = sources.slice(TOP_SOURCES);
  return html`<p><b class="num">${count(rows.total)}</b> in all</p>${sourceTable(sources.slice(0, TOP_SOURCES), rows.total)}
${rest.length === 0 ? '' : html`<details><summary>${counted(rest.length, 'more source')}</summary>${sourceTable(rest, rows.total)}</details>`}`;
}

function sourceTable(sources: readonly (readonly [string, number])[], total: number): Html {
  return html`<table class="sources"><thead class="hidden"><tr><th scope="col">Source</th><th scope="col">Rows</th><th scope="col">Share</th></tr></thead><tbody>${sources.map(
    ([name, rows]) =>
      html`<tr><td class="wrap">${name}</td><td class="num">${count(rows)}</td><td><progress max="${Math.max(1, total)}" value="${rows}" aria-label="Share of ${name}"></progress></td></tr>`,
  )}</tbody></table>`;
}

function phaseTable(phases: readonly PhaseRecord[]): Html {
  if (phases.length === 0) return html`<p class="empty">No phase has begun.</p>`;
  return html`<div class="table-scroll"><table><thead><tr><th scope="col">Phase</th><th scope="col">Began</th><th scope="col">Ended</th><th scope="col" class="num">Duration</th><th scope="col">Exit</th><th scope="col">What it did</th></tr></thead><tbody>${phases.map(
    (phase) =>
      html`<tr><td data-label="Phase">${phase.name}</td><td data-label="Began">${clock(phase.startedAt)}</td><td data-label="Ended">${phase.endedAt === null ? 'runs' : clock(phase.endedAt)}</td><td data-label="Duration" class="num">${took(phase)}</td><td data-label="Exit">${phase.signal ?? phase.exitCode ?? ''}</td><td data-label="What it did" class="wrap grow">${phase.detail}</td></tr>`,
  )}</tbody></table></div>`;
}

function clock(at: string): Html {
  return html`<span title="${at}">${at.slice(11, 19)} UTC</span>`;
}
