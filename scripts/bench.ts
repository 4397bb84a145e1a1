/** `npm run bench`: what the product reaches on this machine, against what it must reach. */
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { type Context, judge, type Measure, type Row } from './bench/measure.ts';
import { measures } from './bench/measures.ts';
import { inOwnFolder } from './bench/own-folder.ts';
import { table } from './bench/table.ts';
import { ensureBuilt } from './ensure-built.ts';
import { obtainClamd } from './parts/clamd.ts';
import { obtainPocketBase } from './parts/pocketbase.ts';

const EXIT_USAGE = 64;
const HELP = `usage: npm run bench -- [--only NAME]... [--quick] [--json] [--profile FOLDER] | --list | --help

Runs real PocketBase, clamd and sidecar in temporary folders and prints what they reach, as ratios against the raw engine or plain
PocketBase in the same run. Takes about a quarter of an hour and 6 GiB of disk; the machine should have nothing else to do.

  --only NAME       run this measure alone; may be repeated
  --list            the measures and their names
  --quick           smaller sizes: shows that the bench works, not what the product reaches
  --json            one JSON document instead of the table
  --profile FOLDER  every sidecar leaves a CPU profile there (for Chrome's developer tools)

Exit code: 0, or 1 when a measure failed or missed what it must reach (with --quick: failed).`;

interface Outcome {
  readonly rows: readonly Row[];
  readonly failures: readonly { readonly name: string; readonly why: string }[];
}

const report = (line: string) => void process.stderr.write(`${line}\n`);

async function main(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (options.help) return print(HELP, 0);
  if (options.list) return print(measures.map(({ name, what }) => `${name.padEnd(18)}${what}`).join('\n'), 0);
  const chosen = choose(options.only ?? []);
  if (process.platform !== 'linux') throw new Error('The bench runs on Linux alone: it reads /proc.');
  const context: Context = { quick: options.quick ?? false, report, profiles: options.profile ?? null };
  const [pocketbase, clamd] = await Promise.all([obtainPocketBase(report), obtainClamd(report), ensureBuilt(report)]);
  const outcome = await inOwnFolder(() => runAll(chosen, context));
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB`;
  const about = {
    date: new Date().toISOString(),
    machine,
    node: process.version,
    pocketbase: pocketbase.version,
    clamd: clamd.version,
    quick: context.quick,
  };
  print(options.json ? json(about, outcome) : text(about, outcome), 0);
  const isMissed = !context.quick && outcome.rows.some((row) => judge(row) === 'missed');
  return outcome.failures.length > 0 || isMissed ? 1 : 0;
}

function readOptions(args: readonly string[]) {
  const flag = { type: 'boolean' } as const;
  const options = {
    json: flag,
    list: flag,
    quick: flag,
    help: { ...flag, short: 'h' },
    profile: { type: 'string' },
    only: { type: 'string', multiple: true },
  } as const;
  try {
    return parseArgs({ args: [...args], options }).values;
  } catch (thrown) {
    throw new UsageError(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

class UsageError extends Error {
  override readonly name = 'UsageError';
}

function choose(names: readonly string[]): readonly Measure[] {
  const unknown = names.filter((name) => !measures.some((measure) => measure.name === name));
  if (unknown.length > 0) throw new UsageError(`There is no measure ${unknown.join(', ')}: see --list.`);
  return names.length === 0 ? measures : measures.filter(({ name }) => names.includes(name));
}

/** A measure that fails does not keep the others from being taken. */
async function runAll(chosen: readonly Measure[], context: Context): Promise<Outcome> {
  const rows: Row[] = [];
  const failures: { name: string; why: string }[] = [];
  for (const [index, { name, what, run }] of chosen.entries()) {
    report(`[${index + 1}/${chosen.length}] ${name}: ${what}`);
    const began = performance.now();
    try {
      rows.push(...(await run({ ...context, report: (line) => report(`  ${line}`) })));
    } catch (thrown) {
      failures.push({ name, why: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown) });
      report(`  failed: ${thrown instanceof Error ? thrown.message : thrown}`);
    }
    report(`  ${((performance.now() - began) / 1000).toFixed(0)} s`);
  }
  return { rows, failures };
}

function text(about: Readonly<Record<string, string | boolean>>, { rows, failures }: Outcome): string {
  const { date, machine, node, pocketbase, clamd, quick } = about;
  return [
    `${date}, ${machine}, Node ${node}, PocketBase ${pocketbase}, clamd ${clamd} with test signatures; load generator included`,
    ...(quick ? ['QUICK: with smaller sizes, so these are not the figures that the limits are meant for'] : []),
    '',
    table(rows),
    ...failures.map(({ name, why }) => `\n${name} FAILED: ${why}`),
  ].join('\n');
}

function json(about: object, { rows, failures }: Outcome): string {
  return JSON.stringify({ ...about, rows: rows.map((row) => ({ ...row, judgement: judge(row) })), failures }, null, 2);
}

function print(output: string, code: number): number {
  process.stdout.write(`${output}\n`);
  return code;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (thrown) {
  const isUsage = thrown instanceof UsageError;
  report(isUsage ? `${thrown.message}\n\n${HELP}` : thrown instanceof Error ? thrown.message : String(thrown));
  process.exitCode = isUsage ? EXIT_USAGE : 1;
}
// The channel to our parent would keep the process alive.
process.disconnect?.();
