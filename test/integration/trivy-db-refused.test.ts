/** Everything that must keep a build from being published, with the real trivy-db and bbolt. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BuildRecord } from '../../sidecar/trivy-db/model.ts';
import { startTrivyDbRole, type TrivyDbFolders, trivyDbFolders } from '../harness/trivy-db-builder.ts';
import { plantVulnerability } from '../harness/trivy-db-input.ts';

let folders: TrivyDbFolders;

beforeEach(async () => {
  folders = await trivyDbFolders();
});
afterEach(() => folders[Symbol.asyncDispose]());

describe('what is not whole', () => {
  /** Whatever goes wrong, the published one stays as it is and the next build just starts. */
  async function failsAndRecovers(
    spoil: () => Promise<() => Promise<void>>,
    error: RegExp,
    env: Record<string, string> = {},
  ): Promise<BuildRecord> {
    await using running = await startTrivyDbRole(folders, env);
    const { builder } = running.role;
    await running.build();
    const before = await builder.published();
    const mend = await spoil();
    const failed = await running.build();
    expect(failed).toMatchObject({ outcome: 'failed', publishedAt: [], isKept: false });
    expect(failed.error).toMatch(error);
    expect(await builder.published()).toEqual(before);
    expect((await builder.state()).status).toBe('error');
    expect(await readdir(join(folders.outputDir, 'builds'))).toEqual([before!.buildId]);
    await mend();
    expect(await running.build()).toMatchObject({ outcome: 'succeeded' });
    expect((await builder.state()).status).toBe('idle');
    return failed;
  }

  const advisory = () => join(folders.cacheDir, 'vuln-list/alpine/3.20/main/labpkg.json');

  it('is not published: a list that is no JSON', async () => {
    const failed = await failsAndRecovers(async () => {
      const before = await readFile(advisory());
      await writeFile(advisory(), '{"name": ');
      return () => writeFile(advisory(), before);
    }, /^trivy-db ended with exit code 1: ERROR .*unexpected EOF.*labpkg\.json/);
    expect(failed).toMatchObject({ exitCode: 1, signal: null });
    expect(failed.phases.at(-1)).toMatchObject({ name: 'build', exitCode: 1 });
    expect(failed.lastLines.some((line) => line.includes('* target: alpine'))).toBe(true);
    expect(failed.lastLines.length).toBeLessThanOrEqual(20);
  });

  it('is not published: a source without its folder, which is found before anything is built', async () => {
    const failed = await failsAndRecovers(async () => {
      await rm(join(folders.cacheDir, 'vuln-list'), { recursive: true });
      return () => plantVulnerability(folders.cacheDir);
    }, /vuln-list\/alpine \(for alpine\).*TRIVY_DB_SOURCES/);
    expect(failed.phases.map(({ name }) => name)).toEqual(['fetch']);
  });

  it('is not published: a database with far fewer rows', async () => {
    await plantVulnerability(folders.cacheDir, { cves: 20 });
    await failsAndRecovers(async () => {
      await rm(join(folders.cacheDir, 'vuln-list-nvd'), { recursive: true });
      await plantVulnerability(folders.cacheDir, { cves: 5 });
      return () => plantVulnerability(folders.cacheDir, { cves: 20 });
    }, /has 11 rows, and the last one with these sources had 41/);
  });

  it('is not published: Alpine alone, of which trivy-db makes a database and then fails', async () => {
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_SOURCES: 'alpine' });
    expect(await running.build()).toMatchObject({ outcome: 'failed', exitCode: 1, error: expect.stringContaining('bucket not found') });
    expect(await running.role.builder.published()).toBeNull();
  });

  it('is not published: a database whose builder claims success too early', async () => {
    const { TRIVY_DB_BIN = '' } = await folders.env();
    // With its details still in it, as a build that was killed while optimising leaves it.
    const { BBOLT_BIN = '' } = await folders.env();
    const bbolt = await folders.script('bbolt', `if [ "$1" = buckets ]; then echo vulnerability-detail; fi\nexec "${BBOLT_BIN}" "$@"`);
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_BIN, BBOLT_BIN: bbolt });
    expect(await running.build()).toMatchObject({
      outcome: 'failed',
      error: expect.stringContaining('vulnerability-detail is still in it'),
    });
  });

  it('is not published: a build whose lock was taken away while it ran', async () => {
    const { TRIVY_DB_BIN = '' } = await folders.env();
    const trivyDb = await folders.script('trivy-db', `rm "${folders.outputDir}/build.lock" || exit 1\nexec "${TRIVY_DB_BIN}" "$@"`);
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_BIN: trivyDb });
    expect(await running.build()).toMatchObject({ outcome: 'failed', error: expect.stringContaining('lock of this build was taken away') });
    expect(await running.role.builder.published()).toBeNull();
  });

  it('is not published: metadata that Trivy would not read, or that ignores the interval', async () => {
    const { TRIVY_DB_BIN = '' } = await folders.env();
    const after = (change: string) =>
      folders.script('trivy-db', `"${TRIVY_DB_BIN}" "$@" || exit 1\nwhile [ "$1" != --output-dir ]; do shift; done\n${change}`);
    for (const [change, error] of [
      ['sed -i s/UpdatedAt/updatedAt/ "$2/metadata.json"', 'would not read'],
      ['sed -i s/2026-/2027-/ "$2/metadata.json"', 'TRIVY_DB_UPDATE_INTERVAL'],
      ['echo > "$2/metadata.json"', 'would not read'],
      ['rm "$2/metadata.json"', 'would not read'],
    ] as const) {
      await using running = await startTrivyDbRole(folders, { TRIVY_DB_BIN: await after(change) });
      expect(await running.build()).toMatchObject({ outcome: 'failed', error: expect.stringContaining(error) });
      expect(await running.role.builder.published()).toBeNull();
    }
  });

  it('is not published: what the canary scan does not find, whatever Trivy says of itself', async () => {
    const env = { TRIVY_DB_CANARY: 'alpine 3.20 labpkg 1.2.3-r0 CVE-2099-0001' };
    const report = (text: string) => `while [ "$1" != --output ]; do shift; done\nprintf '%s' '${text}' > "$2"`;
    const other = '{"Results":[{"Vulnerabilities":[{"VulnerabilityID":"CVE-2099-0002","PkgName":"labpkg"}]}]}';
    for (const [text, error] of [
      [report('{"Results":[]}'), 'did not find CVE-2099-0001'],
      [report(other), 'did not find CVE-2099-0001'],
      [report('nothing'), 'no report that could be read'],
      ['exit 0', 'no report that could be read'],
      ['echo "FATAL error: it is too late" >&2; exit 1', 'it is too late'],
    ] as const) {
      await using running = await startTrivyDbRole(folders, { ...env, TRIVY_BIN: await folders.script('trivy', text) });
      expect(await running.build()).toMatchObject({ outcome: 'failed', error: expect.stringContaining(error) });
      expect(await running.role.builder.published()).toBeNull();
    }
  });

  it('is published when the canary is found in the artifact that our own registry serves', async () => {
    // Pulls as Trivy does and looks whether the database holds the advisory.
    const text = [
      'for each; do case "$last" in --output) out=$each;; --db-repository) at=$each;; esac; last=$each; done',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: of the shell
      'name=${at%:2}; base="http://${name%%/*}/v2/${name#*/}"',
      'blob=$(curl -fsS "$base/manifests/2" | sed -n \'s/.*"layers":\\[{[^}]*"digest":"\\([^"]*\\)".*/\\1/p\')',
      'curl -fsS "$base/blobs/$blob" | tar xzO trivy.db | grep -aq CVE-2099-0001 || exit 1',
      `printf '%s' '{"Results":[{"Vulnerabilities":[{"VulnerabilityID":"CVE-2099-0001","PkgName":"labpkg"}]}]}' > "$out"`,
    ].join('\n');
    const env = { TRIVY_DB_CANARY: 'alpine 3.20 labpkg 1.2.3-r0 CVE-2099-0001', TRIVY_BIN: await folders.script('trivy', text) };
    await using running = await startTrivyDbRole(folders, env);
    const record = await running.build();
    expect(record).toMatchObject({ outcome: 'succeeded', error: null });
    expect(record.phases.at(-1)!.detail).toContain('Trivy found CVE-2099-0001');
  });
});
