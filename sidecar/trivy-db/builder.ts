/** The builder: one build at a time over all processes, what is published, and what was. */
import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TrivyDbConfig } from '../config.ts';
import { codeOf } from '../durable.ts';
import { BuildFailure, BuildStopped } from './build-error.ts';
import { BuildRecords, emptyRecord, type StoredRecord } from './build-records.ts';
import { type BuilderEvents, flip, removeOldOnes, type Work, type WorkParts, workOn } from './build-work.ts';
import type { ServeCandidate } from './canary.ts';
import { shortage } from './disk.ts';
import { isBuildId, type Layout, layoutOf, newBuildId } from './layout.ts';
import { clearLeftovers, markDeadBuilds, type Stores } from './leftovers.ts';
import type { BuildLock, HeldLock } from './lock.ts';
import { LockReturn } from './lock-return.ts';
import { type Builder, BuilderRefusal, type BuilderState, type BuildRecord, type LockState, type Publication } from './model.ts';
import { digestOfFile } from './pack.ts';
import { Publications } from './publications.ts';
import { retried } from './retry.ts';
import { type LogSink, RunningBuild } from './running-build.ts';

export interface BuilderParts {
  readonly config: TrivyDbConfig;
  readonly lock: BuildLock;
  readonly logs: { open(buildId: string): Promise<LogSink>; remove(buildId: string): Promise<void> };
  readonly events: BuilderEvents;
  readonly serveCandidate: ServeCandidate;
}

interface Current {
  readonly running: RunningBuild;
  readonly stop: AbortController;
  readonly done: Promise<void>;
}

const MAX_NAME_CHARS = 200;
/** From the outcome of a build, which everybody sees, to the return of its lock. */
const OWN_END_MS = 10_000;

export class TrivyDbBuilder implements Builder {
  readonly #parts: BuilderParts;
  readonly #layout: Layout;
  readonly #stores: Stores;
  readonly #records: BuildRecords;
  readonly #publications: Publications;
  readonly #workParts: WorkParts;
  readonly #lockReturn: LockReturn;
  #current: Current | null = null;
  #beginning: Promise<unknown> | null = null;
  #isStopping = false;
  /** Set by the schedule. */
  nextScheduledAt: string | null = null;
  isWaiting = false;

