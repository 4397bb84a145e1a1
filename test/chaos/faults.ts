/** Kills, pauses and starts again what a plan names. What one fault does to a process waits for the one before it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fault, type Target, targets } from './plan.ts';

/** A process that can be killed and started again. */
export interface Part {
  readonly pid: number;
  kill(): Promise<unknown>;
  restart(): Promise<void>;
}

export type Parts = Readonly<Record<Target, Part>>;

export class Faults {
  readonly #parts: Parts;
  readonly #lanes = new Map<Target, Promise<void>>();
  readonly counts: Record<Fault['kind'], Record<Target, number>> = { kill: none(), pause: none() };

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Resolves when everything that was hit runs again. Rejects where a part does not come up, or had ended by itself. */
  async strike(faults: readonly Fault[]): Promise<void> {
    const since = performance.now();
    const hits: Promise<void>[] = [];
    for (const fault of faults) {
      await sleep(Math.max(0, since + fault.atMs - performance.now()));
      for (const target of fault.targets) hits.push(this.#queue(target, () => this.#hit(target, fault)));
    }
    await Promise.all(hits);
  }

  /** Those that should run and do not. */
  ended(): Target[] {
    return targets.filter((target) => !isAlive(this.#parts[target].pid));
  }

  #queue(target: Target, work: () => Promise<void>): Promise<void> {
    const lane = (this.#lanes.get(target) ?? Promise.resolve()).then(work);
    this.#lanes.set(target, lane);
    return lane;
  }

  async #hit(target: Target, { kind, downMs }: Fault): Promise<void> {
    const part = this.#parts[target];
    if (!isAlive(part.pid)) throw new Error(`${target} had ended by itself`);
    this.counts[kind][target]++;
    if (kind === 'kill') {
      await part.kill();
      await sleep(downMs);
      return await part.restart();
    }
    process.kill(part.pid, 'SIGSTOP');
    await sleep(downMs);
    process.kill(part.pid, 'SIGCONT');
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function none(): Record<Target, number> {
  return { pocketbase: 0, clamd: 0, 'sidecar-1': 0, 'sidecar-2': 0 };
}
