/** A text cut to its cap; '' for anything that is no text. */
export function text(value: unknown, max: number): string {
  return typeof value === 'string' ? value.slice(0, max) : '';
}
