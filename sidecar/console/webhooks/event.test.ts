import { describe, expect, it } from 'vitest';
import { eventOf } from './event.ts';

const at = '2026-11-21 16:08:12.345Z';
const entry = (more: object) => JSON.stringify({ at, build: 'b', check: 'c', ...more });
const file = (name: string, signature?: string) => ({ name, sha256: 'aa', size: 1, verdict: signature ? 'infected' : 'clean', signature });

describe('eventOf', () => {
  it.each([
    ['opened for the first time', { event: 'settled', status: 'clean', open: true, wasOpen: false }, 'build.cleared'],
    ['clean again, as before', { event: 'settled', status: 'clean', open: true, wasOpen: true, rescan: true }, null],
    ['infected', { event: 'settled', status: 'infected', open: false, wasOpen: false }, 'build.infected'],
    ['infected after it was open', { event: 'settled', status: 'infected', open: false, wasOpen: true }, 'build.infected_later'],
    ['infected as before, and still released', { event: 'settled', status: 'infected', open: true, wasOpen: true, rescan: true }, null],
    ['infected still, and closed all the time', { event: 'settled', status: 'infected', open: false, wasOpen: false }, 'build.infected'],
    ['unscannable after it was open', { event: 'settled', status: 'error', open: false, wasOpen: true }, 'build.closed'],
    ['unscannable as before, and still released', { event: 'settled', status: 'error', open: true, wasOpen: true }, null],
    ['unscannable', { event: 'settled', status: 'error', reason: 'unscannable:encrypted' }, 'build.error'],
    ['out of retries', { event: 'failed', reason: 'download' }, 'build.error'],
    ['out of retries, judged before', { event: 'failed', reason: 'download', rescan: true, open: true }, 'build.rescan_failed'],
    ['released', { event: 'released', by: 'ana@example.com', note: 'false alarm' }, 'build.released'],
    ['closed again', { event: 'revoked', by: 'ana@example.com', note: 'it was not' }, 'build.closed_again'],
    [
      'judged by a lying engine, and open',
      { event: 'voided', status: 'pending', open: false, wasOpen: true, note: 'missed EICAR' },
      'build.closed',
    ],
    ['judged by a lying engine, and closed', { event: 'voided', status: 'infected', open: false, note: 'missed EICAR' }, null],
    ['closed after a restore', { event: 'restored', status: 'pending', open: false, wasOpen: true }, 'build.closed'],
    ['imported from an older installation', { event: 'imported', status: 'clean' }, null],
    ['an event of a later version', { event: 'painted' }, null],
  ])('%s', (_name, more, type) => {
    const event = eventOf(7, entry(more));
    expect(event?.type ?? null).toBe(type);
    if (event !== null) {
      expect(event).toMatchObject({ id: 'history-7', timestamp: '2026-11-21T16:08:12.345Z', data: { build: 'b', check: 'c' } });
    }
  });

  it('names the findings, but not all of many', () => {
    const files = [file('good'), ...Array.from({ length: 25 }, (_, n) => file(`bad-${n}`, `Found.${n}`))];
    const data = eventOf(1, entry({ event: 'settled', status: 'infected', open: false, files }))?.data;
    expect(data).toMatchObject({ more: 5 });
    expect(data?.['findings']).toHaveLength(20);
    expect(JSON.stringify(data)).toContain('{"file":"bad-0","sha256":"aa","signature":"Found.0"}');
    expect(JSON.stringify(data)).not.toContain('good');
  });

  it('says whether it is open and was, as far as it is known', () => {
    const settled = { event: 'settled', status: 'error', reason: 'unscannable:encrypted' };
    const dataOf = (more: object) => eventOf(1, entry({ ...settled, ...more }))?.data;
    expect(dataOf({ open: false, wasOpen: true })).toMatchObject({ open: false, wasOpen: true, reason: 'unscannable:encrypted' });
    expect(JSON.stringify(dataOf({ open: false }))).not.toContain('wasOpen');
  });

  it('says how long what closes was open, how often it was downloaded, and why it closes', () => {
    const exposure = { open: false, wasOpen: true, openSeconds: 120, downloads: 3 };
    const later = eventOf(1, entry({ event: 'settled', status: 'infected', files: [file('bad', 'Found')], ...exposure }))?.data;
    expect(later).toMatchObject({ openSeconds: 120, downloads: 3 });
    const voided = eventOf(1, entry({ event: 'voided', status: 'pending', note: 'missed EICAR', ...exposure }))?.data;
    expect(voided).toMatchObject({ reason: 'voided', note: 'missed EICAR', openSeconds: 120, downloads: 3 });
  });

  it('says who released it and why', () => {
    const data = eventOf(1, entry({ event: 'released', by: 'ana@example.com', note: 'false alarm' }))?.data;
    expect(data).toMatchObject({ by: 'ana@example.com', reason: 'false alarm' });
  });

  it.each(['', '{', '[]', '{"event":1}', entry({ at: 'never', event: 'released' })])('refuses %j', (text) => {
    expect(() => eventOf(1, text)).toThrow();
  });
});
