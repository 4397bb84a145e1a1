/**
 * `npm test`: real parts, static checks, then every unit, integration, fault and browser test, and those with a real Trivy where one
 * is cached. The last line is the count.
 */
import { obtainRealParts } from '../test/harness/global-setup.ts';
import { ensureBuilt } from './ensure-built.ts';
import { obtainDockerCompose } from './parts/docker-compose.ts';
import { obtainTrivy } from './parts/trivy.ts';
import { runVitest } from './run-vitest.ts';
import { runStaticChecks } from './static-checks.ts';
import type { Count } from './vitest-count.ts';

const report = (line: string) => console.log(line);

async function obtainParts(): Promise<void> {
  for (const line of await obtainRealParts(report)) report(line);
  report(await obtainDockerCompose(report));
}

/** One step that counts as a test; what it throws is its message. */
async function step(name: string, work: () => Promise<void>): Promise<Count> {
  try {
    await work();
    return { passed: 1, failed: 0, notes: [] };
  } catch (error) {
    return { passed: 0, failed: 1, notes: [`${name}: ${error instanceof Error ? error.message : String(error)}`] };
  }
}

/** Building Trivy takes longer than everything else together, so nobody has to wait for it here; but it is said. */
async function runTests(): Promise<Count> {
  const trivy = await obtainTrivy(report, { build: false });
  const note =
    trivy === null
      ? 'The tests with a real Trivy were left out: npm run test:trivy builds one (8 minutes, once) and runs them.'
      : `Trivy (${trivy})`;
  report(note);
  const count = await runVitest([...(trivy === null ? ['--project=!trivy'] : []), ...process.argv.slice(2)]);
  return trivy === null ? { ...count, notes: [...count.notes, note] } : count;
}

const counts: Count[] = [await step('obtaining the real parts', obtainParts), await step('build', () => ensureBuilt(report))];
if (counts.every(({ failed }) => failed === 0)) {
  const checks = await runStaticChecks(report);
  counts.push(
    ...checks.map(({ name, passed }) => ({ passed: Number(passed), failed: Number(!passed), notes: passed ? [] : [`failed: ${name}`] })),
  );
  counts.push(await runTests());
}
const total = (key: 'passed' | 'failed') => counts.reduce((sum, count) => sum + count[key], 0);
for (const note of counts.flatMap(({ notes }) => notes)) console.log(note);
console.log(`${total('passed')} passed, ${total('failed')} failed`);
process.exitCode = total('failed') === 0 ? 0 : 1;
