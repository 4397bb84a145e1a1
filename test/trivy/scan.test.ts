/** The end that it is all for: somebody's stock Trivy scans with the database that was just built. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plantVulnerability, writeVulnerableRoot } from '../harness/trivy-db-input.ts';
import { trivyClient } from './trivy-client.ts';
import { startTrivyDb, type TrivyDbSidecar, withCanary } from './trivy-db-sidecar.ts';

const finding = 'CVE-2099-0001 labpkg 1.2.3-r0';
const canary = 'alpine 3.20 labpkg 1.2.3-r0 CVE-2099-0001';

const used = new AsyncDisposableStack();
let root: string;
let filled: TrivyDbSidecar;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'pocketwarden-root-'));
  used.defer(() => rm(root, { recursive: true, force: true }));
  await writeVulnerableRoot(root);
  filled = used.use(await startTrivyDb());
  await plantVulnerability(filled.cacheDir);
  expect(await filled.build()).toMatchObject({ outcome: 'succeeded', error: null });
});
afterAll(() => used.disposeAsync());

describe('a stock Trivy', () => {
  it('finds a planted vulnerability with the database of our registry', async () => {
    await using trivy = await trivyClient();
    expect(await trivy.scan(root, { from: [filled.repository] })).toMatchObject({ code: 0, findings: [finding] });
    expect(await trivy.scan(root, { from: [filled.repository], flags: ['--exit-code', '7'] })).toMatchObject({
      code: 7,
      findings: [finding],
    });
  });

  it('is told by variable where the database is, and needs no tag', async () => {
    await using trivy = await trivyClient();
    const env = { TRIVY_DB_REPOSITORY: filled.repository.replace(/:2$/, '') };
    expect(await trivy.scan(root, { from: [], env })).toMatchObject({ code: 0, findings: [finding] });
  });

  it('goes on to its next repository while nothing has been built, and fails where there is none', async () => {
    await using empty = await startTrivyDb();
    await using trivy = await trivyClient();
    expect(await trivy.scan(root, { from: [empty.repository] })).toMatchObject({ code: 1, findings: [] });
    expect(await trivy.scan(root, { from: [empty.repository, filled.repository] })).toMatchObject({ code: 0, findings: [finding] });
  });

  it('gets in with user name and password alone', async () => {
    // Trivy takes TRIVY_PASSWORD for a list: neither white space nor commas can be in it.
    const password = 'a-password-of-the-registry';
    await using closed = await startTrivyDb({ TRIVY_DB_REGISTRY_USERNAME: 'trivy', TRIVY_DB_REGISTRY_PASSWORD: password });
    await plantVulnerability(closed.cacheDir);
    await closed.build();
    await using trivy = await trivyClient();
    const from = [closed.repository];
    expect(await trivy.scan(root, { from })).toMatchObject({ code: 1, findings: [] });
    const env = { TRIVY_USERNAME: 'trivy', TRIVY_PASSWORD: 'something-else' };
    expect(await trivy.scan(root, { from, env })).toMatchObject({ code: 1, findings: [] });
    expect(await trivy.scan(root, { from, env: { ...env, TRIVY_PASSWORD: password } })).toMatchObject({ code: 0, findings: [finding] });
  });
});

describe('rolling back', () => {
  it('gives Trivy the older database again', async () => {
    await using source = await startTrivyDb();
    await plantVulnerability(source.cacheDir);
    const good = await source.build();
    await plantVulnerability(source.cacheDir, { fixedIn: '1.2.3-r0' });
    await source.build();
    const found = async () => {
      await using trivy = await trivyClient();
      return (await trivy.scan(root, { from: [source.repository] })).findings;
    };
    expect(await found()).toEqual([]);
    await source.post(`/api/builds/${good.id}/publish`);
    expect(await found()).toEqual([finding]);
  });
});

describe('the cached database', () => {
  it('lasts as long as our metadata says, then is fetched anew, and a scan without it needs to be told', async () => {
    await using source = await startTrivyDb({ TRIVY_DB_UPDATE_INTERVAL: '6h' });
    await plantVulnerability(source.cacheDir);
    await source.build();
    await using trivy = await trivyClient();
    const from = [source.repository];
    await trivy.scan(root, { from });
    const first = await trivy.metadata();
    expect(Date.parse(first.NextUpdate) - Date.parse(first.UpdatedAt)).toBe(6 * 3_600_000);

    await source.build();
    await trivy.scan(root, { from });
    expect(await trivy.metadata()).toEqual(first);

    await trivy.age();
    expect(await trivy.scan(root, { from })).toMatchObject({ code: 0, findings: [finding] });
    expect(Date.parse((await trivy.metadata()).UpdatedAt)).toBeGreaterThan(Date.parse(first.UpdatedAt));

    await source.sidecar.kill();
    expect(await trivy.scan(root, { from })).toMatchObject({ code: 0, findings: [finding] });
    await trivy.age();
    expect(await trivy.scan(root, { from })).toMatchObject({ code: 1 });
    expect(await trivy.scan(root, { from, flags: ['--skip-db-update'] })).toMatchObject({ code: 0, findings: [finding] });
  });
});

describe('the canary', () => {
  it('lets a build through that knows its vulnerability, and keeps back one that does not', async () => {
    await using source = await startTrivyDb({ ...(await withCanary(canary)), TRIVY_DB_MIN_ROWS_PERCENT: '0' });
    await plantVulnerability(source.cacheDir);
    expect(await source.build()).toMatchObject({ outcome: 'succeeded', error: null });

    await rm(join(source.cacheDir, 'vuln-list/alpine/3.20/main/labpkg.json'));
    await plantVulnerability(source.cacheDir, { packageName: 'otherpkg' });
    const refused = await source.build();
    expect(refused).toMatchObject({ outcome: 'failed', publishedAt: [] });
    expect(refused.error).toContain('did not find CVE-2099-0001');

    await using trivy = await trivyClient();
    expect(await trivy.scan(root, { from: [source.repository] })).toMatchObject({ code: 0, findings: [finding] });
  });

  it('publishes nothing at all while no build has known it', async () => {
    await using source = await startTrivyDb(await withCanary('alpine 3.20 labpkg 1.2.3-r0 CVE-2099-9999'));
    await plantVulnerability(source.cacheDir);
    expect(await source.build()).toMatchObject({ outcome: 'failed', publishedAt: [] });
    expect((await fetch(`${source.sidecar.url}/v2/trivy-db/manifests/2`)).status).toBe(503);
  });
});
