/** One build from its first phase to its record, for whoever holds the lock. */
import { resolve } from 'node:path';
import type { TrivyDbConfig } from '../config.ts';
import { codeOf } from '../durable.ts';
import { BuildFailure, BuildStopped } from './build-error.ts';
import type { StoredRecord } from './build-records.ts';
import type { ServeCandidate } from './canary.ts';
import { type Rows, shrinkage } from './database.ts';
import { watchDisk } from './disk.ts';
import type { LeftoverEvents, Stores } from './leftovers.ts';
import type { HeldLock } from './lock.ts';
import type { Publication } from './model.ts';
import { runPipeline } from './pipeline.ts';
import { programsOf } from './programs.ts';
import { removeOld } from './retention.ts';
import { retried } from './retry.ts';
import type { RunningBuild } from './running-build.ts';

export interface BuilderEvents extends LeftoverEvents {
  buildStarted(record: StoredRecord): void;
  buildEnded(record: StoredRecord): void;
  published(publication: Publication, by: string): void;
  lockCleared(by: string): void;
}

export interface WorkParts {
  readonly config: TrivyDbConfig;
  readonly stores: Stores;
  readonly events: BuilderEvents;
  readonly serveCandidate: ServeCandidate;
  readonly removeLog: (buildId: string) => Promise<void>;
}

export interface Work {
  readonly running: RunningBuild;
  readonly held: HeldLock;
  readonly stop: AbortController;
}

const DISK_EVERY_MS = 5000;

/** How far a build came with its publication: what follows may fail, and changes nothing of it. */
interface Reached {
  flip: 'not begun' | 'begun' | 'done';
  isDiskShort: boolean;
}

/** So often it asks 'is it published?', within about fifty seconds, before it leaves the question to the next build. */
const ASKS = 10;

/** Never rejects: however it ends, the record says so. The lock is still held when it resolves. */
export async function workOn(parts: WorkParts, work: Work): Promise<void> {
  const { events } = parts;
  const { running } = work;
  const reached: Reached = { flip: 'not begun', isDiskShort: false };
  let thrown: unknown = null;
  try {
    await limited(parts, work, reached);
  } catch (error) {
    // What is aborted fails in many ways; the reason is one, and a program that it ended says how.
    thrown = work.stop.signal.aborted && !(error instanceof BuildStopped) ? work.stop.signal.reason : error;
  }
  reached.isDiskShort ||= codeOf(thrown) === 'ENOSPC';
  try {
    if (await isPublished(parts, running.id, reached)) thrown = null;
    await finish(parts, running, thrown, reached);
  } catch (error) {
    events.failed('the end of a build could not be recorded', error);
    const why = 'How it ended could not be recorded. The next start of the service, or the next build, does it.';
    await running.abandon(why).catch((failed) => events.failed('the log of a build could not be closed', failed));
  }
  if (await work.held.isStillOurs().catch(() => false)) await removeOldOnes(parts, running.id);
}

/** What is published decides, whatever failed after that. Rejects where it cannot be told; then the folder of the build must stay. */
async function isPublished({ stores }: WorkParts, id: string, { flip }: Reached): Promise<boolean> {
  if (flip !== 'begun') return flip === 'done';
  return retried(async () => (await stores.publications.pointer())?.buildId === id, ASKS);
}

/**
 * The point of no return. Resolves with the time of the publication, also where it is published but could not be made to survive a power
 * cut; rejects when it is not, or when that cannot be told.
 */
export async function flip({ publications }: Stores, { buildId }: Publication, held: HeldLock): Promise<string> {
  if (!(await held.isStillOurs()))
    throw new BuildFailure(
      'The lock of this build was taken away while it ran, so that another one may have been published. Start the build again.',
    );
  const publishedAt = new Date().toISOString();
  await publications.flip({ buildId, publishedAt }).catch(async (thrown) => {
    if ((await publications.pointer())?.publishedAt !== publishedAt) throw thrown;
  });
  return publishedAt;
}

/** Never rejects. */
export async function removeOldOnes({ stores, config, removeLog, events }: WorkParts, running: string | null): Promise<void> {
  await removeOld(stores, config, running, removeLog).catch((thrown) => events.failed('old builds could not be removed', thrown));
}

