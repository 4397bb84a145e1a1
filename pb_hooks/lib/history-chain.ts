/** The rule of the chain, for whoever verifies it: hooks on a running database, `npm run history:verify` on a copy. Pure. */

export type Fault = { readonly seq: number; readonly why: 'changed' | 'missing' | 'inserted' };

/** What a row's hash is the HMAC of: the hash of the row before and the text of its entry, byte for byte. */
export function chainText(before: string, entry: string): string {
  return before + entry;
}

/** Where the number of a row puts it after `last`, in the order of numbers; null where it comes next. */
export function misplaced(seq: number, last: number): Fault | null {
  const expected = last + 1;
  if (seq > expected) return { seq: expected, why: 'missing' };
  return seq === expected ? null : { seq: Number.isFinite(seq) ? seq : expected, why: 'inserted' };
}

/** The column is no part of the hash, but charts and searches go by it. */
export function hasItsTime(entry: string, created: string): boolean {
  return entry.startsWith(`{"at":"${created}"`);
}
