/** When the sweep reads all builds and checks for those that lack the other. Pure: times are milliseconds. */

/** Whatever the files of the database say. */
const ALWAYS_AFTER_MS = 3_600_000;
/** A search as quick as this, of some 100,000 builds, is worth one each minute. */
const QUICK_SEARCH_MS = 50;
/** A longer one gets one part in so many of the time. */
const SEARCH_SHARE = 1_000;

export interface Search {
  at: number;
  took: number;
  /** As `lastWrite` says; null where it found something to mend. */
  written: string | null;
}

/**
 * Whether there may be something that the last search did not see. Without a write there is nothing, and a number of checks that is not
 * that of the builds (`areAsMany`, asked only where it matters) tells for sure; what hides behind equal numbers, since as many checks
 * lost their build as builds their check, is found a little later where a search takes long, and within the hour at the latest.
 */
export function isSearchDue(last: Search, written: string | null, now: number, areAsMany: () => boolean): boolean {
  const since = now - last.at;
  if (since < 0 || since > ALWAYS_AFTER_MS) return true;
  if (written !== null && written === last.written) return false;
  return last.took < QUICK_SEARCH_MS || since > last.took * SEARCH_SHARE || !areAsMany();
}
