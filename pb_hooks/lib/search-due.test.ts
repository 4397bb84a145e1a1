import { describe, expect, it } from 'vitest';
import { isSearchDue } from './search-due.ts';

describe('the search for builds without a check and checks without a build', () => {
  const at = Date.UTC(2026, 0, 1);
  const last = { at, took: 5, written: 'then' };

  const same = () => true;

  it('is left out while nothing was written', () => {
    expect(isSearchDue(last, 'then', at + 60_000, same)).toBe(false);
    expect(isSearchDue(last, 'now', at + 60_000, same)).toBe(true);
  });

  it('takes no chance where it cannot be known, or something was left to mend', () => {
    expect(isSearchDue(last, null, at + 60_000, same)).toBe(true);
    expect(isSearchDue({ ...last, written: null }, null, at + 60_000, same)).toBe(true);
    expect(isSearchDue({ ...last, written: null }, 'then', at + 60_000, same)).toBe(true);
  });

  it('is made each hour all the same, and after the clock was set back', () => {
    expect(isSearchDue(last, 'then', at + 3_700_000, same)).toBe(true);
    expect(isSearchDue(last, 'then', at - 1, same)).toBe(true);
  });

  it('that takes long takes no more than a thousandth of the time, unless the numbers tell that something is missing', () => {
    const long = { ...last, took: 300 };
    expect(isSearchDue(long, 'now', at + 299_000, same)).toBe(false);
    expect(isSearchDue(long, 'now', at + 301_000, same)).toBe(true);
    expect(isSearchDue(long, 'now', at + 60_000, () => false)).toBe(true);
  });
});
