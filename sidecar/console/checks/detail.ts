/** /checks/:id: everything that is known of one check, and what can be done about it. */
import { html } from 'hono/html';
import type { Html } from '../console-env.ts';
import { bytes, count, counted, duration, when } from '../format.ts';
import { checkWord, reasonWords, stateBadge } from '../words.ts';
import type { CheckHistory } from './check-history.ts';
import { type CheckRow, dateOf, type EngineRow, type FileVerdict, isJudged, namesOf, scanMs, totalBytes } from './check-row.ts';
import { decisions, decisionWords, whyNotFit } from './decisions.ts';
import { foreignText, visible } from './names.ts';
import type { RunningScan } from './scanner-api.ts';
import { longLine, percent, type Surroundings, scanTime } from './state-line.ts';
import { openBeforeFinding, timeline } from './timeline.ts';

/** So many files scroll in a frame of their own, so that the timeline stays in reach. */
const LONG_LIST = 20;

export interface DetailView {
  readonly check: CheckRow;
  readonly around: Surroundings;
  /** A sentence instead where it could not be read. */
  readonly history: CheckHistory | string;
  readonly scans: readonly RunningScan[];
  readonly whyNotChange: string | null;
  /** Of PocketBase's own pages for the build. */
  readonly recordHref: string;
  /** Where an open build's file can be had; asked for open builds alone. */
  fileHref(name: string): string;
}

export function detailTitle(check: CheckRow): string {
  const { word } = checkWord(check.status, check.reason);
  const [name] = namesOf(check);
  return `${word}: ${name === undefined ? check.build : visible(name).slice(0, 60)}`;
}

export function detailBody(view: DetailView): Html {
  const { check, around, history } = view;
  const { next } = check.status === 'error' ? reasonWords(check.reason) : { next: nextStep(check) };
  const opened = typeof history !== 'string' && check.status === 'infected' ? openBeforeFinding(history) : null;
  return html`<p><a href="/checks">Checks</a> / <span class="mono">${check.build}</span></p>
<div class="page-head"><h1>${heading(check)}</h1></div>
<p class="lead">${stateBadge(checkWord(check.status, check.reason))}${around.progress === null ? '' : html` <span class="num">${percent(around.progress)}</span>`} ${longLine(check, around)}${opened === null ? '' : ` It had been open for ${duration(opened)} before.`}</p>
${next === '' ? '' : html`<p>${next}</p>`}
${check.release === null ? '' : html`<div class="notice warn"><p>Open because ${releaser(check.release.by)} released it ${when(check.release.at)}: <q>${foreignText(check.release.reason, 500)}</q></p></div>`}
${buttons(view)}
${facts(view)}
<section class="card"><h2>${counted(namesOf(check).length, 'file')}</h2>${files(view)}</section>
<section class="card"><h2>Timeline</h2>${typeof history === 'string' ? html`<p class="notice warn">The history could not be read: ${history}</p>` : timeline(check, history)}</section>
<section class="card"><details class="checks-log"><summary>Log</summary>${check.log === '' ? html`<p class="muted">Nothing has been written yet.</p>` : html`<pre class="mono" tabindex="0">${visible(check.log).replaceAll('[U+000A]', '\n')}</pre>`}</details></section>`;
}

/** A release by `policy:` is what ALLOW_UNSCANNABLE lets through; no person decided about this build. */
function releaser(by: string): Html {
  return by.startsWith('policy:') ? html`ALLOW_UNSCANNABLE (${foreignText(by.slice('policy:'.length), 80)})` : foreignText(by, 80);
}

function heading(check: CheckRow): Html | string {
  const names = namesOf(check);
  if (names[0] === undefined) return 'A build without files';
  return html`${foreignText(names[0], 60)}${names.length > 1 ? html` <span class="muted">+ ${count(names.length - 1)}</span>` : ''}`;
}

function nextStep(check: CheckRow): string {
  if (check.status !== 'infected' || check.release !== null) return '';
  return 'Delete the build and warn its author. If this is a false alarm, release it.';
}

function buttons({ check, around, whyNotChange }: DetailView): Html {
  const each = decisions.map((decision) => ({ decision, why: whyNotChange ?? whyNotFit(decision, check, around.now) }));
  const reasons = [...new Set(each.flatMap(({ why }) => why ?? []))];
  return html`<form method="get" action="/checks/confirm" class="toolbar"><input type="hidden" name="id" value="${check.id}">
${each.map(
  ({ decision, why }) =>
    html`<button class="button" name="do" value="${decision}"${why === null ? '' : html` disabled title="${why}" aria-describedby="why-${reasons.indexOf(why)}"`}>${decisionWords[decision].button}…</button>`,
)}
${reasons.map((why, at) => html`<span class="hidden" id="why-${at}">${why}</span>`)}
</form>${whyNotChange === null ? '' : html`<p class="muted">${whyNotChange}</p>`}`;
}

