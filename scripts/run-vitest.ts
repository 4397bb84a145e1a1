import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { boundToParent } from './parts/bound-to-parent.ts';
import { type Count, countVitest } from './vitest-count.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** One run of vitest with these arguments; it prints as it goes. */
export async function runVitest(args: readonly string[]): Promise<Count> {
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-report-'));
  const path = join(folder, 'report.json');
  try {
    const program = join(root, 'node_modules', 'vitest', 'vitest.mjs');
    // Leaving out --silent: what a failing test printed is the best hint there is.
    const all = [program, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${path}`, ...args];
    const child = spawn(...boundToParent(process.execPath, all), { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
    const [code] = (await once(child, 'exit')) as [number | null];
    return countVitest(await readFile(path, 'utf8').catch(() => ''), code);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
