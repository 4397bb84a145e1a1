/** The lists: from repositories, by a command of the operator, and never old ones in silence. */
import { execFileSync } from 'node:child_process';
import { access, lstat, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startTrivyDbRole, type TrivyDbFolders, trivyDbFolders } from '../harness/trivy-db-builder.ts';
import { plantVulnerability } from '../harness/trivy-db-input.ts';

let folders: TrivyDbFolders;

beforeEach(async () => {
  folders = await trivyDbFolders();
});
afterEach(() => folders[Symbol.asyncDispose]());

describe('fetching', () => {
  const git = (cwd: string, ...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=test', '-c', 'user.email=test@example.com', '-c', 'init.defaultBranch=main', ...args], {
      cwd,
      stdio: 'pipe',
    });

  /** Two repositories with the smallest input, and the variable that names them. */
  async function upstream(): Promise<{ folder: string; env: Record<string, string>; commit(): void }> {
    const folder = join(folders.root, 'upstream');
    await plantVulnerability(folder);
    const names = ['vuln-list', 'vuln-list-nvd'];
    const commit = () => {
      for (const name of names) {
        git(join(folder, name), 'add', '-A');
        git(join(folder, name), 'commit', '-q', '--allow-empty', '-m', 'lists');
      }
    };
    for (const name of names) git(join(folder, name), 'init', '-q');
    commit();
    const sources = names.map((name) => `${name}=file://${folder}/${name}#main`).join(',');
    return { folder, commit, env: { TRIVY_DB_FETCH: 'git', TRIVY_DB_GIT_SOURCES: sources } };
  }

  it('clones once, then brings what is new, and takes away what is gone', async () => {
    await rm(folders.cacheDir, { recursive: true });
    const { folder, env, commit } = await upstream();
    await using running = await startTrivyDbRole(folders, env);
    expect(await running.build()).toMatchObject({ outcome: 'succeeded', rows: { total: 3 } });
    await plantVulnerability(folder, { cves: 3 });
    commit();
    // What an interrupted fetch leaves.
    const left = [
      'index.lock',
      'shallow.lock',
      'refs/heads/main.lock',
      'ORIG_HEAD.lock',
      'packed-refs.new',
      'objects/pack/.tmp-1-pack-1.pack',
    ];
    for (const name of left) await writeFile(join(folders.cacheDir, 'vuln-list/.git', name), '');
    await writeFile(join(folders.cacheDir, 'vuln-list/alpine/3.20/main/half.json'), '{');
    expect(await running.build()).toMatchObject({ outcome: 'succeeded', rows: { total: 7 } });
    for (const name of left) await expect(access(join(folders.cacheDir, 'vuln-list/.git', name)), name).rejects.toThrow('ENOENT');
    const depth = git(join(folders.cacheDir, 'vuln-list'), 'rev-list', '--count', 'HEAD').toString().trim();
    expect(depth).toBe('1');
  });

  it('follows no link in a list', async () => {
    await rm(folders.cacheDir, { recursive: true });
    const { folder, env, commit } = await upstream();
    const outside = join(folders.root, 'outside');
    await plantVulnerability(outside, { packageName: 'outsider', cves: 3 });
    await symlink(join(outside, 'vuln-list/alpine/3.20/main/outsider.json'), join(folder, 'vuln-list/alpine/3.20/main/link.json'));
    commit();
    await using running = await startTrivyDbRole(folders, env);
    expect(await running.build()).toMatchObject({ outcome: 'failed', error: expect.stringContaining('trivy-db ended') });
    expect((await lstat(join(folders.cacheDir, 'vuln-list/alpine/3.20/main/link.json'))).isFile()).toBe(true);
  });

  it('says in the log that git could not tidy up', async () => {
    await rm(folders.cacheDir, { recursive: true });
    const { env } = await upstream();
    await using running = await startTrivyDbRole(folders, env);
    await running.build();
    const hidden = join(folders.root, 'bin');
    await mkdir(hidden);
    const real = execFileSync('which', ['git'], { encoding: 'utf8' }).trim();
    await writeFile(
      join(hidden, 'git'),
      `#!/bin/sh\nif [ "$1" = gc ]; then echo "fatal: no room in $PWD" >&2; exit 3; fi\nexec ${real} "$@"\n`,
      {
        mode: 0o755,
      },
    );
    vi.stubEnv('PATH', `${hidden}:${process.env['PATH']}`);
    try {
      const record = await running.build();
      expect(record.outcome).toBe('succeeded');
      expect(await running.logOf(record.id)).toContain('What older fetches left in vuln-list could not be removed');
      expect(await running.logOf(record.id)).toContain('fatal: no room in vuln-list');
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('fetches anew what a power cut damaged', async () => {
    await rm(folders.cacheDir, { recursive: true });
    const { env } = await upstream();
    await using running = await startTrivyDbRole(folders, env);
    await running.build();
    const objects = join(folders.cacheDir, 'vuln-list/.git/objects');
    for (const entry of await readdir(objects, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      await rm(path);
      await writeFile(path, '');
    }
    expect(await running.build()).toMatchObject({ outcome: 'succeeded', error: null });
    await writeFile(join(folders.cacheDir, 'vuln-list/.git/HEAD'), '');
    expect(await running.build()).toMatchObject({ outcome: 'succeeded', error: null });
  });

  it('never builds on old lists in silence, and keeps a password out of log and record', async () => {
    const { folder, env } = await upstream();
    await using running = await startTrivyDbRole(folders, env);
    await running.build();
    await rm(folder, { recursive: true });
    const failed = await running.build();
    expect(failed).toMatchObject({ outcome: 'failed', error: expect.stringContaining('TRIVY_DB_GIT_SOURCES') });
    expect(failed.phases.map(({ name }) => name)).toEqual(['fetch']);
    // Whoever reaches the port may read the log.
    expect(failed.error).not.toContain(folders.root);
    expect(
      (await running.logOf(failed.id))
        .split('\n')
        .filter((line) => line.includes('fetch: '))
        .join(),
    ).not.toContain(folders.root);

    const secret = 'http://user:hunter2@127.0.0.1:1/vuln-list#main';
    await using closed = await startTrivyDbRole(folders, { TRIVY_DB_FETCH: 'git', TRIVY_DB_GIT_SOURCES: `vuln-list=${secret}` });
    const refused = await closed.build();
    expect(refused.outcome).toBe('failed');
    expect(JSON.stringify(refused) + (await closed.logOf(refused.id)) + JSON.stringify(closed.log)).not.toContain('hunter2');
  });

  it("runs the operator's own command, without our secrets, and fails with it", async () => {
    await rm(folders.cacheDir, { recursive: true });
    await mkdir(folders.cacheDir);
    const store = join(folders.root, 'store');
    await plantVulnerability(store);
    const command = await folders.script('fetch-lists', `env > "${folders.root}/env"\ncp -r "${store}"/. . && echo "from $1"`);
    const env = { TRIVY_DB_FETCH: 'command', TRIVY_DB_FETCH_COMMAND: `${command} somewhere` };
    process.env['OPERATOR_TOKEN'] = 'a secret of the tests';
    try {
      await using running = await startTrivyDbRole(folders, env);
      const record = await running.build();
      expect(record).toMatchObject({ outcome: 'succeeded', error: null });
      expect(await running.logOf(record.id)).toContain('fetch: from somewhere');
      expect(await readFile(join(folders.root, 'env'), 'utf8')).not.toContain('a secret of the tests');
      await folders.script('fetch-lists', 'echo "the mirror is down"; exit 3');
      expect(await running.build()).toMatchObject({ outcome: 'failed', exitCode: 3, error: expect.stringContaining('the mirror is down') });
    } finally {
      delete process.env['OPERATOR_TOKEN'];
    }
  });
});
