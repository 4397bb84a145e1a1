import { Claimer } from './claimer.ts';
import { ScanError } from './errors.ts';
import type { ScanEvents } from './events.ts';
import { type HeldCheck, HeldChecks } from './held-checks.ts';
import { Keeper } from './keeper.ts';
import type { Check, GiveBackCode, Outcome } from './model.ts';
import { Permits } from './permits.ts';
import type { BuildStore, CheckQueue, Clock, Scanner } from './ports.ts';
import { type ScanProgress, scanBuild } from './scan-build.ts';
import { type SettleEnd, Settler } from './settler.ts';
import type { RunningScan, WorkerState } from './worker-state.ts';

export interface WorkerOptions {
  /** Files streamed to engines at once, over all builds. */
  readonly concurrency: number;
  readonly leaseMs: number;
  readonly pollMs: number;
}

export interface WorkerParts {
  readonly queue: CheckQueue;
  readonly store: BuildStore;
  readonly scanner: Scanner;
  readonly clock: Clock;
  readonly events: ScanEvents;
}

export const DRAIN_MS = 20_000;
/** What the last give-backs get after the drain time; what PocketBase has not taken by then runs out by itself. */
const LAST_SETTLE_MS = 3000;

/** Claims checks, scans their builds and settles them: each claimed check leaves memory in exactly one way. */
export class Worker {
  readonly #parts: WorkerParts;
  readonly #leaseMs: number;
  readonly #held: HeldChecks;
  readonly #permits: Permits;
  readonly #claimer: Claimer;
  readonly #keeper: Keeper;
  readonly #settler: Settler;
  /** Stop taking work; stop working; stop waiting for PocketBase. */
  readonly #stopping = new AbortController();
  readonly #killing = new AbortController();
  readonly #ending = new AbortController();
  #claiming: Promise<void> | null = null;
  #keeping: Promise<void> | null = null;
  #stopped: Promise<void> | null = null;

  constructor(options: WorkerOptions, parts: WorkerParts) {
    const held = new HeldChecks(parts.clock);
    const { leaseMs, pollMs } = options;
    this.#parts = parts;
    this.#leaseMs = leaseMs;
    this.#held = held;
    this.#permits = new Permits(options.concurrency);
    this.#claimer = new Claimer({ ...parts, held, pollMs, take: (checks, askedAt) => this.#take(checks, askedAt) });
    this.#keeper = new Keeper({ ...parts, held, leaseMs });
    this.#settler = new Settler({ ...parts, held }, this.#ending.signal);
    held.onChange = () => this.#claimer.roomChanged();
  }

