import { describe, expect, it } from 'vitest';
import { type Rows, shrinkage } from './database.ts';

const rows = (bySource: Record<string, number>): Rows => ({
  total: Object.values(bySource).reduce((sum, each) => sum + each, 0),
  bySource,
});

describe('shrinkage', () => {
  const before = rows({ vulnerability: 100_000, 'debian 12': 5000, 'alpine 3.20': 999 });

  it('is none while as many rows are there as are asked for, to the row', () => {
    expect(shrinkage(before, before, 100)).toBeNull();
    expect(shrinkage(rows({ one: 80 }), rows({ one: 100 }), 80)).toBeNull();
    expect(shrinkage(rows({ one: 79 }), rows({ one: 100 }), 80)).toContain('79 rows, and the last one with these sources had 100');
  });

  it('is seen where one source loses its rows among many', () => {
    const found = shrinkage(rows({ vulnerability: 100_000, 'debian 12': 10, 'alpine 3.20': 999 }), before, 80);
    expect(found).toContain('debian 12: 10 rows, before 5,000');
    expect(shrinkage(rows({ vulnerability: 100_000, 'alpine 3.20': 999 }), before, 80)).toContain('debian 12: 0 rows');
  });

  it('is not made of a small source that goes, nor of anything when it is switched off', () => {
    expect(shrinkage(rows({ vulnerability: 100_000, 'debian 12': 5000 }), before, 80)).toBeNull();
    expect(shrinkage(rows({}), before, 0)).toBeNull();
  });
});
