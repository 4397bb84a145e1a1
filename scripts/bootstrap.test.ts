import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

let root: string;
const LOCK = {
  packages: {
    '': {},
    'node_modules/thing': { version: '1.0.0', integrity: 'sha512-a' },
    'node_modules/for-elsewhere': { version: '1.0.0', integrity: 'sha512-b', optional: true },
  },
};
const INSTALLED = { packages: { 'node_modules/thing': { version: '1.0.0', integrity: 'sha512-a' } } };

/** A clone with one script, an npm that notes its arguments and installs what the lock file wants, and nothing installed. */
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pocketwarden-clone-'));
  await mkdir(join(root, 'scripts'));
  await copyFile(new URL('./bootstrap.mjs', import.meta.url), join(root, 'scripts', 'bootstrap.mjs'));
  await writeFile(
    join(root, 'scripts', 'hello.ts'),
    'const all: string[] = process.argv.slice(2); console.log("hello", ...all); process.exit(7);',
  );
  await json('package-lock.json', LOCK);
  await writeFile(
    join(root, 'npm.js'),
    `const fs = require('node:fs'); fs.appendFileSync('npm-asked', process.argv.slice(2).join(' '));
     if (process.env.NPM_FAILS) process.exit(1);
     fs.mkdirSync('node_modules/.bin', { recursive: true });
     fs.writeFileSync('node_modules/.package-lock.json', ${JSON.stringify(JSON.stringify(INSTALLED))});
     fs.rmSync('node_modules/.bin/node', { force: true });
     if (!process.env.NPM_SKIPS_SCRIPTS) fs.symlinkSync(process.execPath, 'node_modules/.bin/node');`,
  );
});
afterEach(() => rm(root, { recursive: true, force: true }));

const json = (name: string, value: unknown) => writeFile(join(root, name), JSON.stringify(value));

async function install(installed: unknown = INSTALLED): Promise<void> {
  await mkdir(join(root, 'node_modules', '.bin'), { recursive: true });
  await symlink(process.execPath, join(root, 'node_modules', '.bin', 'node'));
  await json('node_modules/.package-lock.json', installed);
}

async function bootstrap(args: string[], env: Record<string, string> = {}): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, [join(root, 'scripts', 'bootstrap.mjs'), ...args], {
    cwd: root,
    env: { ...process.env, npm_execpath: join(root, 'npm.js'), ...env },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}

const npmAsked = () => readFile(join(root, 'npm-asked'), 'utf8').catch(() => '');

describe('the bootstrap', () => {
  it('installs on a fresh clone, then runs the script with its arguments and exit code', async () => {
    const { code, output } = await bootstrap(['scripts/hello.ts', 'one', '--two']);
    expect(output).toContain('hello one --two');
    expect(code).toBe(7);
    expect(await npmAsked()).toContain('ci --include=dev');
  });

  it('installs nothing when what is installed is what the lock file says, packages of other platforms aside', async () => {
    await install();
    expect((await bootstrap(['scripts/hello.ts'])).output).toBe('hello\n');
    expect(await npmAsked()).toBe('');
  });

  it.each([
    ['a package is missing', { packages: {} }],
    ['a package has another version', { packages: { 'node_modules/thing': { version: '0.9.0', integrity: 'sha512-a' } } }],
    ['a package has other content', { packages: { 'node_modules/thing': { version: '1.0.0', integrity: 'sha512-c' } } }],
  ])('installs when %s', async (_why, installed) => {
    await install(installed);
    expect((await bootstrap(['scripts/hello.ts'])).output).toContain('hello');
    expect(await npmAsked()).toContain('ci');
  });

  it('says what to do when the install fails or brings no Node', async () => {
    const failed = await bootstrap(['scripts/hello.ts'], { NPM_FAILS: '1' });
    expect(failed).toMatchObject({ code: 1, output: expect.stringContaining('npm ci failed') });
    const skipped = await bootstrap(['scripts/hello.ts'], { NPM_SKIPS_SCRIPTS: '1' });
    expect(skipped).toMatchObject({ code: 1, output: expect.stringContaining('npm ci --ignore-scripts=false') });
  });

  it('names a script that is not there', async () => {
    expect(await bootstrap(['scripts/none.ts'])).toMatchObject({ code: 1, output: expect.stringContaining('there is no scripts/none.ts') });
  });
});
