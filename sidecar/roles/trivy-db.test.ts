import { rm, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { startTrivyDbRole, type TrivyDbFolders, trivyDbFolders } from '../../test/harness/trivy-db-builder.ts';

let folders: TrivyDbFolders;
beforeEach(async () => {
  folders = await trivyDbFolders();
});
afterEach(() => folders[Symbol.asyncDispose]());

it('says by /readyz which variable names the folder that is missing, and not where that is', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  try {
    await using running = await startTrivyDbRole(folders);
    const { readiness } = running.role;
    expect(readiness().ready).toBe(true);
    await rm(folders.cacheDir, { recursive: true });
    vi.advanceTimersByTime(30_000);
    await eventually('it is not ready', () => !readiness().ready);
    const { parts } = readiness();
    expect(parts).toMatchObject({ trivyDb: { why: expect.stringMatching(/cannot be written: ENOENT.*'TRIVY_DB_CACHE_DIR'/) } });
    expect(JSON.stringify(parts)).not.toContain(folders.root);
  } finally {
    vi.useRealTimers();
  }
});

it('protects the downloads with the password of the registry', async () => {
  const login = { TRIVY_DB_REGISTRY_USERNAME: 'trivy', TRIVY_DB_REGISTRY_PASSWORD: '0123456789abcdef' };
  await using running = await startTrivyDbRole(folders, login);
  const statusOf = async (headers: Record<string, string>) => (await running.role.routes.request('/api/download/db', { headers })).status;
  expect(await statusOf({})).toBe(401);
  // It may come in; there is nothing yet.
  expect(await statusOf({ Authorization: `Basic ${btoa('trivy:0123456789abcdef')}` })).toBe(404);
});

it.each(['cacheDir', 'outputDir'] as const)('says in the same way why it cannot begin: %s', async (which) => {
  await rm(folders[which], { recursive: true, force: true });
  await writeFile(folders[which], '');
  const failed = await startTrivyDbRole(folders).then(
    () => 'it began',
    (thrown: unknown) => String(thrown),
  );
  expect(failed).toContain('cannot be made: ');
  expect(failed).not.toContain(folders.root);
});
