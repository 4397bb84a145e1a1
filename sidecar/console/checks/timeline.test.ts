import { describe, expect, it } from 'vitest';
import type { HistoryEntry } from './check-history.ts';
import { readCheck } from './check-row.ts';
import { timeline } from './timeline.ts';

const fields = { collection: 'app_builds', files: ['files'], labels: [] };
const check = readCheck({ id: 'c', build: 'b', created: '2026-11-20 10:00:00.000Z', revision: 1 }, fields);

async function textOf(...entries: readonly Partial<HistoryEntry>[]): Promise<string> {
  const whole = entries.map((entry, index) => {
    const nothing = { status: '', open: null, reason: '', virusName: '', rescan: false, engine: null, worker: '', by: '', note: '' };
    const date = new Date(Date.UTC(2026, 10, 20, 11, index));
    return {
      event: 'settled',
      build: 'b',
      at: '',
      waited: null,
      openSeconds: null,
      downloads: null,
      ...nothing,
      seq: index + 1,
      date,
      ...entry,
    };
  });
  const shown = String(await timeline(check, { entries: whole, isComplete: true }));
  return shown
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/ (?=[:.,])/g, '');
}

describe('the timeline', () => {
  it('says how long a build with a later finding was open, and how often it was downloaded', async () => {
    const clean = { status: 'clean', open: true };
    const found = { status: 'infected', open: false, virusName: 'Found', rescan: true, openSeconds: 7200 };
    expect(await textOf(clean, { ...found, downloads: 12 })).toContain('It had been open for 2 h, and downloaded about 12 times.');
    expect(await textOf(clean, { ...found, downloads: 1 })).toContain('and downloaded about once.');
    expect(await textOf(clean, { ...found, downloads: 0 })).toContain('and nobody had downloaded it.');
  });

  it('says that the word of a lying engine does not count, and of which', async () => {
    const engine = { name: '<clamd>', version: '', signatures: null };
    const text = await textOf({ event: 'voided', status: 'pending', open: false, engine, by: 'scanner@example.com', note: 'missed EICAR' });
    expect(text).toMatch(
      /does not count: engine &lt;clamd&gt; was found to lie\. It is scanned again\. scanner@example\.com: missed EICAR/,
    );
  });

  it('says that an older database was restored, and what a policy let through', async () => {
    expect(await textOf({ event: 'restored', status: 'pending', open: false, note: 'Row 7 is missing.' })).toContain('Row 7 is missing.');
    const policy = { event: 'released', open: true, by: 'policy:zstd', note: 'no engine looks into it' };
    expect(await textOf(policy)).toContain('Released by the policy for zstd: no engine looks into it');
  });
});
