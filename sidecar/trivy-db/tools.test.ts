import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { resolveTools } from './tools.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trivy-db-tools-'));
  vi.stubEnv('PATH', `${folder}:/usr/bin:/bin`);
  vi.stubEnv('XDG_CACHE_HOME', join(folder, 'cache'));
  vi.stubEnv('TRIVY_DB_BIN', '');
  vi.stubEnv('OPERATOR_TOKEN', 'a secret of the tests');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

const none = { trivyDb: null, bbolt: null };
async function fakeGo(modules: string): Promise<void> {
  await writeFile(join(folder, 'go'), `#!/bin/sh\nenv > ${folder}/env\ncase "$1" in env) echo go1.27.0 ;; *) ${modules} ;; esac\n`);
  await chmod(join(folder, 'go'), 0o755);
}

it('stops building with all that it has started, and keeps our secrets from it', async () => {
  await fakeGo(`sleep 600 & echo "$$ $!" > ${folder}/pids; wait`);
  const cancelled = new AbortController();
  const failed = expect(resolveTools(none, () => {}, cancelled.signal)).rejects.toThrow('somebody cancelled it');
  const pids = await eventually('go runs', async () => {
    const said = await readFile(join(folder, 'pids'), 'utf8').catch(() => '');
    return said.endsWith('\n') ? said.trim().split(' ').map(Number) : null;
  });
  cancelled.abort(new Error('somebody cancelled it'));
  await failed;
  expect(pids.filter(isRunning)).toEqual([]);
  const seen = await readFile(join(folder, 'env'), 'utf8');
  expect(seen).toContain(`XDG_CACHE_HOME=${folder}`);
  expect(seen).not.toContain('a secret of the tests');
});

it('says why a tool could not be built, and not where anything is', async () => {
  await fakeGo(`echo "${folder}/some/where/module.zip is broken" >&2; exit 3`);
  const lines: string[] = [];
  const tried = resolveTools(none, (line) => lines.push(line), new AbortController().signal);
  await expect(tried).rejects.toThrow(/^trivy-db could not be obtained: .*module\.zip is broken/s);
  expect(`${lines.join('\n')} ${await tried.catch(String)}`).not.toContain(folder);
  await expect(resolveTools({ ...none, trivyDb: join(folder, 'none') }, () => {}, new AbortController().signal)).rejects.toThrow(
    'What TRIVY_DB_BIN names is not a program.',
  );
});

function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
