/** /checks/rescan: many builds looked at again, by one decision. */
import { html } from 'hono/html';
import { z } from 'zod';
import type { RescanFilter, RescanManyRequest } from '../../../pb_hooks/lib/wire.ts';
import { createHttpFetch } from '../../pocketbase/http-fetch.ts';
import type { Html } from '../console-env.ts';
import { counted } from '../format.ts';

const TIMEOUT_MS = 120_000;

const optional = (schema: z.ZodType<string>) => z.union([z.literal(''), schema]).catch('');
const form = z.object({
  status: optional(z.enum(['clean', 'infected', 'error'])),
  virusName: optional(z.string().trim().max(500)),
  engine: optional(z.string().trim().max(500)),
  signaturesBelow: optional(z.string().regex(/^\d{1,9}$/)),
  since: optional(z.iso.date()),
  until: optional(z.iso.date()),
  all: z.literal('yes').optional().catch(undefined),
  reason: z.string().trim().catch(''),
});
type RescanForm = z.infer<typeof form>;

/** What cannot be read counts as left out. */
export function readRescanForm(body: Readonly<Record<string, unknown>>): RescanForm {
  return form.parse(body);
}

/** Dates are days in UTC. */
export function filterOf({ status, virusName, engine, signaturesBelow, since, until }: RescanForm): RescanFilter {
  const day = (date: string) => `${date}T00:00:00.000Z`;
  return {
    ...(status === '' ? {} : { status: status as NonNullable<RescanFilter['status']> }),
    ...(virusName === '' ? {} : { virusName }),
    ...(engine === '' ? {} : { engine }),
    ...(signaturesBelow === '' ? {} : { signaturesBelow: Number(signaturesBelow) }),
    ...(since === '' ? {} : { since: day(since) }),
    ...(until === '' ? {} : { until: day(until) }),
  };
}

/** Why it cannot be sent as it is; null where it can. */
export function rescanProblem(given: RescanForm): string | null {
  const isEmpty = Object.keys(filterOf(given)).length === 0;
  if (isEmpty && given.all !== 'yes') return 'Say which builds, or tick “All builds”.';
  return isEmpty || given.all !== 'yes' ? null : 'Either all builds, or those with something in common: not both.';
}

interface RescanView {
  readonly given: RescanForm;
  readonly csrf: Html;
  readonly whyNotChange: string | null;
  readonly problem: string | null;
}

export function rescanBody({ given, csrf, whyNotChange, problem }: RescanView): Html {
  const option = (value: string, text: string) =>
    html`<option value="${value}"${given.status === value ? html` selected` : ''}>${text}</option>`;
  const input = (name: keyof RescanForm, label: string, hint: string, type = 'text') =>
    html`<div class="field"><label for="rescan-${name}">${label}</label>
<input id="rescan-${name}" name="${name}" type="${type}" value="${given[name] ?? ''}" autocomplete="off" spellcheck="false"${hint === '' ? '' : html` aria-describedby="rescan-${name}-hint"`}${type === 'number' ? html` min="0" max="999999999"` : ''}>${hint === '' ? '' : html`<span class="hint" id="rescan-${name}-hint">${hint}</span>`}</div>`;
  return html`<div class="page-head"><h1>Scan many builds again</h1></div>
<p class="lead">What is said of them now holds until the new verdict. New uploads always go first, so that nobody waits longer.</p>
${problem === null ? '' : html`<p class="notice bad" role="alert">${problem}</p>`}
<form method="post" action="/checks/rescan" class="card checks-confirm">${csrf}
<fieldset><legend>Builds that are all of this</legend>
<div class="field"><label for="rescan-status">State</label><select id="rescan-status" name="status">${option('', 'Any')}${option('clean', 'Clean')}${option('infected', 'Infected')}${option('error', 'Cannot judge, or failed')}</select></div>
${input('virusName', 'Finding', 'The whole name of the signature.')}
${input('engine', 'Judged by engine', 'Its name, as a check shows it.')}
${input('signaturesBelow', 'Judged by signatures older than number', '', 'number')}
${input('since', 'Scanned on or after', 'A day in UTC.', 'date')}
${input('until', 'Scanned before', 'A day in UTC.', 'date')}
</fieldset>
<div class="field"><label><input type="checkbox" name="all" value="yes"${given.all === 'yes' ? html` checked` : ''}> All builds</label></div>
<div class="field"><label for="rescan-reason">Why?</label>
<input id="rescan-reason" name="reason" value="${given.reason}" required minlength="3" maxlength="500" autocomplete="off" aria-describedby="rescan-reason-hint">
<span class="hint" id="rescan-reason-hint">Kept in the history for ever, with your name. For example: a false alarm was taken out of the signatures.</span></div>
<div class="toolbar"><button type="submit" class="button primary"${whyNotChange === null ? '' : html` disabled aria-describedby="why-not"`}>Scan these builds again</button>
<a class="button" href="/checks">Cancel</a></div>
${whyNotChange === null ? '' : html`<p id="why-not" class="muted">${whyNotChange}</p>`}
</form>`;
}

const answered = z.object({ asked: z.number(), waiting: z.number() });
type RescanAnswer = z.infer<typeof answered>;

export function rescanDone({ asked, waiting }: RescanAnswer): Html {
  const also = waiting === 0 ? '' : ` ${counted(waiting, 'more', 'more')} waited for a scan already.`;
  return html`<div class="page-head"><h1>${counted(asked, 'build')} will be scanned again</h1></div>
<p class="notice ok" role="status">Recorded in the history, with your name and your reason.${also}</p>
<p><a class="button" href="/checks">Back to the checks</a></p>`;
}

const send = createHttpFetch();
const refused = z.object({ message: z.string() });

/** As the operator. Rejects with a sentence for people. */
export async function askForRescans(pocketbaseUrl: string, token: string, given: RescanForm): Promise<RescanAnswer> {
  const request: RescanManyRequest =
    given.all === 'yes' ? { reason: given.reason, all: true } : { reason: given.reason, filter: filterOf(given) };
  const answer = await send(`${pocketbaseUrl.replace(/\/+$/, '')}/api/av/rescan`, {
    method: 'POST',
    headers: { Authorization: token, 'Content-Type': 'application/json' },
    body: JSON.stringify(request),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const body: unknown = await answer.json().catch(() => null);
  if (answer.status === 200) return answered.parse(body);
  if (answer.status === 401) throw new Error('Your login at PocketBase has ended. Log out and log in again.');
  throw new Error(refused.safeParse(body).data?.message || `PocketBase answered ${answer.status}.`);
}
