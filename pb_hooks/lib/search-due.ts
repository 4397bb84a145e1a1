/** When the sweep reads all builds and checks for those that lack the other. Pure: times are milliseconds. */

/** Whatever the files of the database say. */
const ALWAYS_AFTER_MS = 3_600_000;
/** A search as quick as this is worth one each minute; a longer one, of a million builds, gets one part in fifty of the time. */
const QUICK_SEARCH_MS = 1_000;
const SEARCH_SHARE = 50;

export interface Search {
  at: number;
  took: number;
  /** As `lastWrite` says; null where it found something to mend. */
  written: string | null;
}

/** Whether there may be something that the last search did not see. */
export function isSearchDue(last: Search, written: string | null, now: number): boolean {
  const since = now - last.at;
  if (since < 0 || since > ALWAYS_AFTER_MS) return true;
  if (written !== null && written === last.written) return false;
  return last.took < QUICK_SEARCH_MS || since > last.took * SEARCH_SHARE;
}
