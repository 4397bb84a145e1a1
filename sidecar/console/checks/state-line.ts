/** The one line under the state of a check: what it means now, in words for people. */
import { html } from 'hono/html';
import type { HealthAnswer } from '../../../pb_hooks/lib/wire.ts';
import type { Html } from '../console-env.ts';
import { bytes, count, counted, duration, when } from '../format.ts';
import { reasonWords } from '../words.ts';
import { type CheckRow, isJudged } from './check-row.ts';
import { foreignText } from './names.ts';
import type { Progress } from './scans.ts';

export interface Surroundings {
  readonly gate: HealthAnswer['gate'];
  /** Place in the queue, from 1; null where it is far back or nobody knows. */
  readonly position: number | null;
  readonly progress: Progress | null;
  /** From upload to verdict; null where nobody knows. */
  readonly usualMs: number | null;
  readonly now: number;
}

/** For the list, where findings and files have columns of their own. */
export function shortLine(check: CheckRow, around: Surroundings): Html | string {
  if (isJudged(check) && check.isLeased) return html`Being scanned again. ${progressText(around)}`;
  switch (check.status) {
    case 'pending':
      return waitingLine(check, around);
    case 'scanning':
      return progressText(around) || 'A scanner has taken it; its turn comes next.';
    case 'clean':
      return clean(check);
    default:
      return check.release === null
        ? closedLine(around.gate)
        : html`Released by ${foreignText(check.release.by)}, ${when(check.release.at)}.`;
  }
}

/** For the page of one check: whole sentences. */
export function longLine(check: CheckRow, around: Surroundings): Html | string {
  if (!isJudged(check) || check.isLeased) return shortLine(check, around);
  if (check.status === 'clean') return html`${counted(check.files.length, 'file')}, ${clean(check)}`;
  const gate = check.release === null ? closedLine(around.gate) : shortLine(check, around);
  if (check.status !== 'infected') return html`${reasonWords(check.reason).meaning} ${gate}`;
  const found = check.files.find(({ verdict }) => verdict === 'infected');
  const where = found === undefined ? '' : html` in ${foreignText(found.name)}`;
  return html`${foreignText(check.signature, 80)}${where}. ${gate}`;
}

/** What nobody proved clean stays shut, unless the gate itself is not. */
export function closedLine(gate: HealthAnswer['gate']): string {
  if (gate === 'enforce') return 'Nobody can download it.';
  return `It can be downloaded all the same: the gate is ${gate === 'off' ? 'off' : 'in monitor mode'}.`;
}

/** `Next in line`, `Third in line`, `12th in line`. */
export function placeInLine(position: number): string {
  const words = ['Next', 'Second', 'Third'];
  return `${words[position - 1] ?? ordinal(position)} in line`;
}

function ordinal(position: number): string {
  const suffixes: Readonly<Record<Intl.LDMLPluralRule, string>> = { one: 'st', two: 'nd', few: 'rd', other: 'th', zero: 'th', many: 'th' };
  return `${count(position)}${suffixes[new Intl.PluralRules('en', { type: 'ordinal' }).select(position)]}`;
}

function waitingLine(check: CheckRow, { position, usualMs, now }: Surroundings): Html | string {
  if (check.suspect) return 'The engine stopped while it looked at this one, so it is scanned alone.';
  if (check.notBefore !== null && check.notBefore.getTime() > now) {
    return html`${counted(check.attempts, 'failure')} so far; tried again ${when(check.notBefore, now)}.`;
  }
  if (position === null) return 'In line.';
  return usualMs === null ? `${placeInLine(position)}.` : `${placeInLine(position)}, usually ${duration(usualMs)}.`;
}

function progressText({ progress, now }: Surroundings): Html | string {
  if (progress === null) return '';
  const { sentBytes, totalBytes, engine, startedAt } = progress;
  const sent = totalBytes === null ? `${bytes(sentBytes)} sent` : `${bytes(sentBytes)} of ${bytes(totalBytes)}`;
  const since = startedAt === null ? '' : `, for ${duration(now - startedAt.getTime())}`;
  const bar =
    totalBytes === null || totalBytes === 0
      ? ''
      : html`<progress max="${totalBytes}" value="${Math.min(sentBytes, totalBytes)}">${percent(progress)}</progress> `;
  return html`${bar}${sent}${engine === null ? '' : html`, ${foreignText(engine, 40)}`}${since}.`;
}

/** `42 %`, in one piece; empty while the size is not known. */
export function percent({ sentBytes, totalBytes }: Progress): string {
  return totalBytes === null || totalBytes === 0 ? '' : `${Math.min(100, Math.floor((100 * sentBytes) / totalBytes))}\u00a0%`;
}

function clean(check: CheckRow): Html {
  if (check.engine?.signatures === 'test') return html`<strong class="state bad">TEST signatures</strong>: this protects nobody.`;
  const signatures = check.engine === null ? 'no engine named' : `signatures ${count(check.engine.signatures as number)}`;
  return html`${signatures}, ${when(check.scannedAt)}.`;
}

/** Most scans take some milliseconds: `12 ms`, `0.4 s`, `3 min 5 s`. */
export function scanTime(ms: number): string {
  return ms < 95 ? `${Math.round(ms)} ms` : duration(ms);
}
