/** Who may stream to the engines at once: `total` files, of which one is always left to a file that is not large. */
export type FileClass = 'small' | 'large';

/** Above this a file is large: it keeps a stream busy for long enough that a small one would feel the wait. */
export const LARGE_BYTES = 16 * 1024 * 1024;

export interface Permit {
  /** Turns a small permit into a large one where that may be had at once; answers whether it is one now. */
  enlarge(): boolean;
  /** Harmless when repeated. */
  release(): void;
}

interface Waiter {
  readonly turn: number;
  grant(permit: Permit): void;
}

export class Permits {
  readonly #total: number;
  readonly #maxLarge: number;
  readonly #waiting: Record<FileClass, Waiter[]> = { small: [], large: [] };
  #used = 0;
  #usedByLarge = 0;
  #turns = 0;

  /** With a single permit large files must be able to take it, or they would wait for ever. */
  constructor(total: number) {
    this.#total = total;
    this.#maxLarge = Math.max(1, total - 1);
  }

  /** First come, first served within a class. Rejects with the signal's reason when it aborts first. */
  acquire(size: FileClass, signal: AbortSignal): Promise<Permit> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#waiting[size].length === 0 && this.#isFree(size)) return Promise.resolve(this.#take(size));
    return new Promise((resolve, reject) => {
      const queue = this.#waiting[size];
      const abort = () => {
        queue.splice(queue.indexOf(waiter), 1);
        reject(signal.reason);
      };
      const waiter: Waiter = {
        turn: this.#turns++,
        grant(permit) {
          signal.removeEventListener('abort', abort);
          resolve(permit);
        },
      };
      signal.addEventListener('abort', abort, { once: true });
      queue.push(waiter);
    });
  }

  #isFree(size: FileClass): boolean {
    return this.#used < this.#total && (size === 'small' || this.#usedByLarge < this.#maxLarge);
  }

  #take(size: FileClass): Permit {
    let held: FileClass | 'none' = size;
    this.#used++;
    if (size === 'large') this.#usedByLarge++;
    return {
      enlarge: () => {
        if (held === 'small' && this.#usedByLarge < this.#maxLarge) {
          held = 'large';
          this.#usedByLarge++;
        }
        return held === 'large';
      },
      release: () => {
        if (held === 'none') return;
        if (held === 'large') this.#usedByLarge--;
        this.#used--;
        held = 'none';
        this.#grantNext();
      },
    };
  }

  #grantNext(): void {
    for (;;) {
      const small = this.#isFree('small') ? this.#waiting.small[0] : undefined;
      const large = this.#isFree('large') ? this.#waiting.large[0] : undefined;
      const next: FileClass = large !== undefined && (small === undefined || large.turn < small.turn) ? 'large' : 'small';
      if ((next === 'large' ? large : small) === undefined) return;
      this.#waiting[next].shift()?.grant(this.#take(next));
    }
  }
}
