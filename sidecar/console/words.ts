/** What is stored, as people read it. */
import { html } from 'hono/html';
import { isReason, reasons } from '../../pb_hooks/lib/reasons.ts';
import type { Html } from './console-env.ts';
import { type Shape, shape } from './shapes.ts';

export type Tone = 'ok' | 'warn' | 'bad' | 'idle' | 'busy';

export interface Word {
  readonly word: string;
  readonly tone: Tone;
  readonly shape: Shape;
}

const words = {
  pending: { word: 'Waiting', tone: 'idle', shape: 'waiting' },
  scanning: { word: 'Scanning', tone: 'busy', shape: 'busy' },
  clean: { word: 'Clean', tone: 'ok', shape: 'ok' },
  infected: { word: 'Infected', tone: 'bad', shape: 'infected' },
  unscannable: { word: 'Cannot judge', tone: 'warn', shape: 'unknown' },
  failed: { word: 'Failed', tone: 'bad', shape: 'bad' },
} as const satisfies Record<string, Word>;

/** Of a check, by what is stored. A status that nobody knows is shown as it is. */
export function checkWord(status: string, reason: string): Word {
  if (status === 'error') return isUnscannable(reason) ? words.unscannable : words.failed;
  return Object.hasOwn(words, status) ? words[status as keyof typeof words] : { word: status, tone: 'warn', shape: 'unknown' };
}

/** An honest 'cannot judge' is not a fault. */
export function isUnscannable(reason: string): boolean {
  return reason.startsWith('unscannable:') || reason === 'no-files' || reason === 'probe';
}

/** Meaning and next step of a stored reason; an unknown code is shown as it is. */
export function reasonWords(reason: string): { readonly meaning: string; readonly next: string } {
  if (!isReason(reason)) return { meaning: reason, next: '' };
  const [meaning, next] = reasons[reason];
  return { meaning, next };
}

/** Shape and word together. */
export function stateBadge({ word, tone, shape: name }: Word): Html {
  return html`<span class="state ${tone}">${shape(name)}${word}</span>`;
}
