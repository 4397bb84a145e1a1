import { describe, expect, it } from 'vitest';
import { nextUpdateOf, readMetadata } from './metadata.ts';

const hours = 3_600_000;
const good = {
  Version: 2,
  NextUpdate: '2026-11-22T16:18:40.467450627Z',
  UpdatedAt: '2026-11-21T16:18:40.467451057Z',
  DownloadedAt: '0001-01-01T00:00:00Z',
};
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

describe('metadata.json', () => {
  it('is read as trivy-db writes it, with nanoseconds', () => {
    expect(readMetadata(bytes(good), 24 * hours)).toEqual({
      updatedAt: '2026-11-21T16:18:40.467Z',
      nextUpdate: '2026-11-22T16:18:40.467Z',
    });
    expect(nextUpdateOf(bytes(good))).toBe(Date.parse('2026-11-22T16:18:40.467Z'));
  });

  it('is refused in any other form', () => {
    const { UpdatedAt: _, ...without } = good;
    const camel = { version: 2, nextUpdate: good.NextUpdate, updatedAt: good.UpdatedAt, downloadedAt: good.DownloadedAt };
    const others = [
      without,
      camel,
      { ...good, Version: 1 },
      { ...good, UpdatedAt: 'yesterday' },
      { ...good, DownloadedAt: good.UpdatedAt },
      [],
      null,
    ];
    for (const each of others) expect(() => readMetadata(bytes(each), 24 * hours), JSON.stringify(each)).toThrow('Trivy would not read');
    expect(() => readMetadata(Buffer.from('{'), 24 * hours)).toThrow('Trivy would not read');
    expect(nextUpdateOf(Buffer.from('{'))).toBeNull();
  });

  it('is refused when it does not follow the interval', () => {
    expect(() => readMetadata(bytes(good), 6 * hours)).toThrow('TRIVY_DB_UPDATE_INTERVAL');
  });
});
