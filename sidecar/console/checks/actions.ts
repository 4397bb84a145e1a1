/** The page that asks before something is decided, and the one that says what came of it. */
import { html } from 'hono/html';
import { z } from 'zod';
import type { Html } from '../console-env.ts';
import { count, counted } from '../format.ts';
import { checkWord, reasonWords, stateBadge } from '../words.ts';
import type { CheckRow } from './check-row.ts';
import { namesOf } from './check-row.ts';
import { type Decision, decisions, decisionWords, type Order, type OrderResult, whyNotFit } from './decisions.ts';
import { foreignText } from './names.ts';

/** As the hooks ask for it. */
const MIN_REASON = 3;
const MAX_REASON = 500;
export const MAX_AT_ONCE = 100;

const id = z.string().regex(/^[\w-]{1,100}$/);
const selection = z.object({ do: z.enum(decisions), id: z.array(id).max(MAX_AT_ONCE) });
const order = z
  .string()
  .regex(/^[\w-]{1,100}\|[\d :.Z-]{0,40}$/)
  .transform((text): Order => ({ check: text.slice(0, text.indexOf('|')), scanTime: text.slice(text.indexOf('|') + 1) }));
const form = z.object({ do: z.enum(decisions), order: z.array(order).min(1).max(MAX_AT_ONCE) });

export interface Selection {
  readonly decision: Decision;
  readonly ids: readonly string[];
}

/** From the address of the confirmation; null for one that no page of ours makes. */
export function readSelection(params: URLSearchParams): Selection | null {
  const { data } = selection.safeParse({ do: params.get('do'), id: [...new Set(params.getAll('id'))] });
  return data === undefined ? null : { decision: data.do, ids: data.id };
}

/** From the form of the confirmation; null for one that no page of ours makes. */
export function readOrders(
  body: Readonly<Record<string, unknown>>,
): { readonly decision: Decision; readonly orders: readonly Order[]; readonly reason: string } | null {
  const given = body['order'];
  const { data } = form.safeParse({ do: body['do'], order: Array.isArray(given) ? given : [given] });
  const reason = typeof body['reason'] === 'string' ? body['reason'].trim() : '';
  return data === undefined ? null : { decision: data.do, orders: data.order, reason };
}

/** A sentence for a reason that the hooks would refuse; null for a good one. */
export function reasonProblem(reason: string): string | null {
  const { length } = [...reason];
  if (length < MIN_REASON) return 'Say why in at least three characters: the history keeps it with your name.';
  return length > MAX_REASON ? `Say it in at most ${MAX_REASON} characters; these are ${count(length)}.` : null;
}

export interface Confirmation {
  readonly decision: Decision;
  readonly checks: readonly CheckRow[];
  readonly whyNotChange: string | null;
  readonly csrf: Html;
  readonly now: number;
  /** What was typed already, and what is wrong with it. */
  readonly reason?: string;
  readonly problem?: string | null;
}

export function confirmBody({ decision, checks, whyNotChange, csrf, now, reason = '', problem = null }: Confirmation): Html {
  const words = decisionWords[decision];
  const fitting = checks.filter((check) => whyNotFit(decision, check, now) === null);
  const others = checks.filter((check) => !fitting.includes(check));
  const isOne = checks.length === 1;
  const back = isOne ? `/checks/${encodeURIComponent(checks[0]!.id)}` : '/checks';
  return html`<div class="page-head"><h1>${isOne ? words.title : words.titleMany}</h1></div>
${
  fitting.length === 0
    ? html`<p class="notice warn">Nothing can be done here: ${whyNothing(decision, checks, now)}</p><p><a class="button" href="${back}">Back</a></p>`
    : html`
<p class="lead">${words.effect}</p>
${objects(decision, fitting)}
<form method="post" action="/checks/actions" class="card checks-confirm">
${csrf}<input type="hidden" name="do" value="${decision}">
${fitting.map((check) => html`<input type="hidden" name="order" value="${check.id}|${check.scanTime}">`)}
<div class="field"><label for="why">Why?</label>
<input id="why" name="reason" value="${reason}" required minlength="${MIN_REASON}" maxlength="${MAX_REASON}" autocomplete="off" aria-describedby="why-hint${problem === null ? '' : ' why-error'}"${problem === null ? '' : html` aria-invalid="true"`} autofocus>
<span class="hint" id="why-hint">Kept in the history for ever, with your name. ${words.hint}</span>
${problem === null ? '' : html`<span class="error" id="why-error">${problem}</span>`}</div>
<div class="toolbar"><button type="submit" class="button ${decision === 'release' ? 'danger' : 'primary'}"${whyNotChange === null ? '' : html` disabled aria-describedby="why-not"`}>${fitting.length === 1 ? words.button : `${words.buttonMany} (${count(fitting.length)})`}</button>
<a class="button" href="${back}">Cancel</a></div>
${whyNotChange === null ? '' : html`<p id="why-not" class="muted">${whyNotChange}</p>`}
</form>`
}
${others.length === 0 || fitting.length === 0 ? '' : leftOut(decision, others, now)}`;
}

