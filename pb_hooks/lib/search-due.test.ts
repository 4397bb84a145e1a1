import { describe, expect, it } from 'vitest';
import { isSearchDue } from './search-due.ts';

describe('the search for builds without a check and checks without a build', () => {
  const at = Date.UTC(2026, 0, 1);
  const last = { at, took: 5, written: 'then' };

  it('is left out while nothing was written', () => {
    expect(isSearchDue(last, 'then', at + 60_000)).toBe(false);
    expect(isSearchDue(last, 'now', at + 60_000)).toBe(true);
  });

  it('takes no chance where it cannot be known, or something was left to mend', () => {
    expect(isSearchDue(last, null, at + 60_000)).toBe(true);
    expect(isSearchDue({ ...last, written: null }, null, at + 60_000)).toBe(true);
    expect(isSearchDue({ ...last, written: null }, 'then', at + 60_000)).toBe(true);
  });

  it('is made each hour all the same, and after the clock was set back', () => {
    expect(isSearchDue(last, 'then', at + 3_700_000)).toBe(true);
    expect(isSearchDue(last, 'then', at - 1)).toBe(true);
  });

  it('of a million builds takes no more than one part in fifty of the time', () => {
    const long = { ...last, took: 3_000 };
    expect(isSearchDue(long, 'now', at + 120_000)).toBe(false);
    expect(isSearchDue(long, 'now', at + 180_000)).toBe(true);
  });
});
