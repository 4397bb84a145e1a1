/** PocketBase keeps dates as text, "2026-01-02 03:04:05.678Z" in UTC, and '' for none; the rules count in milliseconds, 0 for none. */
export function dateText(ms: number): string {
  return ms === 0 ? '' : new Date(ms).toISOString().replace('T', ' ');
}

/** 0 for an empty or unreadable date. */
export function dateMs(text: string): number {
  return text === '' ? 0 : Date.parse(text.replace(' ', 'T')) || 0;
}
