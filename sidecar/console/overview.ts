/** The first page: is it all right, and what first if not. */
import type { Hono } from 'hono';
import { html } from 'hono/html';
import { z } from 'zod';
import { dateText } from '../../pb_hooks/lib/dates.ts';
import type { HealthMonitor, StoreHealth } from '../pocketbase/health.ts';
import type { Session } from '../pocketbase/session.ts';
import { attentionOf, type Facts, failedOf } from './attention.ts';
import type { Attention, ConsoleEnv, Html, LiveSource, PeerFetch, Section } from './console-env.ts';
import { count, counted, duration, when } from './format.ts';
import { askScanner, type EngineFact, type ScannerFacts } from './scanner-facts.ts';
import { type Shape, shape } from './shapes.ts';
import { checkWord, stateBadge, type Tone } from './words.ts';

/** One line of truth about a part of the product. */
export interface Line {
  readonly name: string;
  readonly href: string | null;
  readonly tone: Tone;
  readonly line: Html | string;
  /** For its tab. */
  readonly tab?: { readonly section: Section; readonly toLookAt: number; readonly isBusy: boolean };
}

export interface OverviewParts {
  readonly health: Pick<HealthMonitor, 'last' | 'why' | 'ask'>;
  readonly session: Pick<Session, 'send'>;
  readonly scanner: PeerFetch | null;
  readonly maxSignatureAgeMs: number;
  /** Of the other parts; each never rejects. */
  readonly attention: readonly (() => Promise<readonly Attention[]>)[];
  readonly lines: readonly (() => Promise<Line>)[];
  readonly now?: () => number;
}

/** Asked of others at most so often, however many pages are shown. */
const FRESH_MS = 1000;
/** What weighs so much stands above every page. */
const BANNER_WEIGHT = 80;
/** No page waits longer than this for a part that hangs. */
const PATIENCE_MS = 1500;
const ASK_TIMEOUT_MS = 5000;
const LATELY_MS = 24 * 3_600_000;
const totals = z.object({ totalItems: z.number() });

export interface Known {
  readonly facts: Facts;
  readonly lines: readonly Line[];
  readonly attention: readonly Attention[];
}

export class Overview {
  readonly #parts: OverviewParts;
  readonly #now: () => number;
  #known: Known | null = null;
  #askedAt = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;

  constructor(parts: OverviewParts) {
    this.#parts = parts;
    this.#now = parts.now ?? Date.now;
  }

  get live(): LiveSource {
    return { topic: 'overview', fingerprint: async () => fingerprintOf(await this.known()) };
  }

  addTo(app: Hono<ConsoleEnv>): void {
    app.get('/', async (c) => {
      const body = pageOf(await this.known());
      return await c.var.show({ title: 'Overview', section: 'overview', live: ['overview'], body });
    });
  }

  /** What is known now. Old by a second at most, unless a part hangs: then it is what was known before. */
  async known(): Promise<Known> {
    if (this.#now() - this.#askedAt >= FRESH_MS) {
      this.#asking ??= this.#ask().finally(() => {
        this.#asking = null;
      });
    }
    if (this.#asking !== null) await inTime(this.#asking, undefined, PATIENCE_MS);
    return this.#known ?? nothingYet;
  }

  async #ask(): Promise<void> {
    this.#askedAt = this.#now();
    const { health, session, scanner, attention, lines, maxSignatureAgeMs } = this.#parts;
    const signal = AbortSignal.timeout(ASK_TIMEOUT_MS);
    const lately = infectedSince(session, this.#now() - LATELY_MS, signal).catch(() => null);
    const [, scannerFacts, infectedLately, others, otherLines] = await Promise.all([
      inTime(health.ask(signal), undefined),
      inTime(askScanner(scanner, signal), { kind: 'silent', why: 'The scanner does not answer.' } as const),
      inTime(lately, null),
      Promise.all(attention.map((each) => inTime(each(), []))),
      Promise.all(lines.map((each) => inTime(each(), null))),
    ]);
    const facts: Facts = { store: { health: health.last, why: health.why }, scanner: scannerFacts, infectedLately, others: others.flat() };
    const now = this.#now();
    this.#known = {
      facts,
      attention: attentionOf(facts, { maxSignatureAgeMs, now }),
      lines: [gateLine(facts), scannerLine(facts, now), ...otherLines.filter((line) => line !== null)],
    };
  }
}

