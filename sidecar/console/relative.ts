/** The words of a relative time: the same on the server and in the browser, which keeps them true. Imports nothing. */

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

/** Of milliseconds ago, negative for the future: `just now`, `40 s ago`, `in 3 h`, `5 days ago`. */
export function relative(ms: number): string {
  const seconds = Math.abs(ms) / 1000;
  if (seconds < 1.5) return 'just now';
  const shown = awayFor(seconds);
  return ms < 0 ? `in ${shown}` : `${shown} ago`;
}

function awayFor(seconds: number): string {
  if (seconds < MINUTE - 0.5) return `${Math.round(seconds)} s`;
  if (seconds < HOUR - 30) return `${Math.round(seconds / MINUTE)} min`;
  if (seconds < 2 * DAY) return `${Math.round(seconds / HOUR)} h`;
  return `${Math.round(seconds / DAY)} days`;
}
