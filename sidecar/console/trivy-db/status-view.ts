/** `/trivy-db`: what the builder does, what is published, and what one can do about either. */
import { html } from 'hono/html';
import type { BuilderAnswer, PublicationSummary } from '../../trivy-db/api.ts';
import type { BuilderState, BuildRecord, LockState } from '../../trivy-db/model.ts';
import type { Html } from '../console-env.ts';
import { bytes, count, exact, when } from '../format.ts';
import { stateBadge } from '../words.ts';
import { buildLink, outcomeWord, statusSentence, statusWord, took, whoStarted } from './build-words.ts';
import { phasesView } from './phases-view.ts';
import type { TrivyCommand } from './trivy-command.ts';

export interface StatusPage {
  readonly builder: BuilderAnswer;
  readonly builds: readonly BuildRecord[];
  /** What `before` of older builds is; null where there are none. */
  readonly older: string | null;
  readonly trivy: TrivyCommand;
  readonly needsLogin: boolean;
  readonly csrf: Html;
  /** What has just been done, or why it was not. */
  readonly notice: Html | null;
  /** Of the running build, else of the last one; null where there is none. */
  readonly log: Html | null;
}

export function statusPage(page: StatusPage): Html {
  const { state, published } = page.builder;
  const shown = shownBuild(state, page.builds);
  return html`<div class="page-head"><h1>Trivy DB</h1><div class="actions">${actions(state, page.csrf)}</div></div>
<p class="lead">${stateBadge(statusWord(state))} ${statusSentence(state, published !== null)}</p>
${page.notice ?? ''}
${shown === null ? '' : phasesView(shown)}
${page.log === null || shown === null ? '' : html`<details id="log"${shown.outcome === null ? html` open` : ''}><summary>Log of ${shown.outcome === null ? 'the running build' : 'the last build'}</summary>${page.log}</details>`}
<div class="cards">
<section class="card" aria-labelledby="published"><h2 id="published">Published database</h2>${publishedFacts(published, page.builds)}</section>
<section class="card" aria-labelledby="lock"><h2 id="lock">Lock and schedule</h2>${lockFacts(state, page.csrf)}</section>
</div>
<section class="card" aria-labelledby="point"><h2 id="point">Scan with this database</h2>${commandView(page.trivy, published !== null, page.needsLogin)}</section>
<section aria-labelledby="builds"><h2 id="builds">Builds</h2>${buildsView(page)}</section>`;
}

/** The one that runs, also in another process; else the last one that ended. */
export function shownBuild({ running, lock, last }: BuilderState, builds: readonly BuildRecord[]): BuildRecord | null {
  const holder = lock.kind === 'held' ? lock.holder.buildId : null;
  return running ?? builds.find(({ id, outcome }) => id === holder && outcome === null) ?? last;
}

function actions(state: BuilderState, csrf: Html): Html {
  const whyNot = whyNoBuild(state);
  const build = html`<form method="post" action="/trivy-db/build" class="inline">${csrf}<button type="submit" class="button primary"${whyNot === null ? '' : html` disabled aria-describedby="no-build"`}>Build database</button></form>`;
  const stop =
    state.running === null
      ? html`<button type="button" class="button" disabled aria-describedby="no-stop">Stop build</button>`
      : html`<details class="confirm"><summary class="button danger">Stop build…</summary><form method="post" action="/trivy-db/cancel">${csrf}<input type="hidden" name="build" value="${state.running.id}"><p>Build <span class="mono">${state.running.id}</span> ends and is lost. What is published stays.</p><button type="submit" class="button danger">Stop build</button></form></details>`;
  return html`${build}${stop}<p class="hint">${whyNot === null ? '' : html`<span id="no-build">${whyNot}</span>`}${state.running === null ? html`<span id="no-stop">${whyNot === null ? 'No build runs that could be stopped.' : ' Stop it where it runs.'}</span>` : ''}</p>`;
}

function whyNoBuild({ running, lock }: BuilderState): string | null {
  if (running !== null) return 'One build at a time: this one first.';
  if (lock.kind === 'held') return `Process ${lock.holder.pid} on ${lock.holder.host} builds at the moment.`;
  if (lock.kind === 'unknown') return 'Nobody here can tell whether the holder of the lock still lives.';
  return null;
}