/** The pipeline, with the time limit and the disk guard beside it. */
async function limited(
  { config, stores, events, serveCandidate }: WorkParts,
  { running, held, stop }: Work,
  reached: Reached,
): Promise<void> {
  const { layout } = stores;
  const { signal } = stop;
  const { same, other } = await rowsBeforeOf(stores, config.sources);
  const minutes = (config.timeoutMs / 60_000).toLocaleString('en');
  const late = `It took longer than ${minutes} minutes. Raise TRIVY_DB_TIMEOUT_MINUTES, or build fewer sources.`;
  const limit = setTimeout(() => stop.abort(new BuildStopped('timed-out', late)), config.timeoutMs);
  const folders = [layout.root, resolve(config.cacheDir)];
  using _guard = watchDisk(folders, config.minFreeBytes, DISK_EVERY_MS, (why) => {
    reached.isDiskShort ||= !signal.aborted;
    stop.abort(new BuildStopped('failed', why));
  });
  const publish = async (candidate: Publication) => {
    const shrunk = other === null ? null : shrunkInBoth(running.record.rows, other, config);
    if (shrunk !== null) throw new BuildFailure(shrunk);
    signal.throwIfAborted();
    reached.flip = 'begun';
    const publishedAt = await flip(stores, candidate, held);
    reached.flip = 'done';
    running.publishedAt(publishedAt);
    events.published(candidate, running.record.startedBy);
  };
  try {
    const run = programsOf(layout.child, (line, cutBytes) => running.line(line, cutBytes), signal);
    await runPipeline({ config, folder: layout.build(running.id), running, run, signal, rowsBefore: same, serveCandidate, publish });
  } finally {
    clearTimeout(limit);
  }
}

async function finish({ stores, events }: WorkParts, running: RunningBuild, thrown: unknown, { isDiskShort }: Reached): Promise<void> {
  if (thrown === null) {
    await running.finish('succeeded', null, { exitCode: 0, signal: null });
    return;
  }
  // First the folder: where the disk is full, the record needs its room.
  await stores.publications.remove(running.id).catch((error) => events.failed('the folder of a build could not be removed', error));
  if (isDiskShort) running.shortenLog();
  if (thrown instanceof BuildStopped) await running.finish(thrown.outcome, thrown.message, thrown.ended);
  else if (thrown instanceof BuildFailure)
    await running.finish('failed', thrown.message, { exitCode: thrown.exitCode, signal: thrown.signal });
  else {
    await running.finish('failed', unforeseen(thrown, stores.layout.root), { exitCode: null, signal: null });
    events.failed('a build failed for a reason nobody foresaw', thrown);
  }
}

function unforeseen(thrown: unknown, folder: string): string {
  if (codeOf(thrown) === 'ENOSPC') return `The disk is full. Make room at ${folder}, then start the build again.`;
  return `${thrown instanceof Error ? thrown.message : String(thrown)}. Look at the log, then start the build again.`;
}

interface RowsBefore {
  /** Of a build of the same sources, the published one first. */
  readonly same: Rows | null;
  /** Where there is none: of one of other sources. */
  readonly other: { readonly rows: Rows; readonly sources: readonly string[] } | null;
}

async function rowsBeforeOf({ records, publications }: Stores, sources: readonly string[]): Promise<RowsBefore> {
  const published = (await publications.pointer())?.buildId;
  const good = (await records.all())
    .flatMap(({ id, outcome, rows, sources: its }) => (outcome === 'succeeded' && rows !== null ? [{ id, rows, sources: its }] : []))
    .toSorted((a, b) => Number(b.id === published) - Number(a.id === published));
  const same = good.find((each) => JSON.stringify(each.sources) === JSON.stringify(sources));
  return { same: same?.rows ?? null, other: same === undefined ? (good[0] ?? null) : null };
}

/** What every source adds to: with fewer sources they shrink, and nothing is wrong. */
const sharedBuckets: ReadonlySet<string> = new Set(['vulnerability', 'data-source']);

/** After a change of the sources only those buckets can be compared that both databases have. */
function shrunkInBoth(now: Rows | null, before: NonNullable<RowsBefore['other']>, config: TrivyDbConfig): string | null {
  if (now === null) return null;
  const { sources } = config;
  // None named is all of them.
  const hasAll = sources.length === 0 || (before.sources.length > 0 && before.sources.every((source) => sources.includes(source)));
  const both = Object.entries(before.rows.bySource).filter(([name]) => name in now.bySource && (hasAll || !sharedBuckets.has(name)));
  return shrinkage(now, { total: 0, bySource: Object.fromEntries(both) }, config.minRowsPercent);
}
