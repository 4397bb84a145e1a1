import { describe, expect, it } from 'vitest';
import { isBuildId, layoutOf, newBuildId } from './layout.ts';

describe('the id of a build', () => {
  it('sorts by time, also within a second', () => {
    const times = [0, 1, 15, 16, 255, 256, 999, 1000, 61_000, 86_400_000].map((ms) => new Date(Date.UTC(2026, 10, 21, 16, 8, 12) + ms));
    const ids = times.map((time) => newBuildId(time));
    expect(ids.toSorted()).toEqual(ids);
    expect(ids.every(isBuildId)).toBe(true);
    expect(ids[0]).toMatch(/^20261121T160812Z-000/);
  });

  it('becomes part of a path only when it is one', () => {
    const layout = layoutOf('/somewhere');
    expect(layout.build('20261121T160812Z-3fa2c1').archive).toBe('/somewhere/builds/20261121T160812Z-3fa2c1/trivy.db.tar.gz');
    for (const id of ['..', '../20261121T160812Z-3fa2c1', '20261121T160812Z-3fa2c1/..', '', '20261121T160812Z-3FA2C1'])
      expect(() => layout.build(id), id).toThrow('is not the id of a build');
  });
});