function publishedFacts(published: PublicationSummary | null, builds: readonly BuildRecord[]): Html {
  if (published === null)
    return html`<p class="empty">Nothing yet. Trivy falls back to its next repository until the first build is published.</p>`;
  const { metadata } = published;
  const rows = builds.find(({ id }) => id === published.buildId)?.rows?.total ?? null;
  return html`<dl class="facts">
<dt>Build</dt><dd>${buildLink(published.buildId)}, built ${when(published.builtAt)}</dd>
<dt>Published</dt><dd>${when(published.publishedAt)}</dd>
<dt>Freshness</dt><dd>${metadata === null ? 'Its metadata cannot be read: build again.' : freshness(metadata.updatedAt, metadata.nextUpdate)}</dd>
<dt>Size</dt><dd>${bytes(published.databaseBytes)}, ${bytes(published.archive.size)} to download${rows === null ? '' : `, ${count(rows)} rows`}</dd>
<dt>Digest</dt><dd class="mono wrap">${published.digest}</dd>
</dl>
<p class="toolbar"><a class="button" href="/trivy-db/download/db" download>Download trivy.db.tar.gz</a><a class="button" href="/trivy-db/download/metadata" download>Download metadata.json</a></p>`;
}

function freshness(updatedAt: string, nextUpdate: string): Html {
  const next = new Date(nextUpdate);
  if (Number.isNaN(next.getTime())) return html`Updated ${when(updatedAt)}.`;
  if (next.getTime() < Date.now())
    return html`Updated ${when(updatedAt)}. <span class="state warn">Trivy clients consider it old since ${when(next)}</span>: build again.`;
  return html`Updated ${when(updatedAt)}. Trivy clients consider it new until <span title="${exact(next)}">${exact(next).slice(0, 16)} UTC</span> (${when(next)}).`;
}

function lockFacts(state: BuilderState, csrf: Html): Html {
  return html`<dl class="facts">
<dt>Lock</dt><dd>${lockWords(state.lock)}</dd>
<dt>Next build</dt><dd>${state.nextScheduledAt === null ? html`Only when started. Set TRIVY_DB_SCHEDULE to build by itself.` : html`${when(state.nextScheduledAt)}, by schedule`}</dd>
<dt>Last build</dt><dd>${lastWords(state.last)}</dd>
</dl>
${clearLock(state.lock, csrf)}`;
}

function lockWords(lock: LockState): Html {
  if (lock.kind === 'free') return html`Free`;
  const { holder } = lock;
  const who =
    holder === null
      ? ''
      : html`process <span class="num">${holder.pid}</span> on <span class="wrap">${holder.host}</span> since ${when(holder.since)}`;
  if (lock.kind === 'held') return html`Held by ${who}`;
  if (lock.kind === 'stale') return html`<span class="state warn">Stale</span>: left by ${who}, which is gone`;
  return html`${holder === null ? 'Held by somebody unknown' : html`Held by ${who}, perhaps`}. ${lock.kind === 'unknown' ? lock.why : ''}`;
}

function lastWords(last: BuildRecord | null): Html {
  if (last === null) return html`None yet`;
  return html`${stateBadge(outcomeWord(last))} ${when(last.endedAt ?? last.startedAt)}, by ${whoStarted(last)}`;
}

const keepsLock = {
  free: 'There is no lock to clear.',
  held: 'Its holder lives. A lock in use is never cleared: stop the build instead.',
} as const;

function clearLock(lock: LockState, csrf: Html): Html {
  if (lock.kind === 'stale') {
    return html`<form method="post" action="/trivy-db/clear-lock" class="inline">${csrf}<button type="submit" class="button">Clear stale lock</button></form>`;
  }
  if (lock.kind === 'unknown') {
    return html`<details class="confirm"><summary class="button">Clear this lock…</summary><form method="post" action="/trivy-db/clear-lock">${csrf}<p>Nobody here can tell whether its holder still builds. Look there first: two builds at once would spoil each other.</p><button type="submit" class="button danger">Clear this lock</button></form></details>`;
  }
  return html`<p class="toolbar"><button type="button" class="button" disabled aria-describedby="no-clear">Clear stale lock</button><span class="hint" id="no-clear">${keepsLock[lock.kind]}</span></p>`;
}

