import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeHookTypes } from './hook-types.ts';
import type { Report } from './parts/report.ts';
import { run } from './parts/run.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const tool = (name: string) => join(root, 'node_modules', '.bin', name);

/** Each counts as one test. */
const CHECKS: readonly { readonly name: string; readonly command: readonly [string, ...string[]] }[] = [
  { name: 'types of sidecar, scripts and tests', command: [tool('tsc'), '-p', '.'] },
  { name: 'types of the scripts for browsers', command: [tool('tsc'), '-p', 'sidecar/console/browser'] },
  { name: 'types of the hooks', command: [tool('tsc'), '-p', 'pb_hooks'] },
  { name: 'types of the migrations', command: [tool('tsc'), '-p', 'pb_migrations'] },
  { name: 'lint and format', command: [tool('biome'), 'ci', '--colors=off', '.'] },
  { name: 'nothing unused', command: [tool('knip')] },
];

export interface CheckResult {
  readonly name: string;
  readonly passed: boolean;
  /** What the tool said. */
  readonly output: string;
}

/** Types, lint and unused code, one after the other; a tool that cannot run is a failed check, never a skipped one. */
export async function runStaticChecks(report: Report): Promise<CheckResult[]> {
  await writeHookTypes(report);
  const results: CheckResult[] = [];
  for (const { name, command } of CHECKS) {
    const [program, ...args] = command;
    const { code, stdout, stderr } = await run(program, args, { cwd: root });
    const passed = code === 0;
    report(`${passed ? 'passed' : 'FAILED'}: ${name}`);
    const output = `${stdout}${stderr}`.trim();
    if (!passed) report(output);
    results.push({ name, passed, output });
  }
  return results;
}
