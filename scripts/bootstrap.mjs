/**
 * Runs one of the TypeScript scripts on a fresh clone: `node scripts/bootstrap.mjs scripts/NAME.ts [arguments]`. Installs the locked
 * dependencies when they are missing or not those of package-lock.json, then hands over to the pinned Node among them.
 * Plain JavaScript, because whatever Node the machine has must be able to run it.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, 'node_modules', '.bin');

function readJson(...path) {
  try {
    return JSON.parse(readFileSync(join(root, ...path), 'utf8'));
  } catch {
    return null;
  }
}

/** Compares what npm recorded as installed with the lock file: packages of other platforms are optional and may be absent. */
function dependenciesAreCurrent() {
  const wanted = readJson('package-lock.json')?.packages ?? {};
  const installed = readJson('node_modules', '.package-lock.json')?.packages;
  if (installed === undefined || !existsSync(join(bin, 'node'))) return false;
  return Object.entries(wanted).every(([path, { version, integrity, optional }]) => {
    const found = installed[path];
    if (path === '' || (found === undefined && optional === true)) return true;
    return found?.version === version && found?.integrity === integrity;
  });
}

function finished(command, args, options) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, ...options });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
    whenNpmIsGone(() => child.kill('SIGTERM'));
    child.on('error', (error) => resolve({ code: 1, error }));
    child.on('exit', (code, signal) => resolve({ code: code ?? 1, signal }));
  });
}

/** npm run puts a shell between itself and us, which dies of a signal without passing it on; then we have another parent. */
function whenNpmIsGone(act) {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    act();
  }, 500);
  if (process.env.npm_lifecycle_event === undefined) clearInterval(watch);
  watch.unref();
}

async function installDependencies() {
  console.log('Installing the locked dependencies (npm ci) …');
  const npm = process.env.npm_execpath;
  const [command, first] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
  // NODE_ENV=production would leave out the pinned Node and the build tools.
  const args = [...first, 'ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  const { code, error } = await finished(command, args, { stdio: 'inherit' });
  if (error?.code === 'ENOENT') fail('npm is missing: install it together with Node 20 or newer.');
  if (code !== 0) fail('npm ci failed: see its message above; run the command again once that is solved.');
  if (!dependenciesAreCurrent())
    fail('npm did not run the install script of the package "node", which brings the pinned Node: run npm ci --ignore-scripts=false.');
}

function fail(sentence) {
  console.error(sentence);
  process.exit(1);
}

if (Number(process.versions.node.split('.')[0]) < 20) fail(`Node ${process.versions.node} is too old: install Node 20 or newer.`);
if (process.platform === 'win32') fail('Windows is not supported directly: use the Windows Subsystem for Linux.');
const [script, ...args] = process.argv.slice(2);
if (script === undefined || !existsSync(join(root, script)))
  fail(`usage: node scripts/bootstrap.mjs scripts/NAME.ts (there is no ${script ?? 'script'})`);
if (!dependenciesAreCurrent()) await installDependencies();

const { code, error, signal } = await finished(join(bin, 'node'), [script, ...args], {
  // The channel tells the script when this process is gone, however it went.
  stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  env: { ...process.env, PATH: `${bin}:${process.env.PATH ?? ''}` },
});
if (error !== undefined) fail(`The pinned Node does not start (${error.message}): delete node_modules and run the command again.`);
if (signal !== null && signal !== undefined) console.error(`${script} was ended by ${signal}.`);
process.exitCode = code;
