/** Ten rounds of what `npm run test:chaos` does for hours. */
import { expect, it } from 'vitest';
import { runChaos } from '../chaos/run.ts';
import { summaryOf } from '../chaos/summary.ts';

it('loses, doubles and misjudges nothing and lets nothing out too early, whatever is killed under load', async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const lines: string[] = [];
  const result = await runChaos({ seed, rounds: 10, maxMs: 150_000, report: (line) => lines.push(line) });
  expect(result.violations, [...lines, summaryOf(result)].join('\n')).toEqual([]);
  expect(result.rounds).toBe(10);
  expect(result.counts.served).toBeGreaterThan(0);
}, 240_000);