function whyNothing(decision: Decision, checks: readonly CheckRow[], now: number): string {
  const [first, ...rest] = new Set(checks.map((check) => whyNotFit(decision, check, now)));
  if (first === undefined || first === null) return 'select at least one check that still exists.';
  return rest.length === 0 ? first : 'none of the selected checks is in a state that allows it.';
}

function objects(decision: Decision, checks: readonly CheckRow[]): Html {
  const many = checks.length === 1 ? 'This is decided about one build:' : `This is decided about ${counted(checks.length, 'build')}:`;
  return html`<section class="card"><h2>${many}</h2><ul class="objects">${checks.map((check) => html`<li>${object(check, decision)}</li>`)}</ul></section>`;
}

/** The build, its files and what is said of it: whoever decides reads it here once more. */
function object(check: CheckRow, decision: Decision): Html {
  const names = namesOf(check);
  const finding =
    check.status === 'infected'
      ? html`<strong class="mono">${foreignText(check.signature, 100)}</strong> in ${foreignText(check.files.find(({ verdict }) => verdict === 'infected')?.name ?? 'a file', 80)}`
      : check.status === 'error'
        ? html`${reasonWords(check.reason).meaning}`
        : '';
  const released =
    decision === 'revoke' && check.release !== null
      ? html` Released by ${foreignText(check.release.by)}: <q>${foreignText(check.release.reason, 200)}</q>`
      : '';
  return html`<a class="mono" href="/checks/${check.id}">${check.build}</a> ${stateBadge(checkWord(check.status, check.reason))}
<div>${names[0] === undefined ? 'no files' : foreignText(names[0], 60)}${names.length > 1 ? html` <span class="muted">+ ${count(names.length - 1)}</span>` : ''}</div>
<div>${finding}${released}</div>`;
}

function leftOut(decision: Decision, checks: readonly CheckRow[], now: number): Html {
  return html`<section class="card"><h2>Left out</h2><ul class="objects">${checks.map(
    (check) =>
      html`<li><a class="mono" href="/checks/${check.id}">${check.build}</a> ${stateBadge(checkWord(check.status, check.reason))} <span class="muted">${whyNotFit(decision, check, now)}</span></li>`,
  )}</ul></section>`;
}

/** `builds`: the ids of builds by check, where they are still there. */
export function resultBody(decision: Decision, results: readonly OrderResult[], builds: ReadonlyMap<string, string>): Html {
  const words = decisionWords[decision];
  const failed = results.filter(({ outcome }) => outcome === 'refused' || outcome === 'not-tried');
  const done = results.length - failed.length;
  const summary = [done > 0 ? `${count(done)} ${words.done}` : null, failed.length > 0 ? `${count(failed.length)} could not` : null]
    .filter((part) => part !== null)
    .join(', ');
  return html`<div class="page-head"><h1>${summary}</h1></div>
<p class="notice ${failed.length === 0 ? 'ok' : 'bad'}" role="status">${failed.length === 0 ? 'Recorded in the history, with your name and your reason.' : 'Read below why. What was done is recorded in the history.'}</p>
<section class="card"><ul class="objects">${results.map((result) => html`<li><a class="mono" href="/checks/${result.check}">${builds.get(result.check) ?? result.check}</a> ${resultText(result, words.done)}</li>`)}</ul></section>
<p><a class="button" href="/checks">Back to the checks</a></p>`;
}

function resultText(result: OrderResult, done: string): Html | string {
  switch (result.outcome) {
    case 'done':
      return html`<span class="state ok">${done}</span>`;
    case 'was-so':
      return html`<span class="state idle">was so already</span>`;
    case 'refused':
    case 'not-tried':
      return html`<span class="state bad">${result.why}</span>`;
    default:
      return result satisfies never;
  }
}
