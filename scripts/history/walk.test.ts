import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chainText } from '../../pb_hooks/lib/history-chain.ts';
import { type Fault, type Row, Walk } from './walk.ts';

const hmac = (text: string) => createHmac('sha256', 'key').update(text).digest('hex');
const chain = (before: string, entry: Uint8Array) => hmac(chainText(before, Buffer.from(entry).toString('utf8')));
const createdOf = (seq: number) => `2026-01-01 00:00:${String(seq).padStart(2, '0')}.000Z`;
const entryOf = (seq: number, word = 'clean') =>
  Buffer.from(`{"at":"${createdOf(seq)}","build":"b${seq}","note":"ü😀","status":"${word}"}`);

function history(length = 12): Row[] {
  let hash = '';
  return Array.from({ length }, (_, index) => {
    const seq = index + 1;
    const entry = entryOf(seq);
    hash = chain(hash, entry);
    return { seq, entry, hash, created: createdOf(seq) };
  });
}

function faultsOf(rows: readonly Row[]): readonly Fault[] {
  const walk = new Walk(chain);
  for (const row of rows.toSorted((a, b) => a.seq - b.seq)) walk.add(row);
  return walk.end().faults;
}

const forged = (seq: number): Row => ({ seq, entry: entryOf(seq, 'forged'), hash: 'f'.repeat(64), created: createdOf(seq) });
const changedAt = (seq: number, change: Partial<Row>) => history().map((row) => (row.seq === seq ? { ...row, ...change } : row));
const numbered = (rows: readonly Row[]) => rows.map((row, index) => ({ ...row, seq: index + 1 }));
const without = (...seqs: number[]) => history().filter(({ seq }) => !seqs.includes(seq));
const inserted = (after: number, ...rows: Row[]) => numbered([...history().slice(0, after), ...rows, ...history().slice(after)]);

describe('the walk', () => {
  it('finds nothing in what is whole', () => {
    const walk = new Walk(chain);
    const rows = history();
    for (const row of rows) walk.add(row);
    const { hash } = rows[11]!;
    expect(walk.end()).toEqual({ rows: 12, faults: [], more: 0, firstAt: createdOf(1), last: { seq: 12, hash, created: createdOf(12) } });
    expect(new Walk(chain).end()).toEqual({ rows: 0, faults: [], more: 0, firstAt: null, last: null });
  });

  it.each<[string, Row[], Fault[]]>([
    ['a changed entry', changedAt(4, { entry: entryOf(4, 'CLEAN') }), [{ seq: 4, why: 'changed' }]],
    ['an entry of bytes', changedAt(4, { entry: null }), [{ seq: 4, why: 'changed' }]],
    ['a changed hash', changedAt(4, { hash: 'x' }), [{ seq: 4, why: 'changed' }]],
    ['a changed last hash', changedAt(12, { hash: 'x' }), [{ seq: 12, why: 'changed' }]],
    ['a changed time', changedAt(4, { created: '2020-01-01 00:00:00.000Z' }), [{ seq: 4, why: 'changed' }]],
    ['entry and hash changed', changedAt(4, { entry: entryOf(4, 'x'), hash: 'x' }).slice(0, 4), [{ seq: 4, why: 'changed' }]],
    ['a missing row', without(4), [{ seq: 4, to: 4, why: 'missing' }]],
    [
      'several missing rows',
      without(1, 2, 6, 7, 8),
      [
        { seq: 1, to: 2, why: 'missing' },
        { seq: 6, to: 8, why: 'missing' },
      ],
    ],
    ['a gap that was closed', numbered(without(4)), [{ seq: 4, why: 'changed' }]],
    ['a row between two numbers', [...history(), forged(4.5)], [{ seq: 4.5, why: 'inserted' }]],
    ['a row before the first', [...history(), forged(-3)], [{ seq: -3, why: 'inserted' }]],
    ['a second row under a number', [...history(), forged(4)], [{ seq: 4, why: 'inserted' }]],
    ['a row behind the last', [...history(), forged(13)], [{ seq: 13, why: 'changed' }]],
    ['a row put in', inserted(3, forged(4)), [{ seq: 4, why: 'inserted' }]],
    [
      'two rows put in',
      inserted(3, forged(4), { ...forged(5), hash: 'e'.repeat(64) }),
      [
        { seq: 4, why: 'inserted' },
        { seq: 5, why: 'inserted' },
      ],
    ],
    ['a row put in first', inserted(0, forged(1)), [{ seq: 1, why: 'inserted' }]],
    [
      'two rows in each other’s place',
      numbered([...history().slice(0, 3), history()[4]!, history()[3]!, ...history().slice(5)]),
      [
        { seq: 4, why: 'moved', place: 5 },
        { seq: 5, why: 'moved', place: 4 },
      ],
    ],
    [
      'rows far apart in each other’s place',
      numbered(history().with(2, history()[8]!).with(8, history()[2]!)),
      [
        { seq: 3, why: 'moved', place: 9 },
        { seq: 9, why: 'moved', place: 3 },
      ],
    ],
    [
      'a row replaced whole: what followed from the true one cannot be proved',
      [...without(9).filter(({ seq }) => seq !== 2), forged(2)],
      [
        { seq: 2, why: 'changed' },
        { seq: 3, why: 'changed' },
        { seq: 9, to: 9, why: 'missing' },
      ],
    ],
  ])('says of %s what it is', (_, rows, faults) => {
    expect(faultsOf(rows)).toEqual(faults);
  });

  it('says of a tail written anew without the key that every row of it is changed, however long it is', () => {
    const rows = history(5_000);
    let hash = rows[9]!.hash;
    const anew = rows.map((row) => {
      if (row.seq <= 10) return row;
      hash = createHmac('sha256', 'a guess').update(`${hash}${row.seq}`).digest('hex');
      return { ...row, hash };
    });
    const walk = new Walk(chain);
    for (const row of anew) walk.add(row);
    const { faults, more } = walk.end();
    expect(faults).toHaveLength(1_000);
    expect(faults[0]).toEqual({ seq: 11, why: 'changed' });
    expect(more).toBe(3_990);
  });

  it('finds any change of any row, and no fault where there is none', () => {
    const change = fc.record({
      at: fc.nat(11),
      what: fc.constantFrom('entry', 'hash', 'created', 'delete', 'swap', 'insert'),
      other: fc.nat(11),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 4 }), (changes) => {
        let rows = history();
        for (const { at, what, other } of changes)
          rows = apply(rows, at % Math.max(1, rows.length), what, other % Math.max(1, rows.length));
        const whole = history();
        const isWhole = rows.every((row, index) => JSON.stringify(row) === JSON.stringify(whole[index]));
        expect(faultsOf(rows).length === 0).toBe(isWhole);
      }),
      { numRuns: 500 },
    );
  });
});

/** By the end it may be the whole again, or one without its end, which nobody can see. */
function apply(rows: Row[], at: number, what: string, other: number): Row[] {
  const row = rows[at];
  if (row === undefined) return rows;
  switch (what) {
    case 'delete':
      return rows.toSpliced(at, 1);
    case 'insert':
      return rows.toSpliced(at, 0, forged(row.seq));
    case 'swap':
      return rows.with(at, { ...rows[other]!, seq: row.seq }).with(other, { ...row, seq: rows[other]!.seq });
    case 'entry':
      return rows.with(at, { ...row, entry: entryOf(row.seq, `changed ${other}`) });
    default:
      return rows.with(at, { ...row, [what]: `changed ${other}` });
  }
}
