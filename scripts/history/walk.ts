/** Finds every fault of a chain of history rows, not just the first. Pure. */
import { type Fault as ChainFault, hasItsTime, misplaced } from '../../pb_hooks/lib/history-chain.ts';

export interface Row {
  /** NaN where it is no number. */
  readonly seq: number;
  /** Null where it is no text. */
  readonly entry: Uint8Array | null;
  readonly hash: string;
  readonly created: string;
}

export interface Fault {
  readonly seq: number;
  /** `moved`: a true row in another's place. */
  readonly why: ChainFault['why'] | 'moved';
  /** Of missing rows, the last one. */
  readonly to?: number;
  /** Of a moved row: where it was written. */
  readonly place?: number;
}

export interface Walked {
  readonly rows: number;
  /** In the order of their numbers; at most MAX_FAULTS. */
  readonly faults: readonly Fault[];
  /** Faults beyond these. */
  readonly more: number;
  readonly firstAt: string | null;
  readonly last: { readonly seq: number; readonly hash: string; readonly created: string } | null;
}

/** HMAC of a row's entry behind the hash of the row before it. */
export type Chain = (before: string, entry: Uint8Array) => string;

export const MAX_FAULTS = 1_000;
/** Among so many rows that do not follow from the row before them their true places are looked for. */
const MAX_LOOSE = 400;

/** A row that does not follow from the one before it. */
interface Loose {
  readonly row: Row;
  /** A number that it shares with the row before it, or lies between two. */
  readonly isInserted: boolean;
}

/** `rows` in the order of their numbers. Where a row is missing, the next one is believed as far as its own hash is followed by others. */
export class Walk {
  readonly #chain: Chain;
  #last: { seq: number; hash: string; created: string } | null = null;
  /** The hash that the last row should have, where it has another. */
  #expected: string | null = null;
  #rows = 0;
  #firstAt: string | null = null;
  readonly #missing: Fault[] = [];
  readonly #loose: Loose[] = [];
  #more = 0;
  /** Number of the row that has this hash, for rows that something loose may follow. */
  readonly #known = new Map<string, number>([['', 0]]);

  constructor(chain: Chain) {
    this.#chain = chain;
  }

  add(row: Row): void {
    this.#rows += 1;
    this.#firstAt ??= row.created;
    const last = this.#last ?? { seq: 0, hash: '', created: '' };
    const place = misplaced(row.seq, last.seq);
    if (place?.why === 'inserted') return this.#addSecond(row);
    const isAfterGap = place?.why === 'missing';
    if (isAfterGap) this.#note(this.#missing, { seq: last.seq + 1, to: row.seq - 1, why: 'missing' });
    const expected = row.entry === null ? '' : this.#chain(last.hash, row.entry);
    const follows =
      expected === row.hash || (this.#expected !== null && row.entry !== null && this.#chain(this.#expected, row.entry) === row.hash);
    const isTrue = (follows || isAfterGap) && isTimed(row);
    if (!isTrue) {
      this.#known.set(last.hash, last.seq).set(row.hash, row.seq);
      this.#note(this.#loose, { row, isInserted: false });
    }
    this.#expected = follows || isAfterGap ? null : expected;
    this.#last = { seq: row.seq, hash: row.hash, created: row.created };
  }

  end(): Walked {
    const faults = [...this.#missing, ...this.#judged()].sort((a, b) => a.seq - b.seq);
    return {
      rows: this.#rows,
      faults: faults.slice(0, MAX_FAULTS),
      more: this.#more + Math.max(0, faults.length - MAX_FAULTS),
      firstAt: this.#firstAt,
      last: this.#last,
    };
  }

  /** Under a number that is taken, or none. */
  #addSecond(row: Row): void {
    const seq = Number.isFinite(row.seq) ? row.seq : (this.#last?.seq ?? 0) + 1;
    if (Number.isInteger(row.seq)) this.#known.set(row.hash, row.seq);
    this.#note(this.#loose, { row: { ...row, seq }, isInserted: true });
  }

  #note<T>(list: T[], item: T): void {
    if (list.length < MAX_FAULTS) list.push(item);
    else this.#more += 1;
  }

  #judged(): Fault[] {
    const places = this.#loose.length <= MAX_LOOSE ? this.#placesOf() : new Map<Row, number>();
    const faults: Fault[] = [];
    this.#loose.forEach(({ row, isInserted }, index) => {
      const place = places.get(row);
      if (isInserted || (place === undefined && this.#isSkipped(index, places))) faults.push({ seq: row.seq, why: 'inserted' });
      else if (place === undefined || !isTimed(row)) faults.push({ seq: row.seq, why: 'changed' });
      else if (place !== row.seq && !this.#isShifted(index, places)) faults.push({ seq: row.seq, why: 'moved', place });
    });
    return faults;
  }

  /** Where the loose rows were written that follow from a row that is there. */
  #placesOf(): Map<Row, number> {
    const places = new Map<Row, number>();
    const parents = new Map<Row, string>();
    const candidates = [...this.#known.keys()];
    for (const { row } of this.#loose) {
      const { entry } = row;
      const parent = entry === null ? undefined : candidates.find((hash) => this.#chain(hash, entry) === row.hash);
      if (parent !== undefined) parents.set(row, parent);
    }
    const byHash = new Map(this.#loose.map(({ row }) => [row.hash, row]));
    const placeOf = (row: Row, depth: number): number | undefined => {
      const parent = parents.get(row);
      if (parent === undefined || depth > MAX_LOOSE) return undefined;
      const loose = byHash.get(parent);
      const before = loose && parents.has(loose) ? placeOf(loose, depth + 1) : this.#known.get(parent);
      return before === undefined ? undefined : before + 1;
    };
    for (const { row } of this.#loose) {
      const place = placeOf(row, 0);
      if (place !== undefined) places.set(row, place);
    }
    return places;
  }

  /** Whether the next true row follows from the row before this one, as if this one were not there. */
  #isSkipped(index: number, places: ReadonlyMap<Row, number>): boolean {
    const { row } = this.#loose[index]!;
    let end = index;
    while (this.#loose[end + 1]?.row.seq === this.#loose[end]!.row.seq + 1 && !places.has(this.#loose[end]!.row)) end += 1;
    const next = this.#loose[end]!.row;
    const place = places.get(next);
    return next !== row && place !== undefined && place <= row.seq && this.#isShifted(end, places);
  }

  /** Whether it stands later than it was written only because of what was put in before it. */
  #isShifted(index: number, places: ReadonlyMap<Row, number>): boolean {
    const { row } = this.#loose[index]!;
    const place = places.get(row);
    if (place === undefined || place >= row.seq) return false;
    const between = this.#loose.slice(0, index).filter((other) => other.row.seq >= place && other.row.seq < row.seq);
    return between.length === row.seq - place && between.every((other) => !places.has(other.row));
  }
}

function isTimed({ entry, created }: Row): boolean {
  return entry !== null && hasItsTime(Buffer.from(entry.subarray(0, 80)).toString('utf8'), created);
}
