import { describe, expect, it } from 'vitest';
import { entryText, type HistoryEvent } from './history-entry.ts';

const at = '2026-11-21 16:00:00.000Z';

describe('an entry of the history', () => {
  it('is the same text for the same event, in whatever order it was put together', () => {
    const event: HistoryEvent = { event: 'released', check: 'c', build: 'b', by: 'ana@example.com', note: 'known tool', open: true };
    const turned = Object.fromEntries(Object.entries(event).reverse()) as unknown as HistoryEvent;
    expect(entryText(event, at)).toBe(
      `{"at":"${at}","build":"b","by":"ana@example.com","check":"c","event":"released","note":"known tool","open":true}`,
    );
    expect(entryText(turned, at)).toBe(entryText(event, at));
  });

  it('of a kind that older versions wrote is still written as they wrote it', () => {
    const event: HistoryEvent = { event: 'failed', check: 'c', build: 'b', reason: 'download', waited: undefined, worker: 'w' };
    expect(entryText(event, at)).toBe(`{"at":"${at}","build":"b","check":"c","event":"failed","reason":"download","worker":"w"}`);
  });

  it('leaves nothing out that an event may hold', () => {
    const event = {
      event: 'settled',
      check: 'c',
      build: 'b',
      status: 'infected',
      open: false,
      reason: 'unexpected',
      virusName: 'V',
      rescan: true,
      revision: 2,
      engine: { name: 'main', version: '1', signatures: 1, signaturesAt: at },
      files: [{ name: 'a', size: 1, sha256: 'f', verdict: 'infected', signature: 'V', reason: 'unscannable:zstd' }],
      worker: 'w',
      code: 'scan_pending',
      scanTime: at,
      log: 'l',
      waited: 1.5,
      wasOpen: true,
      openSeconds: 3.5,
      downloads: 2,
      by: 'ana@example.com',
      note: 'n',
      filter: '{"status":"clean"}',
      count: 3,
    } as const satisfies Required<Omit<HistoryEvent, 'files'>> & { files: unknown };
    expect(JSON.parse(entryText(event as unknown as HistoryEvent, at))).toEqual({ ...event, at });
  });
});
