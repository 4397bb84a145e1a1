import { expect, it } from 'vitest';
import { rowsOf, type ShownLine } from './log-rows.ts';

const base = '/log';
const lines = (first: number, ...texts: string[]): ShownLine[] =>
  texts.map((text, index) => ({ number: first + index, text, cutBytes: 0 }));
const numbersOf = (made: string) => [...made.matchAll(/id="L(\d+)"/g)].map(([, number]) => Number(number));

it('shows each line once, with a link to itself', () => {
  const { html, startsFolded } = rowsOf(lines(7, 'a', 'b <i>'), [], { base });
  expect(numbersOf(html)).toEqual([7, 8]);
  expect(html).toContain('href="/log?line=8#L8"');
  expect(html).toContain('b &lt;i&gt;');
  expect(startsFolded).toBe(false);
});

it('folds a stack trace, until the log goes on', () => {
  const { html } = rowsOf(lines(1, 'x', 'Stacktrace:', ' at a', ' at b', '2026/11/21 16:08:12 INFO on'), [], { base });
  expect(numbersOf(html)).toEqual([1, 2, 3, 4, 5]);
  expect(html).toContain('<details class="log-fold"><summary>Stack trace: 2 lines</summary>');
  expect(html.indexOf('</details>')).toBeLessThan(html.indexOf('id="L5"'));
});

it('ends the fold where the log goes on in another phase, or with a level', () => {
  const stamp = '2026-11-21T16:08:12.000Z';
  for (const next of [
    `${stamp} compact: at a`,
    `${stamp} build: INFO [nvd] Updating data...`,
    `${stamp} build: The build failed. Look above.`,
  ]) {
    const { html } = rowsOf(lines(1, `${stamp} build: Stacktrace:`, `${stamp} build:   at a`, next), [], { base });
    expect(html.indexOf('</details>')).toBeLessThan(html.indexOf('id="L3"'));
    expect(html).toContain('Stack trace: 1 line<');
  }
});

it('goes on folding where an earlier part began it', () => {
  const { html, startsFolded } = rowsOf(lines(3, ' at b', 'The build failed. Look above.'), lines(1, 'Stacktrace:', ' at a'), { base });
  expect(startsFolded).toBe(true);
  expect(html).toContain('Stack trace, continued: 1 line');
  expect(html.indexOf('</details>')).toBeLessThan(html.indexOf('id="L4"'));
  const after = lines(1, 'Stacktrace:', ' at a', '2026/11/21 16:08:12 INFO on');
  expect(rowsOf(lines(4, ' plain'), after, { base })).toMatchObject({ startsFolded: false, html: expect.not.stringContaining('details') });
});

it('opens the fold that holds the wanted line', () => {
  expect(rowsOf(lines(1, 'Stacktrace:', ' at a'), [], { base, target: 2 }).html).toMatch(
    /<details class="log-fold" open>.*log-target" id="L2"/s,
  );
});

it('cuts a long line and links to all of it; the reader may have cut more', () => {
  const long: ShownLine[] = [{ number: 4, text: 'y'.repeat(5000), cutBytes: 1_000_000 }];
  const short = rowsOf(long, [], { base }).html;
  expect(short).toContain('href="/log?line=4&amp;whole=1#L4"');
  expect(short).toContain('show all, 3,000 more characters');
  expect(short).toContain('1,000,000 more bytes were cut off');
  const whole = rowsOf(long, [], { base, isWhole: true }).html;
  expect(whole).toContain('y'.repeat(5000));
  expect(whole).not.toContain('show all');
});
