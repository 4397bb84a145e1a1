/** Styles and scripts of the console for browsers: one style sheet, one script per page that needs one, each also compressed. */
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { type BuildOptions, build, type Metafile, transform } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const MAX_STYLE_BYTES = 20 * 1024;
/** Unminified, without the libraries. */
const MAX_SCRIPT_BYTES = 40 * 1024;
/** Runs before the page is painted, so it is no module: those wait. */
const EARLY = 'theme.ts';
/** For pages of other sites, which load this one file and nothing else of the console. */
const EMBEDDED = 'av-status.ts';
const MAX_EMBEDDED_BYTES = 16 * 1024;

/** Throws when a page would load more than the limits allow. */
export async function buildAssets(console: string, out: string): Promise<void> {
  await mkdir(out, { recursive: true });
  await cp(join(console, 'icon.svg'), join(out, 'icon.svg'));
  await buildStyles(console, join(out, 'console.css'));
  await buildScripts(join(console, 'browser'), out);
  for (const name of await readdir(out)) await compress(join(out, name));
}

/** console.css first; then what the parts bring themselves, by name. */
async function buildStyles(console: string, file: string): Promise<void> {
  const all = (await readdir(console, { recursive: true })).filter((name) => name.endsWith('.css')).sort();
  const sheets = ['console.css', ...all.filter((name) => name !== 'console.css')];
  const parts = await Promise.all(sheets.map((name) => readFile(join(console, name), 'utf8')));
  const minify = async (css: string) => (await transform(css, { loader: 'css', minify: true, target: 'es2024' })).code;
  const own = await minify(parts.join('\n'));
  refuse('styles', Buffer.byteLength(own), MAX_STYLE_BYTES);
  const charts = await readFile(join(root, 'node_modules/uplot/dist/uPlot.min.css'), 'utf8');
  await writeFile(file, `${await minify(charts)}${own}`);
}

/** A file that another one imports is a part of that one and no script of its own. */
async function buildScripts(folder: string, out: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && !name.endsWith('.d.ts'));
  const files = names.map((name) => join(folder, name));
  const { inputs } = await measured(split, files);
  const imported = new Set(Object.values(inputs).flatMap((input) => input.imports.map(({ path }) => path)));
  const [early, embedded] = [EARLY, EMBEDDED].map((name) => files.filter((path) => path === join(folder, name))) as [string[], string[]];
  const entries = files.filter((path) => !imported.has(relative(root, path)) && ![...early, ...embedded].includes(path));
  refuse('scripts', ownBytes(await measured(split, entries)) + ownBytes(await measured(classic, early)), MAX_SCRIPT_BYTES);
  refuse('element for other sites', ownBytes(await measured(common, embedded)), MAX_EMBEDDED_BYTES);
  await build({ ...split, entryPoints: entries, outdir: out, minify: true });
  await build({ ...common, entryPoints: embedded, outdir: out, minify: true });
  await build({ ...classic, entryPoints: early, outdir: out, minify: true });
}

const common = {
  bundle: true,
  format: 'esm',
  target: 'es2023',
  logLevel: 'warning',
  legalComments: 'none',
  absWorkingDir: root,
} as const satisfies BuildOptions;
/** What several scripts share is loaded once. */
const split = { ...common, splitting: true } as const satisfies BuildOptions;
const classic = { ...common, format: 'iife' } as const satisfies BuildOptions;

async function measured(options: BuildOptions, entryPoints: string[]): Promise<Metafile> {
  return (await build({ ...options, entryPoints, write: false, metafile: true, outdir: 'nowhere' })).metafile!;
}

function ownBytes({ outputs }: Metafile): number {
  const inputs = Object.values(outputs).flatMap((output) => Object.entries(output.inputs));
  return inputs.filter(([path]) => !path.includes('node_modules')).reduce((sum, [, { bytesInOutput }]) => sum + bytesInOutput, 0);
}

function refuse(what: string, size: number, most: number): void {
  if (size > most) throw new Error(`the ${what} of the console have ${size} bytes, and ${most} are allowed: make them smaller`);
  if (process.env['VERBOSE']) console.log(`${what} of the console: ${size} of ${most} bytes`);
}

async function compress(file: string): Promise<void> {
  const plain = await readFile(file);
  const br = await promisify(brotliCompress)(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  await writeFile(`${file}.br`, br);
  await writeFile(`${file}.gz`, await promisify(gzip)(plain, { level: 9 }));
}
