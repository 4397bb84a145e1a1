import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { withLock } from './parts/lock.ts';
import type { Report } from './parts/report.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const stamp = join(root, 'build', '.current');
const SOURCES = [
  'pb_hooks',
  'pb_migrations',
  'sidecar',
  'scripts/build.ts',
  'scripts/build-assets.ts',
  'scripts/check-handlers.ts',
  'package-lock.json',
];
const OUTPUTS = ['build/pb_hooks', 'build/pb_migrations', 'build/sidecar'];

/**
 * build/ as the sources of now would make it. Does nothing when it is already that, so that a running test or group never loses
 * the files under its feet, and lets one process build while others wait. Throws with the compiler's words.
 */
export async function ensureBuilt(report: Report): Promise<void> {
  await withLock(
    join(root, 'build', '.lock'),
    (holder) => report(`waiting for ${holder}, which is compiling`),
    async () => {
      const wanted = await digest(SOURCES);
      if ((await readFile(stamp, 'utf8').catch(() => '')) === `${wanted} ${await digest(OUTPUTS)}`) return;
      report('compiling hooks, migrations and sidecar');
      await rm(stamp, { force: true });
      await compile();
      await writeFile(stamp, `${wanted} ${await digest(OUTPUTS)}`);
    },
  );
}

async function compile(): Promise<void> {
  try {
    await promisify(execFile)(process.execPath, [join(root, 'scripts', 'build.ts')], { cwd: root });
  } catch (error) {
    throw new Error(`npm run build failed:\n${(error as { stderr?: string }).stderr ?? String(error)}`, { cause: error });
  }
}

/** Over names and contents of all files below; a missing folder is an empty one. */
async function digest(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const path of paths) {
    const names = await readdir(join(root, path), { recursive: true, withFileTypes: true }).then(
      (entries) => entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)),
      (error: NodeJS.ErrnoException) => (error.code === 'ENOTDIR' ? [join(root, path)] : []),
    );
    for (const name of names.sort())
      hash
        .update(`${name}\0`)
        .update(await readFile(name))
        .update('\0');
  }
  return hash.digest('hex');
}
