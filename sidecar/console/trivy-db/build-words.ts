/** Builds of the Trivy DB in words. */

import { html } from 'hono/html';
import type { BuilderState, BuildRecord, Outcome, PhaseRecord } from '../../trivy-db/model.ts';
import { phases } from '../../trivy-db/model.ts';
import type { Html } from '../console-env.ts';
import { counted, duration, when } from '../format.ts';
import type { Word } from '../words.ts';

const outcomeWords = {
  succeeded: { word: 'Succeeded', tone: 'ok', shape: 'ok' },
  failed: { word: 'Failed', tone: 'bad', shape: 'bad' },
  cancelled: { word: 'Stopped', tone: 'idle', shape: 'idle' },
  'timed-out': { word: 'Took too long', tone: 'bad', shape: 'bad' },
  died: { word: 'Died', tone: 'bad', shape: 'bad' },
} as const satisfies Record<Outcome, Word>;

export function outcomeWord({ outcome }: Pick<BuildRecord, 'outcome'>): Word {
  return outcome === null ? { word: 'Running', tone: 'busy', shape: 'busy' } : outcomeWords[outcome];
}

const statusWords = {
  idle: { word: 'Idle', tone: 'ok', shape: 'ok' },
  running: { word: 'Building', tone: 'busy', shape: 'busy' },
  waiting: { word: 'Waiting', tone: 'idle', shape: 'waiting' },
  stale_lock: { word: 'Stale lock', tone: 'warn', shape: 'warn' },
  error: { word: 'Failed', tone: 'bad', shape: 'bad' },
} as const satisfies Record<BuilderState['status'], Word>;

export function statusWord({ status }: Pick<BuilderState, 'status'>): Word {
  return statusWords[status];
}

/** One sentence: what the builder does, and what to do next where there is something to do. */
export function statusSentence(state: BuilderState, hasPublished: boolean): Html | string {
  const { status, running, last, lock } = state;
  if (running !== null) return html`Build ${buildLink(running.id)} runs since ${when(running.startedAt)}: ${phaseSentence(running)}`;
  if (status === 'running' && lock.kind === 'held')
    return html`Process ${lock.holder.pid} on ${lock.holder.host} builds since ${when(lock.holder.since)}.`;
  if (status === 'running' && lock.kind === 'unknown') return html`No build begins: ${lock.why}`;
  if (status === 'waiting')
    return lock.kind === 'free' ? 'A build waits to begin.' : 'A build waits until another process, which holds the lock, has ended.';
  if (status === 'stale_lock')
    return 'A build ended without a word and left its lock. Build again: the next build takes it over. What is published is not affected.';
  if (status === 'error' && last !== null)
    return html`Build ${buildLink(last.id)} did not succeed. ${last.error ?? ''} ${hasPublished ? 'The database before it stays published.' : ''}`;
  if (!hasPublished)
    return 'Nothing is published yet. Build the database; the first build takes the longest, because it fetches every list.';
  if (state.nextScheduledAt === null) return 'Nothing runs. The next build begins when you start it.';
  return html`Nothing runs. The next build begins ${when(state.nextScheduledAt)}, or when you start it.`;
}

function phaseSentence(record: BuildRecord): string {
  const phase = record.phases.at(-1);
  if (phase === undefined) return 'it begins.';
  const share = phase.progress === null || phase.endedAt !== null ? '' : ` ${Math.floor(phase.progress * 100)} %.`;
  return `${phases.indexOf(phase.name) + 1} of ${phases.length}, ${phase.name}.${share}`;
}

export function buildLink(id: string): Html {
  return html`<a class="mono" href="/trivy-db/builds/${id}">${id}</a>`;
}

/** `schedule` is nobody. */
export function whoStarted({ startedBy }: Pick<BuildRecord, 'startedBy'>): string {
  return startedBy === 'schedule' ? 'the schedule' : startedBy;
}

export function took({ startedAt, endedAt }: { readonly startedAt: string; readonly endedAt: string | null }, now = Date.now()): string {
  return duration((endedAt === null ? now : Date.parse(endedAt)) - Date.parse(startedAt));
}

/** How its program ended; empty where none was started, or where it runs. */
export function exitWords({ exitCode, signal, endedAt }: Pick<PhaseRecord, 'exitCode' | 'signal' | 'endedAt'>): string {
  if (endedAt === null) return '';
  if (signal !== null) return `ended by ${signal}`;
  return exitCode === null ? '' : `exit code ${exitCode}`;
}

export function sourcesWords({ sources }: Pick<BuildRecord, 'sources'>): string {
  return sources.length === 0 ? 'all sources' : `${counted(sources.length, 'source')}: ${sources.join(', ')}`;
}
