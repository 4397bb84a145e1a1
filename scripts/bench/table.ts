import { type Judgement, judge, type Limit, type Row, type Unit } from './measure.ts';

const words: Record<Judgement, string> = { aim: 'yes', must: 'yes, short of the aim', missed: 'NO' };

/** A Markdown table with aligned columns, ratios first, absolute figures behind them. */
export function table(rows: readonly Row[]): string {
  const head = ['measure', 'must', 'aim', 'measured', 'ok?', 'made of'];
  const cells = rows.map((row) => [
    row.measure,
    limitText(row.must, row.unit),
    row.aim === null ? '' : limitText(row.aim, row.unit),
    figure(row.value, row.unit),
    words[judge(row)],
    row.detail,
  ]);
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map((line) => line[column]!.length)));
  const line = (texts: readonly string[]) => `| ${texts.map((text, column) => text.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...cells.map(line)].join('\n');
}

export function limitText(limit: Limit, unit: Unit): string {
  return `${limit.kind === 'at-most' ? '≤' : '≥'} ${withUnit(String(limit.value), unit)}`;
}

export function figure(value: number, unit: Unit): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return withUnit(value.toFixed(digits), unit);
}

function withUnit(text: string, unit: Unit): string {
  return unit === 'x' ? text : `${text} ${unit}`;
}
