import { expect, it } from 'vitest';
import { formatBytes } from './sizes.ts';

it.each([
  [1_234_567_890, '1.15 GB'],
  [123_456_789, '117.74 MB'],
  [0, '0.00 B'],
  [1023, '1023.00 B'],
  [1024, '1.00 KB'],
  [1024 ** 2 - 1, '1.00 MB'],
  [5 * 1024 ** 5, '5120.00 TB'],
  [null, 'N/A'],
])('shows %s as %s', (bytes, shown) => {
  expect(formatBytes(bytes)).toBe(shown);
});
