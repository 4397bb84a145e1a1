/** `npm run test:chaos`: kills at random, under load, for as many rounds as are asked for. */
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { runChaos } from '../test/chaos/run.ts';
import { play, schedules } from '../test/chaos/simulation/schedule.ts';
import { summaryOf } from '../test/chaos/summary.ts';
import { ensureBuilt } from './ensure-built.ts';
import { obtainClamd } from './parts/clamd.ts';
import { obtainPocketBase } from './parts/pocketbase.ts';

const HELP = `usage: npm run test:chaos -- [--schedules N] [--rounds N] [--seed S] [--minutes M]

First the worker and the rules alone, on a simulated clock, through random schedules of deaths, pauses, lost answers and changes. Then
PocketBase, clamd and two sidecars under uploads, changes and downloads, killed and paused at random moments. After each round every
build must have one check, every check its one right end, and nothing may have left before it was proved clean. The first violation
ends the run with exit code 1, keeps the data and prints the command that repeats the plan.

  --schedules N so many schedules (100000, ten minutes; 0 for none)
  --rounds N    at most N rounds (300)
  --seed S      the plan of uploads, changes and kills; how the processes interleave is not in it (random)
  --minutes M   begins no round after M minutes (no limit)`;

type Four = [number, number, number, number];

/** Null when the help is wanted; throws with one sentence when the arguments make no sense. */
function readOptions(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      help: { type: 'boolean', short: 'h' },
      schedules: { type: 'string', default: '100000' },
      rounds: { type: 'string', default: '300' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      minutes: { type: 'string', default: 'Infinity' },
    },
  });
  if (values.help === true) return null;
  const [schedules, rounds, seed, minutes] = [values.schedules, values.rounds, values.seed, values.minutes].map(Number) as Four;
  if (!(schedules >= 0 && rounds >= 0 && minutes > 0) || !Number.isSafeInteger(seed)) throw new Error(`Numbers are wanted.\n\n${HELP}`);
  return { schedules, rounds, seed, maxMs: minutes * 60_000 };
}

const report = (line: string) => console.log(line);

async function playSchedules({ schedules: count, seed }: { schedules: number; seed: number }): Promise<void> {
  if (count === 0) return;
  const since = performance.now();
  // Throws with the schedule in its smallest form, and with what repeats it.
  await fc.assert(
    fc.asyncProperty(schedules, (schedule) => play(schedule).then(() => {})),
    { numRuns: count, seed },
  );
  report(`${count} schedules on a simulated clock, ${((performance.now() - since) / 1000).toFixed(0)} s, 0 violations`);
}

async function playRounds(options: { rounds: number; seed: number; maxMs: number }): Promise<void> {
  const result = await runChaos({ ...options, report });
  report(summaryOf(result));
  process.exitCode = result.violations.length === 0 ? 0 : 1;
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === null) report(HELP);
  else {
    await Promise.all([obtainPocketBase(report), obtainClamd(report)]);
    await ensureBuilt(report);
    report(`seed ${options.seed}`);
    await playSchedules(options);
    if (options.rounds > 0) await playRounds(options);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
