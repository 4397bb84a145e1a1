/** Times, sizes, durations and numbers, as the console writes them. */
import { html } from 'hono/html';
import type { Html } from './console-env.ts';
import { relative } from './relative.ts';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Binary units with two or three figures: `212 MiB`, `1.4 GiB`. */
export function bytes(value: number): string {
  let rest = Math.max(0, value);
  let unit = 0;
  while (rest >= 1023.5 && unit < UNITS.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  const shown = unit === 0 || rest >= 9.95 ? Math.round(rest).toString() : rest.toFixed(1);
  return `${shown} ${UNITS[unit]}`;
}

/** Milliseconds with at most two figures: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return pair(Math.floor(whole / 60), 'min', whole % 60, 's');
  const minutes = Math.floor(whole / 60);
  if (minutes < 2880) return pair(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
  const hours = Math.floor(minutes / 60);
  return pair(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** With commas: `48,210`. */
export function count(value: number): string {
  return value.toLocaleString('en-US');
}

/** `1 build`, `12 builds`. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A relative time that ticks, with the exact UTC time as its title. What is no time is shown as it is, never as a wrong time. */
export function when(at: string | Date | null, now = Date.now()): Html | string {
  if (at === null || at === '') return '–';
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  return html`<time datetime="${date.toISOString()}" title="${exact(date)}" data-ago>${relative(now - date.getTime())}</time>`;
}

/** `2026-11-21 16:08:12 UTC`. */
export function exact(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
