/** What `npm run history:verify` says, as text. Pure. */
import type { Fault, Walked } from './walk.ts';

/** The newest row that somebody saw, kept outside the database. */
export interface Head {
  readonly seq: number;
  readonly hash: string;
}

export interface Verified extends Walked {
  readonly ok: boolean;
  /** Null where there is none to compare with. */
  readonly head: (Head & { readonly found: 'there' | 'gone' | 'replaced' }) | null;
}

/** A few lines, the last of which says whether it is whole. */
export function reportOf(verified: Verified): string {
  const { rows, faults, more, firstAt, last, head, ok } = verified;
  const lines = runsOf(faults).map(faultText);
  if (more > 0) lines.push(`and ${counted(more, 'more fault')}`);
  if (faults[0]?.seq === 1 && faults[0].why === 'changed' && faults.length + more >= rows && rows > 1)
    lines.push('Not one row is proved: is this the key that it was written with?');
  if (head !== null) lines.push(headText(head));
  const range = last === null ? '' : `, ${firstAt} to ${last.created}`;
  const count = counted(
    faults.reduce((sum, { seq, to = seq }) => sum + to - seq + 1, more),
    'row',
  );
  lines.push(
    ok ? `whole: ${counted(rows, 'row')}${range}` : `BROKEN: ${faults.length === 0 ? 'its end' : count} of ${counted(rows, 'row')}${range}`,
  );
  if (last !== null) lines.push(`last row: ${last.seq} ${last.hash}`);
  if (ok && head === null) lines.push('That no rows are missing at the end is proved by --head alone.');
  return lines.join('\n');
}

function faultText({ seq, to = seq, why, place }: Fault): string {
  const rows = to === seq ? `row ${seq} ` : `rows ${seq} to ${to} `;
  const [is, does] = to === seq ? ['is', 'does'] : ['are', 'do'];
  switch (why) {
    case 'changed':
      return `${rows}${is} changed, or ${does} not follow from what stands before`;
    case 'missing':
      return `${rows}${is} missing`;
    case 'inserted':
      return `${rows}${is} inserted`;
    case 'moved':
      return `${rows}${is} in another’s place: it was written as row ${place}`;
    default:
      return why satisfies never;
  }
}

function headText({ seq, found }: NonNullable<Verified['head']>): string {
  switch (found) {
    case 'there':
      return `row ${seq}, kept outside, is there`;
    case 'gone':
      return `row ${seq}, kept outside, is gone: the history was cut or an older database put back`;
    case 'replaced':
      return `row ${seq} is not the one that was kept outside: the history was written anew`;
    default:
      return found satisfies never;
  }
}

/** Neighbours of one kind as one. */
function runsOf(faults: readonly Fault[]): Fault[] {
  const runs: Fault[] = [];
  for (const fault of faults) {
    const run = runs.at(-1);
    if (run?.why === fault.why && fault.why !== 'moved' && (run.to ?? run.seq) + 1 === fault.seq) {
      runs[runs.length - 1] = { ...run, to: fault.to ?? fault.seq };
    } else runs.push(fault);
  }
  return runs;
}

function counted(count: number, what: string): string {
  return `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`;
}
