/** `npm run build`: pb_hooks, pb_migrations and the sidecar into build/. PocketBase would run the sources as JavaScript, so only build/ is ever mounted. */
import { readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { buildAssets } from './build-assets.ts';
import { checkHandlers } from './check-handlers.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = join(root, 'build');

/** goja has the syntax of ES2022; for less, esbuild would put helpers beside a handler, where it cannot see them. */
const goja = { target: 'es2022', format: 'cjs', platform: 'neutral', logLevel: 'warning', legalComments: 'none' } as const;

/** Fills a new folder and puts it in the place of the old one, so that a failed build leaves the last good one. */
async function replaced(name: string, fill: (dir: string) => Promise<void>): Promise<void> {
  // Of this process alone: two builds at once must not fill the same folder.
  const made = join(out, `.${name}.${process.pid}.new`);
  try {
    await fill(made);
    await rm(join(out, name), { recursive: true, force: true });
    await rename(made, join(out, name));
  } finally {
    await rm(made, { recursive: true, force: true });
  }
}

async function buildHooks(dir: string): Promise<void> {
  await build({ ...goja, entryPoints: [join(root, 'pb_hooks/lib/handlers.ts')], bundle: true, outfile: join(dir, 'av/lib.js') });
  await build({ ...goja, entryPoints: [join(root, 'pb_hooks/av.pb.ts')], bundle: false, outfile: join(dir, 'av.pb.js') });
  const problems = checkHandlers(await readFile(join(dir, 'av.pb.js'), 'utf8'), await readFile(join(dir, 'av/lib.js'), 'utf8'));
  if (problems.length > 0) throw new Error(`pb_hooks/av.pb.ts:\n  ${problems.join('\n  ')}`);
}

async function buildMigrations(dir: string): Promise<void> {
  const sources = join(root, 'pb_migrations');
  const files = (await readdir(sources)).filter((file) => file.endsWith('.ts'));
  // A migration is known by its file name, so the compiled one keeps it.
  await build({ ...goja, entryPoints: files.map((file) => join(sources, file)), bundle: true, outdir: dir });
}

async function buildSidecar(dir: string): Promise<void> {
  await buildAssets(join(root, 'sidecar/console'), join(dir, 'assets'));
  await build({
    entryPoints: [join(root, 'sidecar/main.ts')],
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    outfile: join(dir, 'main.js'),
    sourcemap: true,
    logLevel: 'warning',
    // clamdjs and parts of pino are CommonJS and ask for node's own modules.
    banner: { js: "import { createRequire as __createRequire } from 'node:module';const require = __createRequire(import.meta.url);" },
  });
}

const parts = {
  hooks: () => replaced('pb_hooks', buildHooks),
  migrations: () => replaced('pb_migrations', buildMigrations),
  sidecar: () => replaced('sidecar', buildSidecar),
};
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !Object.hasOwn(parts, name));
if (unknown.length > 0) {
  console.error(`usage: node scripts/build.ts [${Object.keys(parts).join('] [')}]   (all of them by default; not ${unknown.join(', ')})`);
  process.exit(64);
}
await Promise.all(Object.entries(parts).map(([name, part]) => (wanted.length === 0 || wanted.includes(name) ? part() : undefined)));
