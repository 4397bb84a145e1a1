/** A text cut to its cap; '' for anything that is no text. */
export function text(value: unknown, max: number): string {
  return typeof value === 'string' ? value.slice(0, max) : '';
}

/** Milliseconds of a moment as ISO 8601 in UTC; NaN for anything else. A bare day or a local time would be another moment elsewhere. */
export function momentOf(value: unknown): number {
  const written = text(value, 40);
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(written) ? Date.parse(written) : Number.NaN;
}
