import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HistoryEvent } from './history-entry.ts';
import { closes, type Journal, type Line, readJournal, type Seal, textOf, trim, wholeText } from './journal-lines.ts';

const sealOf = (key: string): Seal => {
  const make = (text: string) => createHmac('sha256', key).update(text).digest('hex');
  return { make, holds: (text, seal) => make(text) === seal };
};
const seal = sealOf('key');
const anchor = (seq: number) => ({ seq, hash: String(seq % 10).repeat(64) });
const closed = (build: string, seq: number): Line => ({ kind: 'closed', build, ...anchor(seq) });

describe('closes', () => {
  const settled: HistoryEvent = { event: 'settled', check: 'c', build: 'b', status: 'infected', open: false, revision: 1, rescan: false };
  it.each<[boolean, string, HistoryEvent]>([
    [false, 'the first verdict on a new build', settled],
    [false, 'the first failure of a new build', { ...settled, event: 'failed', status: 'error' }],
    [true, 'a finding in what was open', { ...settled, rescan: true, wasOpen: true }],
    [true, 'a finding in what was closed before', { ...settled, rescan: true, wasOpen: false }],
    [true, 'a finding in new files', { ...settled, revision: 2 }],
    [false, 'a clean verdict', { ...settled, rescan: true, status: 'clean', open: true }],
    [false, 'a finding that a release stands over', { ...settled, rescan: true, wasOpen: true, open: true }],
    [false, 'a rescan that failed and leaves it open', { ...settled, event: 'failed', rescan: true, status: 'clean', open: true }],
    [true, 'a release taken back', { ...settled, event: 'revoked' }],
    [false, 'taking back a release of what is clean by now', { ...settled, event: 'revoked', open: true }],
    [true, 'a void', { ...settled, event: 'voided', status: 'pending' }],
    [true, 'a restore', { ...settled, event: 'restored', status: 'pending', wasOpen: true }],
    [false, 'a restore as a whole', { event: 'restored', check: '', build: '' }],
    [true, 'the end of an infected build', { event: 'infected-build-deleted', check: 'c', build: 'b' }],
    [false, 'a request for a scan', { ...settled, event: 'rescan-requested' }],
    [false, 'a release', { ...settled, event: 'released', open: true }],
    [false, 'an old verdict that is taken over', { event: 'imported', check: 'c', build: 'b', status: 'infected' }],
  ])('%j for %s', (expected, _, event) => {
    expect(closes(event)).toBe(expected);
  });
});

describe('the text of the journal', () => {
  it('says the same after it was folded, whatever the order of its lines', () => {
    const line = fc.oneof(
      fc.record({ kind: fc.constant('closed' as const), build: fc.constantFrom('a', 'b', 'c'), seq: fc.nat(50) }),
      fc.record({ kind: fc.constantFrom('head' as const, 'floor' as const), seq: fc.nat(50) }),
    );
    fc.assert(
      fc.property(fc.array(line), (raw) => {
        const lines = raw.map((each) => ({ ...each, ...anchor(each.seq) }) as Line);
        const read = readJournal(textOf(lines, seal), seal);
        expect(read).toMatchObject({ lines: lines.length, damaged: 0, torn: false });
        const { closed: builds, head, floor, notice } = readJournal(wholeText(read, seal), seal);
        expect({ builds, head, floor, notice }).toEqual({ builds: read.closed, head: read.head, floor: read.floor, notice: null });
        const newest = (kind: string) =>
          Math.max(...lines.filter((each) => each.kind === kind).map((each) => ('seq' in each ? each.seq : -1)));
        if (head !== null) expect(head.seq).toBe(newest('head'));
      }),
    );
  });

  it('keeps what an operator is to be told', () => {
    const journal: Journal = { closed: new Map(), head: anchor(3), floor: null, notice: { at: 5, text: 'Zeile\n😀' } };
    expect(readJournal(wholeText(journal, seal), seal).notice).toEqual(journal.notice);
  });

  it('loses a line that was cut off anywhere, and no other', () => {
    const whole = textOf([closed('a', 1), closed('b', 2)], seal);
    const start = textOf([closed('a', 1)], seal).length;
    for (let length = start; length < whole.length - 1; length++) {
      const cut = readJournal(whole.slice(0, length), seal);
      expect([...cut.closed.keys()]).toEqual(['a']);
      expect(cut).toMatchObject({ damaged: 0, torn: length > start + 1 });
      // What is appended behind it is read all the same.
      const later = readJournal(whole.slice(0, length) + textOf([closed('c', 3)], seal), seal);
      expect([...later.closed.keys()]).toEqual(['a', 'c']);
      expect(later).toMatchObject({ damaged: length > start + 1 ? 1 : 0, torn: false });
    }
  });

  it('believes no line that was changed, or sealed with another key', () => {
    const text = textOf([closed('a', 1)], seal);
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.string({ minLength: 1, maxLength: 3 }), (at, change) => {
        const changed = text.slice(0, at) + change + text.slice(at + 1);
        const read = readJournal(changed, seal);
        for (const [build, value] of read.closed) expect([build, value]).toEqual(['a', anchor(1)]);
      }),
    );
    expect(readJournal(textOf([closed('a', 1)], sealOf('guess')), seal)).toMatchObject({ damaged: 1, closed: new Map() });
    for (const junk of ['x', ' ', '{}', `${seal.make('{')} {`, '\0'.repeat(100)])
      expect(readJournal(`${junk}\n`, seal)).toMatchObject({ damaged: 1 });
  });

  it('drops the oldest and remembers up to where', () => {
    const journal = readJournal(textOf([closed('a', 5), closed('b', 2), closed('c', 9), closed('d', 7)], seal), seal);
    trim(journal, 2);
    expect([...journal.closed.keys()].sort()).toEqual(['c', 'd']);
    expect(journal.floor).toEqual(anchor(5));
    trim(journal, 2);
    expect(journal.floor).toEqual(anchor(5));
  });
});
