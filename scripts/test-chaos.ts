/** `npm run test:chaos`: kills at random, under load, for as many rounds as are asked for. */
import { parseArgs } from 'node:util';
import { runChaos } from '../test/chaos/run.ts';
import { summaryOf } from '../test/chaos/summary.ts';
import { ensureBuilt } from './ensure-built.ts';
import { obtainClamd } from './parts/clamd.ts';
import { obtainPocketBase } from './parts/pocketbase.ts';

const HELP = `usage: npm run test:chaos -- [--rounds N] [--seed S] [--minutes M]

PocketBase, clamd and two sidecars under uploads, changes and downloads, killed and paused at random moments. After each round every
build must have one check, every check its one right end, and nothing may have left before it was proved clean. The first violation
ends the run with exit code 1, keeps the data and prints the command that repeats the plan.

  --rounds N    at most N rounds (300)
  --seed S      the plan of uploads, changes and kills; how the processes interleave is not in it (random)
  --minutes M   begins no round after M minutes (no limit)`;

function readOptions(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      help: { type: 'boolean', short: 'h' },
      rounds: { type: 'string', default: '300' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      minutes: { type: 'string', default: 'Infinity' },
    },
  });
  if (values.help === true) return null;
  const [rounds, seed, minutes] = [Number(values.rounds), Number(values.seed), Number(values.minutes)];
  if (!(rounds > 0) || !Number.isSafeInteger(seed) || !(minutes > 0)) throw new Error(`Numbers above zero are wanted.\n\n${HELP}`);
  return { rounds, seed, maxMs: minutes * 60_000 };
}

try {
  const options = readOptions(process.argv.slice(2));
  const report = (line: string) => console.log(line);
  if (options === null) report(HELP);
  else {
    await Promise.all([obtainPocketBase(report), obtainClamd(report)]);
    await ensureBuilt(report);
    report(`seed ${options.seed}`);
    const result = await runChaos({ ...options, report });
    report(summaryOf(result));
    process.exitCode = result.violations.length === 0 ? 0 : 1;
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