  constructor(parts: BuilderParts) {
    this.#parts = parts;
    this.#layout = layoutOf(parts.config.outputDir);
    this.#records = new BuildRecords(this.#layout);
    this.#publications = new Publications(this.#layout);
    this.#stores = { layout: this.#layout, records: this.#records, publications: this.#publications };
    this.#workParts = { ...parts, stores: this.#stores, removeLog: (id) => parts.logs.remove(id) };
    this.#lockReturn = new LockReturn((thrown) =>
      parts.events.failed('the lock could not be given back; it is tried again until it can', thrown),
    );
  }

  /**
   * Makes the folders and tells the truth about builds that died. Rejects when the folders cannot be made, but not for want of space:
   * what is published can still be read, and each build makes the folders again.
   */
  async open(): Promise<void> {
    const { events, lock } = this.#parts;
    await this.#makeFolders().catch((thrown) => {
      if (!isFull(thrown)) throw thrown;
      events.failed('the folders of the Trivy DB could not be made', thrown);
    });
    await markDeadBuilds(this.#stores, () => lock.inspect(), events).catch((thrown) =>
      events.failed('what dead builds left could not be put in order', thrown),
    );
  }

  /** Ends a running build as cancelled. From now on `start` is refused. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#beginning?.catch(() => {});
    const current = this.#current;
    current?.stop.abort(new BuildStopped('cancelled', 'The service was stopped. Start the build again, or wait for the schedule.'));
    await current?.done;
    await this.#lockReturn.settle();
  }

  async state(): Promise<BuilderState> {
    const [lock, records] = await Promise.all([this.#parts.lock.inspect(), this.#records.all()]);
    const running = this.#current === null ? null : withKept(this.#current.running.record, false);
    const ended = records.find(({ outcome }) => outcome !== null) ?? null;
    const last = ended === null ? null : await this.#shown(ended);
    return { status: this.#statusOf(lock, last), running, lock, nextScheduledAt: this.nextScheduledAt, last };
  }

  #statusOf(lock: LockState, last: BuildRecord | null): BuilderState['status'] {
    if (this.#current !== null) return 'running';
    if (this.isWaiting) return 'waiting';
    if (lock.kind === 'stale') return 'stale_lock';
    if (lock.kind !== 'free') return 'running';
    const isBad = last !== null && last.outcome !== 'succeeded' && last.outcome !== 'cancelled';
    return isBad ? 'error' : 'idle';
  }

  /**
   * As Builder says. `unlessSince`: where a build that succeeded began at that time or later, nothing is begun, and it resolves with the
   * id of that one; so replicas with one schedule build once.
   */
  async start(by: string, unlessSince: Date | null = null): Promise<string> {
    const id = newBuildId(new Date());
    return this.#whileHolding(id, async (held) => {
      const { config, events, logs } = this.#parts;
      const done = unlessSince === null ? null : await this.#succeededSince(unlessSince);
      if (done !== null) {
        await this.#lockReturn.giveBack(held);
        return done;
      }
      await clearLeftovers(this.#stores, events);
      const short = await shortage([this.#layout.root, resolve(config.cacheDir)], config.minFreeBytes);
      if (short !== null) throw new BuilderRefusal('no-space', short);
      if (this.#isStopping) throw stoppingRefusal();
      const log = await logs.open(id);
      const running = new RunningBuild(newRecord(id, by.slice(0, MAX_NAME_CHARS), config.sources), this.#records, log);
      await running.save().catch(async (thrown) => {
        await log.close();
        throw thrown;
      });
      running.line(`Build ${id} begins.`);
      events.buildStarted(running.record);
      const stop = new AbortController();
      this.#current = { running, stop, done: this.#work({ running, held, stop }) };
      return id;
    });
  }

  async #succeededSince(time: Date): Promise<string | null> {
    const now = Date.now();
    // One that begins in the future was dated by a clock that has been put right since.
    const isSince = ({ startedAt }: StoredRecord) => Date.parse(startedAt) >= time.getTime() && Date.parse(startedAt) <= now;
    return (await this.#records.all()).find((record) => record.outcome === 'succeeded' && isSince(record))?.id ?? null;
  }

  async cancel(by: string): Promise<void> {
    const current = this.#current;
    if (current === null) throw new BuilderRefusal('not-running', 'No build runs here. If another process builds, cancel it there.');
    current.stop.abort(new BuildStopped('cancelled', `${by} cancelled it. Start the build again when it is wanted.`));
    await current.done;
    if (current.running.record.outcome === 'succeeded')
      throw new BuilderRefusal('not-running', 'It had just been published. Roll back to another build if it is not wanted.');
  }

  async clearLock(by: string): Promise<void> {
    await this.#lockReturn.settle();
    await this.#parts.lock.clear();
    this.#parts.events.lockCleared(by);
  }

  async publish(id: string, by: string): Promise<void> {
    const record = isBuildId(id) ? await this.#records.read(id) : null;
    if (record === null) throw new BuilderRefusal('no-such-build', 'There is no build of this name. Choose one from the list.');
    await this.#whileHolding(id, async (held) => {
      const publication = await this.#publishable(record);
      const publishedAt = await flip(this.#stores, publication, held).catch((thrown) => {
        throw thrown instanceof BuildFailure ? new BuilderRefusal('busy', thrown.message) : thrown;
      });
      this.#parts.events.published(publication, by);
      // It is published: what fails from here on is reported, and is no reason to say that it was not.
      await retried(() => this.#records.save({ ...record, publishedAt: [...record.publishedAt, publishedAt] }), 3).catch((thrown) =>
        this.#parts.events.failed('the time of a publication could not be recorded', thrown),
      );
      await removeOldOnes(this.#workParts, null);
      await this.#lockReturn.giveBack(held);
    });
  }

  async builds(): Promise<readonly BuildRecord[]> {
    const records = await this.#records.all();
    const current = this.#current?.running.record;
    return Promise.all(records.map((record) => this.#shown(record.id === current?.id ? current : record)));
  }

  async build(id: string): Promise<BuildRecord | null> {
    const current = this.#current?.running.record;
    const record = current?.id === id ? current : await this.#records.read(id);
    return record === null ? null : this.#shown(record);
  }

  published(): Promise<Publication | null> {
    return this.#publications.published();
  }

  /** What has not been proved yet is not given away, even to those who guess its digest. */
  async byDigest(digest: string): Promise<Publication | null> {
    const found = await this.#publications.byDigest(digest);
    if (found === null || found.buildId === (await this.published())?.buildId) return found;
    return (await this.#records.read(found.buildId))?.outcome === 'succeeded' ? found : null;
  }

  /** Runs `begin` with the lock. It gives the lock back itself, or hands it on, unless it rejects. */
  async #whileHolding<T>(id: string, begin: (held: HeldLock) => Promise<T>): Promise<T> {
    await this.#ownEnd();
    if (this.#isStopping) throw stoppingRefusal();
    if (this.#current !== null || this.#beginning !== null)
      throw new BuilderRefusal('busy', 'A build runs already. Wait for its end, or cancel it first.');
    const beginning = this.#lockedThen(id, begin);
    this.#beginning = beginning;
    return beginning.finally(() => {
      this.#beginning = null;
    });
  }

  /** A build that everybody sees as ended gives its lock back in a moment; nobody is refused for that moment. */
  async #ownEnd(): Promise<void> {
    const current = this.#current;
    if (current === null || current.running.record.outcome === null) return;
    const enough = new AbortController();
    await Promise.race([current.done, sleep(OWN_END_MS, undefined, { signal: enough.signal }).catch(() => {})]);
    enough.abort();
  }

  async #lockedThen<T>(id: string, begin: (held: HeldLock) => Promise<T>): Promise<T> {
    await this.#lockReturn.settle();
    let held: HeldLock | null = null;
    try {
      await this.#makeFolders();
      const got = await this.#parts.lock.acquire(id);
      if ('kind' in got) throw new BuilderRefusal('busy', busySentence(got));
      held = got;
      return await begin(held);
    } catch (thrown) {
      if (held !== null) await this.#lockReturn.giveBack(held);
      throw isFull(thrown) ? new BuilderRefusal('no-space', `${thrown.message}. Make room at ${this.#layout.root}.`) : thrown;
    }
  }

  async #makeFolders(): Promise<void> {
    const { builds, records, logs } = this.#layout;
    for (const folder of [builds, records, logs, resolve(this.#parts.config.cacheDir)]) {
      await mkdir(folder, { recursive: true }).catch((thrown: Error) => {
        const advice = 'Check who may write there, or set TRIVY_DB_OUTPUT_DIR and TRIVY_DB_CACHE_DIR.';
        throw new Error(`The folder ${folder} cannot be made: ${thrown.message}. ${advice}`, { cause: thrown });
      });
    }
  }

  /** Never rejects. */
  async #work(work: Work): Promise<void> {
    const { events } = this.#parts;
    await workOn(this.#workParts, work);
    await this.#lockReturn.giveBack(work.held);
    this.#current = null;
    events.buildEnded(work.running.record);
  }

  async #publishable(record: StoredRecord): Promise<Publication> {
    const refuse = (why: string) => new BuilderRefusal('not-publishable', `${why} Choose another build, or start a new one.`);
    if (record.outcome !== 'succeeded') throw refuse('This build did not end well.');
    const publication = await this.#publications.kept(record.id);
    if (publication === null) throw refuse('The files of this build are no longer kept.');
    if ((await digestOfFile(publication.archive.path)) !== publication.archive.digest)
      throw refuse('The archive of this build is damaged.');
    return publication;
  }

  async #shown(record: StoredRecord): Promise<BuildRecord> {
    return withKept(record, record.outcome === 'succeeded' && (await this.#publications.kept(record.id)) !== null);
  }
}

function withKept(record: StoredRecord, isKept: boolean): BuildRecord {
  return { ...record, isKept };
}

function newRecord(id: string, startedBy: string, sources: readonly string[]): StoredRecord {
  return { ...emptyRecord(id), startedAt: new Date().toISOString(), startedBy, sources: [...sources] };
}

/** Of our own sentences too, which name what failed as their cause. */
function isFull(thrown: unknown): thrown is Error {
  const isIt = (error: unknown) => codeOf(error) === 'ENOSPC' || codeOf(error) === 'EDQUOT';
  return thrown instanceof Error && (isIt(thrown) || isIt(thrown.cause));
}

function stoppingRefusal(): BuilderRefusal {
  return new BuilderRefusal('stopping', 'The service is stopping. Try again when it runs.');
}

function busySentence(lock: Exclude<LockState, { kind: 'free' }>): string {
  if (lock.kind === 'unknown')
    return `The lock is held, as far as can be told: ${lock.why}. Wait, or clear it when it is certain that nobody builds.`;
  const { pid, host, since } = lock.holder;
  return `Process ${pid} on ${host} has been building since ${since}. Wait for its end, or cancel it there.`;
}
