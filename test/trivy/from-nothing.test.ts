/** README.md and docs/trivy-db.md as a stranger follows them, from an empty folder to a finding: their commands are what runs here. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { eventually } from '../harness/eventually.ts';
import { freePort } from '../harness/pocketbase.ts';
import { plantVulnerability, writeVulnerableRoot } from '../harness/trivy-db-input.ts';
import { trivyClient } from './trivy-client.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The shell commands below a heading, block by block. */
async function commandsOf(page: string, heading: string): Promise<readonly string[]> {
  const [, rest = ''] = (await readFile(join(root, page), 'utf8')).split(`\n${heading}\n`);
  const [section = ''] = rest.split('\n## ');
  return [...section.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, text = '']) => text);
}

/** Copies of the lists with the smallest input, in place of GitHub's: git is told so, and no command changes. */
async function ownCopies(folder: string): Promise<Record<string, string>> {
  const lists = join(folder, 'lists');
  await plantVulnerability(lists);
  for (const name of ['vuln-list', 'vuln-list-nvd']) {
    const git = (...args: string[]) =>
      execFileSync('git', ['-c', 'user.name=test', '-c', 'user.email=test@example.com', ...args], {
        cwd: join(lists, name),
        stdio: 'pipe',
      });
    git('init', '-q', '-b', 'main');
    git('add', '-A');
    git('commit', '-q', '-m', 'lists');
  }
  const config = join(folder, 'gitconfig');
  await writeFile(config, `[url "file://${lists}/"]\n\tinsteadOf = https://github.com/aquasecurity/\n`);
  return { GIT_CONFIG_GLOBAL: config };
}

/** Runs the commands in `cwd`; resolves when they have told that all of it works. */
async function npmStart(setUp: string, cwd: string, env: NodeJS.ProcessEnv): Promise<void> {
  const command = setUp.replace(/^npm start$/m, `cd "${root}"; exec "${process.execPath}" scripts/start.ts`).replaceAll('$PWD', cwd);
  const child = spawn('sh', ['-ec', command], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  onTestFinished(async () => {
    child.kill('SIGTERM');
    await exit;
  });
  const isUp = () => output.includes('Ctrl-C stops everything.') || (child.exitCode === null ? false : Promise.reject(new Error(output)));
  await eventually('npm start has started everything', isUp, 60_000);
}

it('from nothing to Trivy scanning with a database of our own, without the internet', { timeout: 120_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-nothing-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const [mirror, setUp] = await commandsOf('docs/trivy-db.md', '## Without the internet');
  const [build, scan] = await commandsOf('README.md', '## Trivy scans with your own database');
  execFileSync('sh', ['-ec', mirror!], { cwd: folder, env: { ...process.env, ...(await ownCopies(folder)) }, stdio: 'pipe' });

  const [pocketbase, clamd, port] = [await freePort(), await freePort(), await freePort()];
  const ports = { PB_PORT: String(pocketbase), CLAMD_PORT: String(clamd), PORT: String(port) };
  const nowhere = { GIT_CONFIG_GLOBAL: '/dev/null', TRIVY_DB_MIN_FREE_MIB: '0' };
  await npmStart(setUp!, folder, { ...process.env, ...ports, ...nowhere, DATA_DIR: join(folder, '.data') });

  const [post, status] = build!.replaceAll('127.0.0.1:8080', `127.0.0.1:${port}`).trim().split('\n');
  const sh = (command: string) =>
    JSON.parse(execFileSync('sh', ['-ec', command], { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  expect(sh(status!)).toMatchObject({ build: { status: 'idle' }, database: { tar_exists: false } });
  expect(sh(post!)).toMatchObject({ success: true });
  await eventually('the build has ended', () => sh(status!).build.status !== 'running', 60_000);
  expect(sh(status!)).toMatchObject({ build: { status: 'idle' }, database: { tar_exists: true } });

  const [, reference = ''] = /--db-repository (\S+)/.exec(scan!) ?? [];
  const rootfs = join(folder, 'rootfs');
  await mkdir(rootfs);
  await writeVulnerableRoot(rootfs);
  await using trivy = await trivyClient();
  const found = await trivy.scan(rootfs, { from: [reference.replace('8080', String(port))] });
  expect(found).toMatchObject({ code: 0, findings: ['CVE-2099-0001 labpkg 1.2.3-r0'] });
});
