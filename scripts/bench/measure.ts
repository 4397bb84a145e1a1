/** What a measure is and what it answers. */
import type { Report } from '../parts/report.ts';

export type Unit = 'x' | 'ms' | 'MB' | '%';

export interface Limit {
  readonly kind: 'at-most' | 'at-least';
  readonly value: number;
}

/** One line of the table. */
export interface Row {
  readonly measure: string;
  readonly value: number;
  readonly unit: Unit;
  readonly must: Limit;
  /** Null where there is nothing to be better at. */
  readonly aim: Limit | null;
  /** What the value was made of, in absolute figures. */
  readonly detail: string;
}

export interface Context {
  /** Smaller sizes: shows that the measures run, not what the product reaches. */
  readonly quick: boolean;
  readonly report: Report;
  /** Where sidecars leave their CPU profiles; null for none. */
  readonly profiles: string | null;
}

export interface Measure {
  readonly name: string;
  readonly what: string;
  run(context: Context): Promise<Row[]>;
}

export type Judgement = 'aim' | 'must' | 'missed';

export const atMost = (value: number): Limit => ({ kind: 'at-most', value });
export const atLeast = (value: number): Limit => ({ kind: 'at-least', value });

export function judge({ value, must, aim }: Pick<Row, 'value' | 'must' | 'aim'>): Judgement {
  if (!holds(must, value)) return 'missed';
  return aim !== null && !holds(aim, value) ? 'must' : 'aim';
}

/** A value that is no number holds no limit. */
function holds(limit: Limit, value: number): boolean {
  return limit.kind === 'at-most' ? value <= limit.value : value >= limit.value;
}
