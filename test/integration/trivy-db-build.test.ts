/** The builder through its own interface, with the real trivy-db and bbolt on the smallest real input. */
import { createReadStream } from 'node:fs';
import { open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BuilderRefusal, type BuildRecord, phases } from '../../sidecar/trivy-db/model.ts';
import { eventually } from '../harness/eventually.ts';
import { startTrivyDbRole, type TrivyDbFolders, trivyDbFolders } from '../harness/trivy-db-builder.ts';
import { plantVulnerability } from '../harness/trivy-db-input.ts';

let folders: TrivyDbFolders;

beforeEach(async () => {
  folders = await trivyDbFolders();
});
afterEach(() => folders[Symbol.asyncDispose]());

/** The files of an archive by name. */
async function unpacked(archive: string): Promise<Record<string, Buffer>> {
  const files: Record<string, Buffer> = {};
  const tar = extract();
  tar.on('entry', (header, stream, next) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk) => chunks.push(chunk as Buffer));
    stream.on('end', () => {
      files[header.name] = Buffer.concat(chunks);
      next();
    });
  });
  await pipeline(createReadStream(archive), createGunzip(), tar);
  return files;
}

const refusal = (code: BuilderRefusal['code']) => expect.objectContaining({ name: 'BuilderRefusal', code });

describe('a good build', () => {
  it('goes through its phases and is published, with archive, metadata and manifest of one build', async () => {
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_UPDATE_INTERVAL: '6h' });
    const { builder } = running.role;
    expect(await builder.published()).toBeNull();
    expect(running.role.readiness().warnings).toEqual([expect.stringContaining('No Trivy DB')]);

    const record = await running.build('ana@example.com');
    expect(record).toMatchObject({ outcome: 'succeeded', error: null, exitCode: 0, startedBy: 'ana@example.com', isKept: true });
    expect(record.sources).toEqual(['nvd', 'alpine']);
    expect(record.phases.map(({ name }) => name)).toEqual(phases);
    expect(record.phases.every(({ endedAt, progress }) => endedAt !== null && progress === 1)).toBe(true);
    expect(record.rows).toEqual({ total: 3, bySource: { 'alpine 3.20': 1, 'data-source': 1, vulnerability: 1 } });

    const published = (await builder.published())!;
    expect(published).toMatchObject({ buildId: record.id, digest: record.digest, publishedAt: record.publishedAt[0] });
    expect(published.archive.size).toBe(record.archiveBytes);
    const files = await unpacked(published.archive.path);
    expect(Object.keys(files)).toEqual(['trivy.db', 'metadata.json']);
    expect(files['trivy.db']!.length).toBe(record.databaseBytes);
    expect(files['metadata.json']!.equals(published.metadata)).toBe(true);
    const metadata = JSON.parse(published.metadata.toString());
    expect(Object.keys(metadata)).toEqual(['Version', 'NextUpdate', 'UpdatedAt', 'DownloadedAt']);
    expect(Math.round((Date.parse(metadata.NextUpdate) - Date.parse(metadata.UpdatedAt)) / 3_600_000)).toBe(6);
    expect(JSON.parse(published.manifest.toString()).layers).toMatchObject([
      { digest: published.archive.digest, size: published.archive.size },
    ]);
    expect(await builder.byDigest(published.digest)).toEqual(published);
    expect(await builder.byDigest(published.archive.digest)).toEqual(published);
    expect(await builder.byDigest(`sha256:${'0'.repeat(64)}`)).toBeNull();

    expect(await running.logOf(record.id)).toContain('build: INFO [alpine] Updating data...');
    expect(await builder.state()).toMatchObject({ status: 'idle', running: null, lock: { kind: 'free' }, last: { id: record.id } });
    await eventually('the warning is gone', () => running.role.readiness().warnings.length === 0);
    const metrics = await running.metrics.metrics();
    expect(metrics).toContain('pocketwarden_trivy_db_builds_total{outcome="succeeded"} 1');
    expect(metrics).toContain('pocketwarden_trivy_db_rows{source="alpine 3.20"} 1');
    expect(await readdir(join(folders.outputDir, 'builds', record.id))).toEqual(['manifest.json', 'metadata.json', 'trivy.db.tar.gz']);
  });

  it('counts rows by bucket, also where the name of one begins another', async () => {
    await plantVulnerability(folders.cacheDir, { cves: 7 });
    await plantVulnerability(folders.cacheDir, { cves: 4, release: '3.2' });
    await plantVulnerability(folders.cacheDir, { cves: 2, release: '3.2', packageName: 'otherpkg' });
    await using running = await startTrivyDbRole(folders);
    const { rows } = await running.build();
    expect(rows).toEqual({ total: 22, bySource: { 'alpine 3.2': 6, 'alpine 3.20': 7, 'data-source': 2, vulnerability: 7 } });
  });

  it('gives the same database for the same lists, whatever was built before', async () => {
    await using running = await startTrivyDbRole(folders);
    const { builder } = running.role;
    await running.build();
    const first = await unpacked((await builder.published())!.archive.path);
    await running.build();
    const second = await unpacked((await builder.published())!.archive.path);
    expect(second['trivy.db']!.equals(first['trivy.db']!)).toBe(true);
    expect(second['metadata.json']!.equals(first['metadata.json']!)).toBe(false);
  });

  it('lets whoever reads the older one finish', async () => {
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_KEEP_BUILDS: '1' });
    const { builder } = running.role;
    await running.build();
    const older = (await builder.published())!;
    const bytes = await readFile(older.archive.path);
    await using reader = await open(older.archive.path);
    const begun = Buffer.alloc(10);
    await reader.read(begun, 0, 10);
    await running.build();
    await running.build();
    expect(await builder.byDigest(older.digest)).toBeNull();
    expect(Buffer.concat([begun, await reader.readFile()]).equals(bytes)).toBe(true);
  });

  it('keeps as many older ones as it is told, and their records as long', async () => {
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_KEEP_BUILDS: '1', TRIVY_DB_KEEP_LOGS: '1' });
    const { builder } = running.role;
    const ids: string[] = [];
    for (let count = 0; count < 3; count++) ids.push((await running.build()).id);
    expect((await builder.builds()).map(({ id, isKept }) => [id, isKept])).toEqual([
      [ids[2], true],
      [ids[1], true],
    ]);
    expect(await running.role.logs.of(ids[0]!)).toBeNull();
    expect(await running.role.logs.of(ids[1]!)).not.toBeNull();
    expect((await readdir(join(folders.outputDir, 'builds'))).sort()).toEqual([ids[1], ids[2]]);
  });
});