/** The one thing that stands above every page; null when nothing weighs enough. */
export function bannerOf({ attention }: Known): Attention | null {
  const worst = attention[0];
  return worst !== undefined && worst.weight >= BANNER_WEIGHT ? worst : null;
}

const nothingYet: Known = {
  facts: { store: { health: null, why: null }, scanner: { kind: 'none' }, infectedLately: null, others: [] },
  lines: [{ name: 'All parts', href: null, tone: 'idle', line: 'None has answered yet. This page fills itself when they do.' }],
  attention: [],
};

async function infectedSince(session: Pick<Session, 'send'>, since: number, signal: AbortSignal): Promise<number> {
  const filter = `status='infected' && scan_time>='${dateText(since)}'`;
  const query = new URLSearchParams({ filter, perPage: '1', fields: 'id' });
  const answer = await session.send(
    { path: `/api/collections/av_build_checks/records?${query}`, method: 'GET', timeoutMs: ASK_TIMEOUT_MS },
    signal,
  );
  return totals.parse(answer).totalItems;
}

/** Whoever hangs in spite of the signal must not hang this page too. */
async function inTime<T, F>(work: Promise<T>, otherwise: F, ms = ASK_TIMEOUT_MS + 500): Promise<T | F> {
  const late = Promise.withResolvers<F>();
  const timer = setTimeout(() => late.resolve(otherwise), ms);
  return await Promise.race([work, late.promise]).finally(() => clearTimeout(timer));
}

/** Without what ticks by itself: a page is not to be fetched because a second has passed. */
function fingerprintOf({ facts, attention, lines }: Known): string {
  const { health, why } = facts.store;
  const store = health && { ...health, oldestPendingSeconds: Math.round(health.oldestPendingSeconds / 60) };
  const parts = lines.map(({ name, tone }) => [name, tone]);
  return JSON.stringify([
    store,
    why,
    facts.scanner,
    facts.infectedLately,
    attention.map(({ what, next }) => [what.replace(/\d+ s\b/, ''), next]),
    parts,
  ]);
}

function watchWords({ total, policy }: StoreHealth['wouldRefuse']): string {
  const words = `It only watches: it let ${counted(total, 'download')} through that it would have refused.`;
  return policy === '' ? words : `${words} ${policy} would keep open what no engine can judge.`;
}

function gateLine({ store: { health, why } }: Facts): Line {
  const name = 'Gate';
  if (health === null) return { name, href: null, tone: 'bad', line: why ?? 'PocketBase has not answered yet.' };
  if (health.gate === 'monitor')
    return {
      name,
      href: null,
      tone: 'bad',
      line: watchWords(health.wouldRefuse),
    };
  if (health.gate === 'off') return { name, href: null, tone: 'bad', line: 'It is off: every build can be downloaded, scanned or not.' };
  const { pending, scanning, clean, infected, error } = health.counts;
  const closed = pending + scanning + infected + error;
  return { name, href: null, tone: why === null ? 'ok' : 'warn', line: `It enforces: ${gateWords(clean, closed)}` };
}

function gateWords(clean: number, others: number): string {
  if (clean + others === 0) return 'no build has been uploaded yet.';
  if (others === 0) return clean === 1 ? 'the one build is clean and open.' : `all ${count(clean)} builds are clean and open.`;
  const isOpen = `${counted(clean, 'build')} ${clean === 1 ? 'is' : 'are'} clean`;
  return `${isOpen}; ${others === 1 ? '1 other stays' : `${count(others)} others stay`} closed until clean, or until somebody releases ${others === 1 ? 'it' : 'them'}.`;
}

function scannerLine({ store: { health }, scanner }: Facts, now: number): Line {
  const name = 'Scanner';
  const queue = health === null ? html`` : queueWords(health.counts.pending, health.oldestPendingSeconds);
  switch (scanner.kind) {
    case 'none':
      return {
        name,
        href: '/checks',
        tone: 'idle',
        line: html`${queue}This console knows no scanner: set SCANNER_URL to see its engines.`,
      };
    case 'silent':
      return { name, href: '/checks', tone: 'bad', line: html`${queue}${scanner.why}` };
    case 'speaks':
      return {
        name,
        href: '/checks',
        tone: scannerTone(scanner),
        line: html`${queue}${scanner.engines.map((engine, at) => html`${at === 0 ? '' : '; '}${engineWords(engine, now)}`)}.`,
      };
    default:
      return scanner satisfies never;
  }
}

