/** What the overview says of the Trivy DB. */
import { html } from 'hono/html';
import type { Attention, Html } from '../console-env.ts';
import { when } from '../format.ts';
import type { Tone } from '../words.ts';
import { statusWord } from './build-words.ts';
import { PeerFault, type TrivyDbClient } from './client.ts';

const HREF = '/trivy-db';

/** One line of truth. */
export interface Summary {
  readonly tone: Tone;
  readonly line: Html;
  readonly isBusy: boolean;
  readonly toLookAt: number;
}

export async function attentionOf(client: TrivyDbClient, now = Date.now()): Promise<readonly Attention[]> {
  try {
    const { state, published } = await client.builder();
    const all: Attention[] = [];
    const next = published?.metadata ? Date.parse(published.metadata.nextUpdate) : Number.NaN;
    if (state.status === 'stale_lock') {
      all.push({
        weight: 60,
        tone: 'warn',
        what: 'A build of the Trivy DB died and left its lock.',
        next: 'Build again: the next build takes it over.',
        href: HREF,
      });
    }
    if (state.status === 'error') {
      all.push({
        weight: 60,
        tone: 'bad',
        what: 'The last build of the Trivy DB did not succeed.',
        next: state.last?.error ?? 'Its log says why.',
        href: HREF,
      });
    }
    if (next < now && state.running === null) {
      all.push({
        weight: 50,
        tone: 'warn',
        what: 'The Trivy DB is older than its interval.',
        next: 'Build it, or set TRIVY_DB_SCHEDULE.',
        href: HREF,
      });
    }
    return all;
  } catch (thrown) {
    if (!(thrown instanceof PeerFault)) throw thrown;
    return [{ weight: 70, tone: 'bad', what: thrown.message, next: 'Trivy clients cannot load the database until it does.', href: HREF }];
  }
}

export async function summaryOf(client: TrivyDbClient, now = Date.now()): Promise<Summary> {
  try {
    const [{ state, published }, attention] = await Promise.all([client.builder(), attentionOf(client, now)]);
    const { word, tone } = statusWord(state);
    const is = state.running === null ? word : html`${word}: ${state.running.phases.at(-1)?.name ?? 'begins'}`;
    const database = published === null ? 'nothing published yet' : html`published database of ${when(published.builtAt, now)}`;
    const schedule = state.nextScheduledAt === null ? '' : html`, next build ${when(state.nextScheduledAt, now)}`;
    return {
      tone: attention.some((each) => each.tone === 'bad') ? 'bad' : attention.length > 0 ? 'warn' : tone,
      line: html`${is}; ${database}${schedule}.`,
      isBusy: state.running !== null,
      toLookAt: attention.length,
    };
  } catch (thrown) {
    if (!(thrown instanceof PeerFault)) throw thrown;
    return { tone: 'bad', line: html`${thrown.message} First noticed ${when(thrown.since, now)}.`, isBusy: false, toLookAt: 1 };
  }
}
