import { copyFile, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { obtainPocketBase } from './parts/pocketbase.ts';
import type { Report } from './parts/report.ts';
import { runOrThrow } from './parts/run.ts';

const target = fileURLToPath(new URL('../build/types/pocketbase.d.ts', import.meta.url));

/** Writes the types of the very PocketBase that is used to build/types/, where the hooks are checked against them: it prints them into any new data folder. */
export async function writeHookTypes(report: Report): Promise<void> {
  const { bin } = await obtainPocketBase(report);
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-types-'));
  try {
    const folders = ['hooksDir', 'migrationsDir', 'publicDir'].map((name) => `--${name}=${join(folder, name)}`);
    const data = join(folder, 'data');
    await runOrThrow(bin, ['migrate', 'history-sync', `--dir=${data}`, ...folders, '--dev=false', '--automigrate=false']);
    await mkdir(join(target, '..'), { recursive: true });
    // Beside the target first: the system's temporary folder may be another file system.
    const beside = `${target}.${process.pid}`;
    await copyFile(join(data, 'types.d.ts'), beside);
    await rename(beside, target);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