function commandView(trivy: TrivyCommand, isPublished: boolean, needsLogin: boolean): Html {
  const why = {
    tls: 'Trivy reaches this address by TLS; nothing more is needed.',
    plain: 'Trivy speaks plain HTTP to local and private addresses by itself, so --insecure is not needed.',
    'plain-insecure':
      'Trivy refuses plain HTTP to this address, so the command says --insecure. Better: put TLS in front and set PUBLIC_URL to its https address.',
  }[trivy.transport];
  return html`<copy-command class="toolbar copy" id="copy" data-keep><pre class="command" tabindex="0" aria-label="Command line">${trivy.command}</pre><button type="button" class="button" hidden>Copy</button></copy-command>
<ul class="notes"><li>${why}</li>
${trivy.isGuess ? html`<li>The address is the one that your browser uses. If other machines reach the registry elsewhere, set PUBLIC_URL.</li>` : ''}
${needsLogin ? html`<li>The registry has a password: give Trivy TRIVY_DB_REGISTRY_USERNAME and TRIVY_DB_REGISTRY_PASSWORD of this role as TRIVY_USERNAME and TRIVY_PASSWORD.</li>` : ''}
${isPublished ? '' : html`<li>Until the first build is published the registry answers 503, and Trivy takes its next repository.</li>`}
<li>Everywhere at once: <code class="wrap">TRIVY_DB_REPOSITORY=${trivy.repository}</code></li></ul>`;
}

function buildsView({ builds, older, builder, csrf }: StatusPage): Html {
  if (builds.length === 0) return html`<p class="empty">No build yet. Press <b>Build database</b>.</p>`;
  const publishedId = builder.published?.buildId ?? null;
  return html`<build-history class="chart" id="history" data-history="/trivy-db/history" data-keep role="img" aria-label="Duration and size of builds; the table has the same numbers" hidden></build-history>
<div class="table-scroll" data-newest="${builds.find(({ endedAt }) => endedAt !== null)?.id ?? ''}"><table><thead><tr><th scope="col">Outcome</th><th scope="col">Build</th><th scope="col">Began</th><th scope="col" class="num">Duration</th><th scope="col" class="num">Database</th><th scope="col" class="num">Archive</th><th scope="col" class="num">Rows</th><th scope="col">Published</th></tr></thead>
<tbody>${builds.map((build) => buildRow(build, publishedId, builder.state, csrf))}</tbody></table></div>
${older === null ? '' : html`<p class="pager"><a href="/trivy-db?before=${older}#builds">Older builds</a></p>`}`;
}

function buildRow(build: BuildRecord, publishedId: string | null, state: BuilderState, csrf: Html): Html {
  return html`<tr><td data-label="Outcome">${stateBadge(outcomeWord(build))}</td><td data-label="Build">${buildLink(build.id)}</td><td data-label="Began" class="grow"><span>${when(build.startedAt)}, by ${whoStarted(build)}</span></td><td data-label="Duration" class="num">${took(build)}</td><td data-label="Database" class="num">${build.databaseBytes === null ? '' : bytes(build.databaseBytes)}</td><td data-label="Archive" class="num">${build.archiveBytes === null ? '' : bytes(build.archiveBytes)}</td><td data-label="Rows" class="num">${build.rows === null ? '' : count(build.rows.total)}</td><td data-label="Published">${publishing(build, publishedId, state, csrf)}</td></tr>`;
}

/** Rolling back: any kept build but the published one. */
export function publishing(build: BuildRecord, publishedId: string | null, state: BuilderState, csrf: Html): Html {
  if (build.id === publishedId) return html`<span class="state ok">Published now</span>`;
  if (!build.isKept) return build.outcome === 'succeeded' ? html`<span class="muted">No longer kept</span>` : html``;
  if (state.running !== null)
    return html`<button type="button" class="button" disabled title="A build runs: publish when it has ended.">Publish this build</button>`;
  return html`<details class="confirm"><summary class="button">Publish this build…</summary><form method="post" action="/trivy-db/builds/${build.id}/publish">${csrf}<p>Trivy clients get build <span class="mono">${build.id}</span> from now on${publishedId === null ? '' : html`, instead of <span class="mono">${publishedId}</span>`}. Nothing is deleted.</p><button type="submit" class="button primary">Publish this build</button></form></details>`;
}
