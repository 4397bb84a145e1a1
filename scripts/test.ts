/** `npm test`: real parts, static checks, then every unit, integration and fault test. The last line is the count. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureBuilt } from './ensure-built.ts';
import { boundToParent } from './parts/bound-to-parent.ts';
import { obtainClamd } from './parts/clamd.ts';
import { obtainDockerCompose } from './parts/docker-compose.ts';
import { obtainPocketBase } from './parts/pocketbase.ts';
import { runStaticChecks } from './static-checks.ts';
import { type Count, countVitest } from './vitest-count.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const report = (line: string) => console.log(line);

async function obtainParts(): Promise<void> {
  const [pocketbase, clamd] = await Promise.all([obtainPocketBase(report), obtainClamd(report)]);
  const compose = await obtainDockerCompose(report);
  report(`PocketBase ${pocketbase.version} (${pocketbase.bin}), clamd ${clamd.version} (${clamd.clamd}), ${compose}`);
}

async function runVitest(): Promise<Count> {
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-report-'));
  const path = join(folder, 'report.json');
  try {
    const args = [
      join(root, 'node_modules', 'vitest', 'vitest.mjs'),
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${path}`,
    ];
    // Leaving out --silent: what a failing test printed is the best hint there is.
    const child = spawn(...boundToParent(process.execPath, [...args, ...process.argv.slice(2)]), {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const [code] = (await once(child, 'exit')) as [number | null];
    return countVitest(await readFile(path, 'utf8').catch(() => ''), code);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
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

const counts: Count[] = [await step('obtaining the real parts', obtainParts), await step('build', () => ensureBuilt(report))];
if (counts.every(({ failed }) => failed === 0)) {
  const checks = await runStaticChecks(report);
  counts.push(
    ...checks.map(({ name, passed }) => ({ passed: Number(passed), failed: Number(!passed), notes: passed ? [] : [`failed: ${name}`] })),
  );
  counts.push(await runVitest());
}
const total = (key: 'passed' | 'failed') => counts.reduce((sum, count) => sum + count[key], 0);
for (const note of counts.flatMap(({ notes }) => notes)) console.log(note);
console.log(`${total('passed')} passed, ${total('failed')} failed`);
process.exitCode = total('failed') === 0 ? 0 : 1;
