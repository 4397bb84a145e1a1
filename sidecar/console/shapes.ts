/** Small drawings beside words: a state is never told by colour alone. Hidden from screen readers, which read the word. */
import { html, raw } from 'hono/html';
import type { Html } from './console-env.ts';

const paths = {
  brand:
    '<path d="M8 1 2 3.2v4.3c0 3.6 2.5 6.2 6 7.5 3.5-1.3 6-3.9 6-7.5V3.2z" fill="currentColor"/><path d="m5.3 8 2 2 3.6-4" stroke="var(--surface)" stroke-width="1.6" fill="none"/>',
  ok: '<circle cx="8" cy="8" r="6.2"/><path d="m5.2 8.2 2 2 3.6-4.2"/>',
  bad: '<path d="M8 1.8 14.6 14H1.4z"/><path d="M8 6.3v3.4M8 11.6v.4"/>',
  warn: '<circle cx="8" cy="8" r="6.2"/><path d="M8 4.6v4M8 10.9v.4"/>',
  infected: '<circle cx="8" cy="8" r="6.2"/><path d="m5.6 5.6 4.8 4.8M10.4 5.6l-4.8 4.8"/>',
  waiting: '<circle cx="8" cy="8" r="6.2" stroke-dasharray="2.6 2"/>',
  busy: '<circle cx="8" cy="8" r="6.2" opacity=".3"/><path d="M8 1.8A6.2 6.2 0 0 1 14.2 8"/>',
  idle: '<circle cx="8" cy="8" r="6.2"/><path d="M5 8h6"/>',
  unknown: '<circle cx="8" cy="8" r="6.2"/><path d="M6.3 6.3a1.8 1.8 0 1 1 2.5 1.7c-.6.3-.8.6-.8 1.2M8 11.4v.3"/>',
} as const;

export type Shape = keyof typeof paths;

export function shape(name: Shape): Html {
  return html`<svg class="shape ${name}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">${raw(paths[name])}</svg>`;
}
