import type { Kind } from './invariants.ts';
import { targets } from './plan.ts';
import type { ChaosResult } from './run.ts';

const kinds: readonly Kind[] = ['refused', 'lost', 'doubled', 'wrong', 'early', 'stuck', 'history', 'left behind', 'died'];
const SHOWN = 20;

/** The table at the end of a run, with the violations and how to repeat it where there are any. */
export function summaryOf(result: ChaosResult): string {
  const { counts, faults, violations, orphans } = result;
  const hits = (kind: 'kill' | 'pause') => targets.map((target) => `${target} ${faults[kind][target]}`).join(', ');
  const rows: [string, string | number][] = [
    ['seed', result.seed],
    ['rounds', result.rounds],
    ['uploads, changes', `${counts.uploads}, ${counts.changes}, of which ${counts.unanswered} were not answered`],
    ['verdicts', result.verdicts],
    ['downloads tried, served', `${counts.downloads}, ${counts.served}`],
    ['killed', hits('kill')],
    ['paused', hits('pause')],
    ['slowest end of a round', `${(result.slowestMs / 1000).toFixed(1)} s after its last fault`],
    ...kinds.map((kind): [string, number] => [kind, violations.filter((each) => each.kind === kind).length]),
    [
      'left by PocketBase, killed in an upload',
      `${orphans.folders} folders without a build, ${orphans.files} files that no build lists, ${orphans.uploads} temporary files`,
    ],
    ['left by clamd, killed in a scan', `${result.clamdFiles} temporary files`],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
  if (violations.length === 0) return lines.join('\n');
  const told = violations.slice(0, SHOWN).map(({ kind, what }) => `${kind}: ${what}`);
  const again = `npm run test:chaos -- --schedules 0 --seed ${result.seed} --rounds ${result.rounds}`;
  return [...lines, '', ...told, `data kept in ${result.folder}; the same plan again: ${again}`].join('\n');
}