describe('rolling back', () => {
  it('publishes a kept build again, and only such a one', async () => {
    await using running = await startTrivyDbRole(folders);
    const { builder } = running.role;
    const first = await running.build();
    const second = await running.build();
    await builder.publish(first.id, 'ana');
    expect(await builder.published()).toMatchObject({ buildId: first.id, digest: first.digest });
    expect((await builder.build(first.id))!.publishedAt).toHaveLength(2);
    expect((await builder.byDigest(second.digest!))!.buildId).toBe(second.id);
    expect(running.log).toContainEqual(expect.objectContaining({ event: 'trivy-db-published', by: 'ana', build: first.id }));

    await expect(builder.publish('20200101T000000Z-000000', 'ana')).rejects.toEqual(refusal('no-such-build'));
    await expect(builder.publish('../../etc/passwd', 'ana')).rejects.toEqual(refusal('no-such-build'));
    const archive = join(folders.outputDir, 'builds', second.id, 'trivy.db.tar.gz');
    const bytes = await readFile(archive);
    bytes[20]! ^= 1;
    await writeFile(archive, bytes);
    await expect(builder.publish(second.id, 'ana')).rejects.toEqual(refusal('not-publishable'));
    await rm(archive);
    await expect(builder.publish(second.id, 'ana')).rejects.toEqual(refusal('not-publishable'));
    expect(await builder.published()).toMatchObject({ buildId: first.id });
    expect((await builder.state()).lock.kind).toBe('free');
  });

  it('survives the next start of the process', async () => {
    let first: BuildRecord;
    {
      await using running = await startTrivyDbRole(folders);
      first = await running.build();
      await running.build();
      await running.role.builder.publish(first.id, 'ana');
    }
    await using again = await startTrivyDbRole(folders);
    expect(await again.role.builder.published()).toMatchObject({ buildId: first.id, digest: first.digest });
    expect((await again.role.builder.builds()).length).toBe(2);
  });
});

describe('the programs', () => {
  it('are obtained when none is named, and are asked for when a named one is none', async () => {
    await using running = await startTrivyDbRole(folders, { TRIVY_DB_BIN: '', BBOLT_BIN: '' });
    expect(await running.build()).toMatchObject({ outcome: 'succeeded', error: null });
    await using without = await startTrivyDbRole(folders, { BBOLT_BIN: '/nonexistent/bbolt' });
    expect(await without.build()).toMatchObject({
      outcome: 'failed',
      error: expect.stringContaining('BBOLT_BIN names'),
    });
  });
});

describe('folders that cannot be used', () => {
  it('keep the role from starting, with a sentence', async () => {
    await writeFile(join(folders.root, 'a-file'), '');
    const env = { TRIVY_DB_OUTPUT_DIR: join(folders.root, 'a-file/output') };
    await expect(startTrivyDbRole(folders, env)).rejects.toThrow(/cannot be made: .*TRIVY_DB_OUTPUT_DIR/);
  });
});
