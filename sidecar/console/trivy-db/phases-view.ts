/** The five phases of a build as a row of steps. */
import { html } from 'hono/html';
import { type BuildRecord, type PhaseRecord, phases } from '../../trivy-db/model.ts';
import type { Html } from '../console-env.ts';
import { exact } from '../format.ts';
import { type Shape, shape } from '../shapes.ts';
import { exitWords, took } from './build-words.ts';

const says = {
  fetch: 'Brings the vulnerability lists',
  build: 'Runs trivy-db over them',
  compact: 'Takes the air out of the database',
  compress: 'Packs the archive that Trivy loads',
  publish: 'Proves it, then puts it in place of the old one',
} as const;

export function phasesView(record: BuildRecord): Html {
  return html`<ol class="phases" aria-label="Phases of build ${record.id}">${phases.map((name) => step(name, record))}</ol>`;
}

type Step = 'done' | 'now' | 'failed' | 'later' | 'skipped';

const shapes: Readonly<Record<Step, Shape>> = { done: 'ok', now: 'busy', failed: 'bad', later: 'waiting', skipped: 'idle' };
const tones: Readonly<Record<Step, string>> = { done: 'ok', now: 'busy', failed: 'bad', later: 'idle', skipped: 'idle' };
const words: Readonly<Record<Step, string>> = {
  done: 'done',
  now: 'runs',
  failed: 'did not succeed',
  later: 'to come',
  skipped: 'not reached',
};

function step(name: PhaseRecord['name'], record: BuildRecord): Html {
  const phase = record.phases.findLast((each) => each.name === name) ?? null;
  const is = stepOf(phase, record);
  return html`<li class="phase ${is}"${is === 'now' ? html` aria-current="step"` : ''}><p class="phase-name"><span class="state ${tones[is]}">${shape(shapes[is])}${name}</span><span class="hidden"> ${words[is]}</span>${
    phase === null
      ? ''
      : html`<span class="num muted" title="${exact(new Date(phase.startedAt))} to ${phase.endedAt === null ? 'now' : exact(new Date(phase.endedAt))}">${took(phase)}</span>`
  }</p>${is === 'now' ? progressBar(phase!) : ''}<p class="phase-detail muted">${detailOf(name, phase)}</p></li>`;
}

function stepOf(phase: PhaseRecord | null, record: BuildRecord): Step {
  if (phase === null) return record.outcome === null ? 'later' : 'skipped';
  if (phase.endedAt === null) return record.outcome === null ? 'now' : 'failed';
  const isLast = record.phases.at(-1) === phase;
  const isBad = phase.signal !== null || (phase.exitCode !== null && phase.exitCode !== 0);
  return isBad || (isLast && record.outcome !== null && record.outcome !== 'succeeded') ? 'failed' : 'done';
}

function progressBar({ name, progress }: PhaseRecord): Html {
  return progress === null
    ? html`<progress aria-label="${name}"></progress>`
    : html`<progress aria-label="${name}" max="1" value="${progress}"></progress>`;
}

function detailOf(name: PhaseRecord['name'], phase: PhaseRecord | null): Html {
  if (phase === null) return html`${says[name]}`;
  const exit = exitWords(phase);
  return html`<span class="wrap">${phase.detail}</span>${exit === '' || exit === 'exit code 0' || phase.detail.includes(exit) ? '' : html` <span>${exit}</span>`}`;
}
