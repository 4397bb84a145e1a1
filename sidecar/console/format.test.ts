import { expect, it } from 'vitest';
import { bytes, counted, duration, when } from './format.ts';
import { relative } from './relative.ts';

it.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [10_200, '10 KiB'],
  [222_298_112, '212 MiB'],
  [1_500_000_000, '1.4 GiB'],
  [1024 * 1024 - 1, '1.0 MiB'],
])('%i bytes are %s', (value, text) => {
  expect(bytes(value)).toBe(text);
});

it.each([
  [0, '0.0 s'],
  [440, '0.4 s'],
  [9_990, '10 s'],
  [59_600, '1 min'],
  [185_000, '3 min 5 s'],
  [7_800_000, '2 h 10 min'],
  [3_599_600, '1 h'],
  [172_800_000, '2 d'],
  [356_400_000, '4 d 3 h'],
])('%i ms are %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});

it.each([
  [0, 'just now'],
  [40_000, '40 s ago'],
  [59_700, '1 min ago'],
  [3_590_000, '1 h ago'],
  [-7_200_000, 'in 2 h'],
  [400_000_000, '5 days ago'],
])('%i ms ago is %s', (ms, text) => {
  expect(relative(ms)).toBe(text);
});

it('gives the exact time beside the relative one, and never a wrong one for what is none', async () => {
  expect(String(await when('2026-11-21T16:08:12.345Z', Date.parse('2026-11-21T16:08:52.345Z')))).toBe(
    '<time datetime="2026-11-21T16:08:12.345Z" title="2026-11-21 16:08:12 UTC" data-ago>40 s ago</time>',
  );
  expect(when('yesterday')).toBe('yesterday');
  expect(when(null)).toBe('–');
});

it('counts', () => {
  expect([counted(1, 'build'), counted(48_210, 'build'), counted(0, 'delivery', 'deliveries')]).toEqual([
    '1 build',
    '48,210 builds',
    '0 deliveries',
  ]);
});