function facts({ check, around, recordHref }: DetailView): Html {
  const { engine } = check;
  const rows: readonly (readonly [string, Html | string])[] = [
    [
      'Build',
      html`<span class="mono">${check.build}</span> ${check.labels.map((label) => html`· ${foreignText(label, 40)} `)}<a href="${recordHref}" rel="noopener noreferrer">Open in PocketBase</a>`,
    ],
    ['Uploaded', when(dateOf(check.created))],
    ['Downloads', check.open ? 'open' : around.gate === 'enforce' ? 'refused' : `the gate is ${around.gate}: not refused`],
    [
      'Judged',
      check.scannedAt === null
        ? 'not yet'
        : html`${when(check.scannedAt)}${check.files.length === 0 ? '' : `, ${bytes(totalBytes(check))} in ${scanTime(scanMs(check))}`}`,
    ],
    ...(engine === null ? [] : engineFacts(engine)),
    ...(check.attempts > 0
      ? [
          [
            'Failures',
            html`${count(check.attempts)} since the last verdict${check.notBefore === null ? '' : html`, tried again ${when(check.notBefore)}`}`,
          ] as const,
        ]
      : []),
    ...(check.isLeased ? [['Worker', html`${foreignText(check.worker, 60)}`] as const] : []),
    ...(check.rescanAt === null ? [] : [['Next scan', when(check.rescanAt)] as const]),
    ...(check.rescanAt !== null || check.revisitAt === null
      ? []
      : [['Next scan', html`${when(check.revisitAt)}, where there are newer signatures`] as const]),
    ['Check', html`<span class="mono">${check.id}</span>`],
  ];
  return html`<section class="card"><dl class="facts">${rows.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl></section>`;
}

function engineFacts({ name, version, signatures, signaturesAt, limits, canaryAt }: EngineRow): readonly (readonly [string, Html])[] {
  const known =
    signatures === 'test'
      ? html`<strong class="state bad">TEST set: this verdict protects nobody</strong>`
      : html`${count(signatures)}${signaturesAt === null ? '' : html`, of ${when(signaturesAt)}`}`;
  return [
    ['Engine', html`${foreignText(name)}, ClamAV ${foreignText(version, 20)}`],
    ['Signatures', known],
    ...(limits === null ? [] : [['Its limits', html`${bytes(limits.scan)} unpacked, ${count(limits.recursion)} archives deep`] as const]),
    ...(canaryAt === '' ? [] : [['Last proved', html`${when(dateOf(canaryAt))}, by its canaries`] as const]),
  ];
}

function files(view: DetailView): Html {
  const { check } = view;
  if (namesOf(check).length === 0) return html`<p class="empty">The build has no files.</p>`;
  const verdicts = check.files.length > 0 ? check.files : check.fileNames.map((name) => unjudged(name));
  return html`<div class="table-scroll${verdicts.length > LONG_LIST ? ' long' : ''}" tabindex="0" role="region" aria-label="Files"><table>
<thead><tr><th>Verdict</th><th>File</th><th class="num">Size</th><th>SHA-256</th><th class="num">Scan</th></tr></thead>
<tbody>${sorted(verdicts).map((file) => fileRow(file, view))}</tbody></table></div>`;
}

/** What is wrong stands first; otherwise as the build lists them. */
function sorted(verdicts: readonly FileVerdict[]): readonly FileVerdict[] {
  const rank = ({ verdict }: FileVerdict) => (verdict === 'infected' ? 0 : verdict === 'unscannable' ? 1 : 2);
  return [...verdicts].sort((a, b) => rank(a) - rank(b));
}

function unjudged(name: string): FileVerdict {
  return { name, size: 0, sha256: '', verdict: '', ms: 0 };
}

function fileRow(file: FileVerdict, { check, scans, fileHref }: DetailView): Html {
  const scan = scans.find((each) => each.check === check.id && each.file === file.name);
  const isOver = file.verdict !== '';
  const name = foreignText(file.name, 70);
  return html`<tr>
<td data-label="Verdict"><div>${isOver ? verdictOf(file) : scan === undefined ? html`<span class="muted">${isJudged(check) ? 'not judged' : 'not yet'}</span>` : scanBar(scan)}</div></td>
<td data-label="File" class="files-cell"><div>${check.open ? html`<a href="${fileHref(file.name)}" rel="noopener noreferrer">${name}</a>` : name}${detailOf(file)}</div></td>
<td data-label="Size" class="num">${isOver ? bytes(file.size) : '–'}</td>
<td data-label="SHA-256">${file.sha256 === '' ? '–' : html`<a class="mono" href="/checks?q=${file.sha256}" title="${file.sha256}: other builds with this file">${file.sha256.slice(0, 12)}…</a>`}</td>
<td data-label="Scan" class="num">${isOver ? scanTime(file.ms) : '–'}</td>
</tr>`;
}

function verdictOf({ verdict, reason = '' }: FileVerdict): Html {
  return stateBadge(verdict === 'unscannable' ? checkWord('error', 'unscannable:format') : checkWord(verdict, reason));
}

function detailOf(file: FileVerdict): Html | string {
  if (file.signature !== undefined) return html`<div class="mono line">${foreignText(file.signature, 80)}</div>`;
  return file.reason === undefined ? '' : html`<div class="muted line">${reasonWords(file.reason).meaning}</div>`;
}

function scanBar({ sentBytes, totalBytes: total }: RunningScan): Html {
  if (total === null) return html`${bytes(sentBytes)} sent`;
  return html`<progress max="${total}" value="${Math.min(sentBytes, total)}"></progress> ${bytes(sentBytes)} of ${bytes(total)}`;
}
