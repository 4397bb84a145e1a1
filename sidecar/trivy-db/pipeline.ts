/** The five phases of a build, in a fresh folder. Nothing is published before every one of them has proved its part. */
import { access, mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { TrivyDbConfig } from '../config.ts';
import { syncFile, syncFolder, writeDurably } from '../durable.ts';
import { BuildFailure } from './build-error.ts';
import { type ServeCandidate, scanForCanary } from './canary.ts';
import { countAll, inspectDatabase, type Rows, shrinkage } from './database.ts';
import { fetchLists } from './fetch.ts';
import { defaultSources } from './git-sources.ts';
import type { BuildFolder } from './layout.ts';
import { readMetadata } from './metadata.ts';
import type { Phase, Publication } from './model.ts';
import { digestOf, manifestOf, packArchive } from './pack.ts';
import type { Run } from './programs.ts';
import type { RunningBuild } from './running-build.ts';
import { formatBytes } from './sizes.ts';
import { resolveTools, type Tools } from './tools.ts';

export interface PipelineParts {
  readonly config: TrivyDbConfig;
  readonly folder: BuildFolder;
  readonly running: RunningBuild;
  readonly run: Run;
  readonly signal: AbortSignal;
  /** The rows that this build is measured by; null when there are none. */
  readonly rowsBefore: Rows | null;
  readonly serveCandidate: ServeCandidate;
  /** Makes it the published one, if the lock is still ours; rejects with a BuildFailure otherwise. */
  readonly publish: (candidate: Publication) => Promise<void>;
}

/** Resolves when the build is published. Rejects with a BuildFailure, with the reason of the signal, or with what nobody foresaw. */
export async function runPipeline(parts: PipelineParts): Promise<void> {
  const { config, folder } = parts;
  await mkdir(config.cacheDir, { recursive: true });
  await mkdir(folder.path, { recursive: true });
  const tools = await phase(parts, 'fetch', 'The tools and the lists are brought.', () => fetchPhase(parts));
  const rows = await phase(parts, 'build', 'trivy-db begins.', () => buildPhase(parts, tools));
  await phase(parts, 'compact', 'bbolt compacts the database.', () => compactPhase(parts, tools, rows));
  const candidate = await phase(parts, 'compress', 'The database is packed.', () => compressPhase(parts));
  await phase(parts, 'publish', 'The new database is tried.', () => publishPhase(parts, candidate));
}

interface Done<T> {
  readonly value: T;
  /** One sentence on what was done. */
  readonly detail: string;
  /** Null where no program did it. */
  readonly exitCode: number | null;
}

async function phase<T>({ running, signal }: PipelineParts, name: Phase, detail: string, work: () => Promise<Done<T>>): Promise<T> {
  signal.throwIfAborted();
  await running.begin(name, detail);
  const done = await work();
  signal.throwIfAborted();
  await running.end(done.detail, done.exitCode);
  return done.value;
}

async function fetchPhase({ config, running, run, signal }: PipelineParts): Promise<Done<Tools>> {
  const tools = await resolveTools(config.bin, (line) => running.line(line), signal);
  const options = { ...config.fetch, cacheDir: resolve(config.cacheDir), sources: config.sources };
  const detail = await fetchLists(options, run, (now, progress, isStep) => {
    running.detail(now, progress);
    if (isStep) running.line(now);
  });
  return { value: tools, detail, exitCode: config.fetch.by === 'none' ? null : 0 };
}

const BUILD_ADVICE = 'The published database stays. Look at the log, and fetch the list anew that it names.';
/** trivy-db writes the local time without a zone; the log has ours. */
const OWN_TIME = /^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d /;
const SOURCE_BEGINS = /^INFO \[([\w-]+)\] Updating data\.\.\./;
/** Follows an error: the list that it is about. */
const CONTEXT_PATH = /^ {2}\* path: (.{1,300})$/;
const LOOK_EVERY_MS = 500;

async function buildPhase(parts: PipelineParts, { trivyDb, bbolt }: Tools): Promise<Done<Rows>> {
  const { config, folder, running, run } = parts;
  const count = config.sources.length || defaultSources.length;
  let begun = 0;
  let list: string | null = null;
  const onLine = (raw: string) => {
    const text = raw.replace(OWN_TIME, '');
    list = CONTEXT_PATH.exec(text)?.[1] ?? list;
    const source = SOURCE_BEGINS.exec(text)?.[1];
    if (source !== undefined) {
      begun++;
      running.detail(`Reading ${source}, ${begun} of ${count}.`, Math.min(1, (begun - 1) / (count + 1)));
    }
    return text;
  };
  // It is written after the last source, and what follows prints nothing.
  const optimising = setInterval(() => {
    access(folder.metadata).then(
      () => running.detail('Optimising; this prints nothing.', count / (count + 1)),
      () => {},
    );
  }, LOOK_EVERY_MS);
  const where = [
    '--cache-dir',
    resolve(config.cacheDir),
    '--output-dir',
    folder.path,
    '--update-interval',
    `${config.updateIntervalMs / 1000}s`,
  ];
  const only = config.sources.flatMap((source) => ['--only-update', source]);
  try {
    await run('trivy-db', trivyDb, ['build', ...where, ...only], { cwd: folder.path, onLine, advice: BUILD_ADVICE });
  } catch (thrown) {
    if (list === null || !(thrown instanceof BuildFailure)) throw thrown;
    throw new BuildFailure(`${thrown.message} It was reading ${list}.`, thrown);
  } finally {
    clearInterval(optimising);
  }
  readMetadata(await readFile(folder.metadata).catch(() => Buffer.alloc(0)), config.updateIntervalMs);
  const rows = await inspectDatabase(bbolt, folder.database, run, (share) =>
    running.detail('Counting rows.', (count + share) / (count + 1)),
  );
  running.facts({ rows });
  const shrunk = parts.rowsBefore === null ? null : shrinkage(rows, parts.rowsBefore, config.minRowsPercent);
  if (shrunk !== null) throw new BuildFailure(shrunk, { exitCode: 0, signal: null });
  return { value: rows, detail: `${rows.total.toLocaleString('en')} rows in ${Object.keys(rows.bySource).length} buckets.`, exitCode: 0 };
}

async function compactPhase({ folder, running, run }: PipelineParts, { bbolt }: Tools, rows: Rows): Promise<Done<void>> {
  const before = (await stat(folder.database)).size;
  const advice = 'The published database stays. Check the free space and start the build again.';
  await run('bbolt', bbolt, ['compact', '-o', folder.compacted, folder.database], { cwd: folder.path, advice });
  const after = await countAll(bbolt, folder.compacted, run);
  if (after !== rows.total) throw new BuildFailure(`bbolt lost rows while compacting: ${rows.total} before, ${after} after. ${advice}`);
  await rename(folder.compacted, folder.database);
  const { size } = await stat(folder.database);
  running.facts({ databaseBytes: size });
  return { value: undefined, detail: `From ${formatBytes(before)} to ${formatBytes(size)}.`, exitCode: 0 };
}

async function compressPhase({ config, folder, running, signal }: PipelineParts): Promise<Done<Publication>> {
  const metadata = await readFile(folder.metadata);
  const { updatedAt } = readMetadata(metadata, config.updateIntervalMs);
  const databaseBytes = (await stat(folder.database)).size;
  const tell = (share: number) => running.detail('Packing the database.', share);
  const packed = await packArchive(folder.database, metadata, folder.archive, tell, signal);
  await rm(folder.database);
  await syncFile(folder.metadata);
  const manifest = manifestOf(packed, databaseBytes, updatedAt);
  await writeDurably(folder.manifest, manifest);
  await syncFolder(join(folder.path, '..'));
  const digest = digestOf(manifest);
  running.facts({ archiveBytes: packed.size, digest });
  const archive = { path: folder.archive, ...packed };
  const value = { buildId: running.id, publishedAt: updatedAt, archive, metadata, databaseBytes, builtAt: updatedAt, manifest, digest };
  return { value, detail: `${formatBytes(packed.size)}, ${packed.digest}.`, exitCode: null };
}

async function publishPhase(
  { config, folder, running, run, serveCandidate, publish }: PipelineParts,
  candidate: Publication,
): Promise<Done<void>> {
  const { bin, canary } = config;
  let tried = 'No canary scan: TRIVY_BIN is not set.';
  if (bin.trivy !== null) {
    const scratch = join(folder.path, 'canary');
    await mkdir(scratch);
    running.detail('Trivy scans with the new database.', null);
    tried = await scanForCanary({ trivy: resolve(bin.trivy), canary, publication: candidate, folder: scratch }, serveCandidate, run);
    await rm(scratch, { recursive: true, force: true });
  }
  await publish(candidate);
  return { value: undefined, detail: `Published. ${tried}`, exitCode: bin.trivy === null ? null : 0 };
}
