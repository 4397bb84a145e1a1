/** Time that passes only when nothing is left to do, and processes that can be paused or die within it. */
import type { Clock } from '../../../sidecar/scan/ports.ts';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly fire: () => void;
}

/** Of the whole world: the network and PocketBase go on whatever becomes of a sidecar. */
export class SimulatedTime {
  #now = 0;
  #order = 0;
  #timers: Timer[] = [];

  now(): number {
    return this.#now;
  }

  at(time: number, fire: () => void): void {
    const timer = { at: Math.max(time, this.#now), order: this.#order++, fire };
    let child = this.#timers.push(timer) - 1;
    for (let parent = (child - 1) >> 1; child > 0 && isBefore(timer, this.#timers[parent]!); parent = (child - 1) >> 1) {
      this.#timers[child] = this.#timers[parent]!;
      this.#timers[parent] = timer;
      child = parent;
    }
  }

  after(ms: number): Promise<void> {
    return new Promise((resolve) => this.at(this.#now + ms, resolve));
  }

  /** Runs until `isDone` or `until`; answers whether it was done. */
  async run(until: number, isDone: () => boolean): Promise<boolean> {
    for (;;) {
      // No part does real input or output, so one turn of the event loop drains everything that can go on by itself.
      await new Promise((resolve) => setImmediate(resolve));
      if (isDone()) return true;
      const next = this.#timers[0];
      if (next === undefined || next.at > until) return false;
      this.#now = next.at;
      this.#pop();
      next.fire();
    }
  }

  #pop(): void {
    const last = this.#timers.pop()!;
    if (this.#timers.length === 0) return;
    let parent = 0;
    for (;;) {
      let child = 2 * parent + 1;
      if (child >= this.#timers.length) break;
      if (child + 1 < this.#timers.length && isBefore(this.#timers[child + 1]!, this.#timers[child]!)) child++;
      if (!isBefore(this.#timers[child]!, last)) break;
      this.#timers[parent] = this.#timers[child]!;
      parent = child;
    }
    this.#timers[parent] = last;
  }
}

function isBefore(one: Timer, other: Timer): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}

/** The clock of one process: while it is paused nothing in it wakes, once it is dead nothing ever does. */
export class ProcessClock implements Clock {
  readonly #time: SimulatedTime;
  #state: 'running' | 'paused' | 'dead' = 'running';
  #missed: (() => void)[] = [];

  constructor(time: SimulatedTime) {
    this.#time = time;
  }

  get isDead(): boolean {
    return this.#state === 'dead';
  }

  now(): number {
    return this.#time.now();
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const abort = () => reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      this.#time.at(this.#time.now() + Math.max(0, ms), () =>
        this.wake(() => {
          signal.removeEventListener('abort', abort);
          resolve();
        }),
      );
    });
  }

  /** Something from outside reaches the process: at once, when it runs again, or never. */
  wake(deliver: () => void): void {
    if (this.#state === 'running') deliver();
    else if (this.#state === 'paused') this.#missed.push(deliver);
  }

  pause(): void {
    if (this.#state === 'running') this.#state = 'paused';
  }

  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    for (const deliver of this.#missed.splice(0)) deliver();
  }

  die(): void {
    this.#state = 'dead';
    this.#missed = [];
  }
}
