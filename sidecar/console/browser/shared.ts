/** What several scripts of the console need. */
import { relative } from '../relative.ts';

/** A charting script draws anew after these: the page was morphed, or its colours have changed. */
export function onRedraw(draw: () => void): void {
  document.addEventListener('pocketwarden:morphed', draw);
  document.addEventListener('pocketwarden:theme', draw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
}

/** The colour of a token, as the browser computes it now: a canvas knows no custom properties. */
export function colourOf(token: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${token})`;
  probe.hidden = true;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** By the server's clock: how much it is ahead of this one, in milliseconds. */
let ahead = 0;

export function learnClock(body: HTMLElement): void {
  const now = Date.parse(body.dataset['now'] ?? '');
  if (!Number.isNaN(now)) ahead = now - Date.now();
}

/** Makes every relative time below `root` true again. */
export function tick(root: ParentNode): void {
  const now = Date.now() + ahead;
  for (const time of root.querySelectorAll<HTMLTimeElement>('time[data-ago]')) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) continue;
    const text = relative(now - at);
    if (time.textContent !== text) time.textContent = text;
  }
}

/** Milliseconds as `40 s` or `3 min`. */
export function forHowLong(ms: number): string {
  return relative(Math.max(2000, ms)).replace(' ago', '');
}