function queueWords(pending: number, oldestSeconds: number): Html {
  if (pending === 0) return html`Nothing waits; `;
  return html`${pending === 1 ? '1 build waits' : `${count(pending)} builds wait`}, oldest ${duration(oldestSeconds * 1000)}; `;
}

function engineWords({ name, ready, why, signatures, signaturesAt }: EngineFact, now: number): Html {
  if (!ready) return html`engine <span class="wrap">${name}</span> <strong class="bad">down</strong>: ${why ?? 'it does not say why'}`;
  const set =
    signatures === 'test'
      ? html`<strong class="bad">TEST signatures</strong>`
      : html`signatures ${signatures === null ? 'unknown' : count(signatures)}`;
  return html`engine <span class="wrap">${name}</span> up, ${set}${signaturesAt === null ? '' : html` of ${when(signaturesAt, now)}`}`;
}

function scannerTone({ engines }: Extract<ScannerFacts, { kind: 'speaks' }>): Tone {
  const ready = engines.filter((each) => each.ready);
  if (ready.length === 0 || ready.some(({ signatures }) => signatures === 'test')) return 'bad';
  return ready.length < engines.length ? 'warn' : 'ok';
}

const shapes: Readonly<Record<Tone, Shape>> = { ok: 'ok', warn: 'warn', bad: 'bad', idle: 'idle', busy: 'busy' };
const toneWords: Readonly<Record<Tone, string>> = {
  ok: 'All right',
  warn: 'Needs a look',
  bad: 'Not all right',
  idle: 'Idle',
  busy: 'At work',
};

function pageOf(known: Known): Html {
  const { facts, attention, lines } = known;
  const banner = bannerOf(known);
  const listed = attention.filter((each) => each !== banner);
  const nothing = banner === null ? 'Nothing needs you now.' : 'Nothing but what stands above.';
  const worst = attention[0]?.tone ?? 'ok';
  const verdict = { ok: 'Everything is all right', warn: 'It works, and something wants a look', bad: 'Something is not all right' }[worst];
  return html`<div class="page-head"><div><h1>Overview</h1><p class="lead">${verdict}.</p></div></div>
<section class="card" aria-labelledby="first"><h2 id="first">What needs attention first</h2>
${listed.length === 0 ? html`<p class="state ${banner === null ? 'ok' : 'idle'}">${shape(banner === null ? 'ok' : 'idle')}${nothing}</p>` : html`<ul class="rows">${listed.map(attentionItem)}</ul>`}</section>
${facts.store.health === null ? '' : countsOf(facts)}
<section class="card" aria-labelledby="parts"><h2 id="parts">Parts</h2><ul class="rows">${lines.map(lineItem)}</ul></section>`;
}

function attentionItem({ tone, what, next, href }: Attention): Html {
  return html`<li><span class="${tone}">${shape(tone)}</span><div><strong>${what}</strong> <span class="muted wrap">${next}</span></div>${href === null ? '' : html`<a href="${href}">Show<span class="hidden">: ${what}</span></a>`}</li>`;
}

function lineItem({ name, href, tone, line }: Line): Html {
  return html`<li><span class="${tone}" title="${toneWords[tone]}">${shape(shapes[tone])}<span class="hidden">${toneWords[tone]}:</span></span><div><strong>${href === null ? name : html`<a href="${href}">${name}</a>`}</strong><br><span class="wrap">${line}</span></div></li>`;
}

function countsOf({ store: { health } }: Facts): Html {
  if (health === null) return html``;
  const { pending, scanning, clean, infected, error } = health.counts;
  const failed = failedOf(health);
  const tiles = [
    ['waiting', 'pending', '', pending],
    ['scanning', 'scanning', '', scanning],
    ['clean', 'clean', '', clean],
    ['infected', 'infected', '', infected],
    ['cannot-judge', 'error', 'unscannable:', error - failed],
    ['failed', 'error', 'failed', failed],
  ] as const;
  return html`<section aria-labelledby="counts"><h2 id="counts" class="hidden">Builds by state</h2><ul class="counts card">${tiles.map(
    ([state, status, reason, number]) =>
      html`<li><a href="/checks?state=${state}"><strong>${count(number)}</strong>${stateBadge(checkWord(status, reason))}</a></li>`,
  )}</ul></section>`;
}