  /** Begins to work; repeating it changes nothing. A stopped worker is not started again. */
  start(): void {
    if (this.#stopping.signal.aborted) return;
    this.#keeping ??= this.#keeper.run(this.#ending.signal);
    this.#claiming ??= this.#claimer.run(this.#stopping.signal, this.#killing.signal);
  }

  /** There may be work: claims at once instead of at the next poll. */
  notify(): void {
    this.#claimer.notify();
  }

  /**
   * Takes no more work, gives back what has not begun, and what has begun but needs more than `drainMs`. Resolves when nothing is held.
   * Repeating it returns the stop under way.
   */
  stop(drainMs = DRAIN_MS): Promise<void> {
    this.#stopped ??= this.#stop(drainMs);
    return this.#stopped;
  }

  /** Gives everything back at once, also in the middle of a stop. */
  kill(): Promise<void> {
    this.#killing.abort(interrupted());
    return this.stop(0);
  }

  state(): WorkerState {
    const { failure, hasClaimed } = this.#claimer;
    const why = this.#stopping.signal.aborted
      ? 'it is stopping'
      : failure !== null
        ? `the last claim failed: ${failure.message}`
        : hasClaimed
          ? null
          : 'it has not claimed yet';
    return { ready: why === null, why, held: this.#held.size, scanning: this.#held.count('scanning') };
  }

  /** What is being scanned just now, for people to look at. */
  scans(): RunningScan[] {
    const now = this.#parts.clock.now();
    return this.#held
      .all()
      .filter((held) => held.phase === 'scanning')
      .map(({ check, begunAt, streams }) => ({
        check: check.id,
        build: check.build,
        elapsedMs: now - begunAt,
        files: [...streams].map(([name, { size, position }]) => ({ name, size, position })),
      }));
  }

  async #stop(drainMs: number): Promise<void> {
    this.#stopping.abort(interrupted());
    this.#abortUnbegun(interrupted());
    await this.#within(drainMs, this.#drained(), this.#killing.signal);
    this.#killing.abort(interrupted());
    for (const held of this.#held.all()) held.abort(interrupted());
    await this.#within(LAST_SETTLE_MS, this.#drained(), this.#ending.signal);
    this.#ending.abort(interrupted());
    await this.#drained();
    await this.#keeping;
  }

  /** The claim in flight may still bring checks, which are given back as they come. */
  async #drained(): Promise<void> {
    await this.#claiming;
    await this.#held.empty();
  }

  async #within(ms: number, done: Promise<void>, hurry: AbortSignal): Promise<void> {
    const enough = new AbortController();
    const hasten = () => enough.abort();
    hurry.addEventListener('abort', hasten, { once: true });
    if (hurry.aborted) enough.abort();
    await Promise.race([done, this.#parts.clock.sleep(ms, enough.signal).catch(() => {})]);
    hurry.removeEventListener('abort', hasten);
    enough.abort();
  }

  #take(checks: readonly Check[], askedAt: number): void {
    for (const check of checks) {
      // Two leases of one check in one memory would settle each other's work.
      if (this.#held.has(check.id)) continue;
      const held = this.#held.add(check, askedAt + this.#leaseMs);
      held.story.add(
        `claimed after ${Math.round(check.waitedSeconds)} s of waiting, ${check.files.length} files, ${check.attempts} failures so far`,
      );
      if (this.#stopping.signal.aborted) held.abort(interrupted());
      void this.#work(held);
    }
  }

  /** The whole life of a check in memory; never rejects. */
  async #work(held: HeldCheck): Promise<void> {
    try {
      const { outcome, error } = await this.#judge(held);
      held.ended();
      if (outcome === null) return this.#leave(held, error);
      await this.#settle(held, outcome, error);
    } finally {
      this.#held.remove(held);
    }
  }

  async #judge(held: HeldCheck): Promise<{ outcome: Outcome; error: ScanError | null } | { outcome: null; error: ScanError }> {
    const { clock } = this.#parts;
    const tools = { ...this.#parts, permits: this.#permits };
    const progress: ScanProgress = {
      story: held.story,
      parked: () => held.parked(),
      begun: () => held.begun(clock.now()),
      opened: (name, stream) => held.streams.set(name, stream),
      closed: (name) => held.streams.delete(name),
    };
    try {
      const verdict = await scanBuild(held.check, tools, progress, held.signal);
      this.#claimer.engineWorks();
      held.story.add(`verdict: ${verdict.kind}`);
      return { outcome: { kind: 'verdict', verdict }, error: null };
    } catch (thrown) {
      const error = ScanError.from(thrown);
      if (error.code === 'engine-unavailable' && !held.signal.aborted) this.#engineGone(error);
      if (error.code === 'engine-busy') this.#claimer.engineGone();
      if (error.code === 'lease-lost') return { outcome: null, error };
      return { outcome: this.#giveBack(held, error.code, error), error };
    }
  }

  #giveBack(held: HeldCheck, code: GiveBackCode, error: ScanError): Outcome {
    held.story.add(`given back: ${code}: ${error.message}`);
    return { kind: 'give-back', code };
  }

  /** What was claimed ahead would only fail the same way, having asked PocketBase for bytes in vain. */
  #engineGone(error: ScanError): void {
    this.#claimer.engineGone();
    this.#abortUnbegun(error);
  }

  #abortUnbegun(why: ScanError): void {
    for (const held of this.#held.all()) if (held.phase === 'waiting' || held.phase === 'parked') held.abort(why);
  }

  async #settle(held: HeldCheck, outcome: Outcome, error: ScanError | null): Promise<void> {
    const end = await this.#send(held, outcome);
    if (end.kind === 'refused' && outcome.kind === 'verdict') {
      return await this.#settle(held, this.#giveBack(held, 'unexpected', end.error), end.error);
    }
    const ms = this.#parts.clock.now() - held.begunAt;
    if (end.kind === 'lost') this.#leave(held, new ScanError('lease-lost', 'the lease was lost before the outcome could be stored'));
    else if (end.kind !== 'stored') this.#leave(held, end.error);
    else if (outcome.kind === 'verdict') this.#parts.events.judged(held.check, outcome.verdict, ms);
    else this.#parts.events.givenBack(held.check, outcome.code, error ?? new ScanError(outcome.code, 'no reason was kept'), ms);
  }

  #send(held: HeldCheck, outcome: Outcome): Promise<SettleEnd> {
    return this.#settler.settle(held, { check: held.check, outcome, log: held.story.text() });
  }

  #leave(held: HeldCheck, error: ScanError): void {
    this.#parts.events.leftAlone(held.check, error, this.#parts.clock.now() - held.begunAt);
  }
}

function interrupted(): ScanError {
  return new ScanError('interrupted', 'the sidecar was told to stop');
}
