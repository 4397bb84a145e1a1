import type { ScanError } from './errors.ts';
import type { Check, Lease } from './model.ts';
import type { Clock, FileStream } from './ports.ts';
import { Story } from './story.ts';

/** `parked` waits for a permit for large files; neither it nor `waiting` has a stream open. `ending` has its outcome. */
export type Phase = 'waiting' | 'parked' | 'scanning' | 'ending';

/** A check between its claim and the end of its lease. */
export class HeldCheck {
  readonly check: Check;
  readonly story: Story;
  readonly claimedAt: number;
  readonly #scan = new AbortController();
  readonly #changed: () => void;
  phase: Phase = 'waiting';
  begunAt: number;
  /** By our own clock, counted from before the call that granted it: PocketBase's own limit is never earlier. */
  leaseEndsAt: number;
  isLost = false;
  /** Of its files that are being read, by name. */
  readonly streams = new Map<string, FileStream>();

  constructor(check: Check, leaseEndsAt: number, clock: Clock, changed: () => void) {
    this.check = check;
    this.story = new Story(clock);
    this.claimedAt = clock.now();
    this.begunAt = this.claimedAt;
    this.leaseEndsAt = leaseEndsAt;
    this.#changed = changed;
  }

  get signal(): AbortSignal {
    return this.#scan.signal;
  }

  get lease(): Lease {
    return this.check.lease;
  }

  parked(): void {
    if (this.phase !== 'waiting') return;
    this.phase = 'parked';
    this.#changed();
  }

  begun(now: number): void {
    if (this.phase === 'scanning') return;
    this.phase = 'scanning';
    this.begunAt = now;
    this.#changed();
  }

  ended(): void {
    this.phase = 'ending';
    this.#changed();
  }

  /** Ends the scan; `why` becomes its outcome. */
  abort(why: ScanError): void {
    this.#scan.abort(why);
  }

  /** The lease belongs to somebody else, or may: whatever comes of the scan must not be stored. */
  lose(why: ScanError): void {
    this.isLost = true;
    this.abort(why);
  }
}

/** Everything this worker holds a lease on. `onChange` is called whenever there may be room for more. */
export class HeldChecks {
  readonly #byId = new Map<string, HeldCheck>();
  readonly #clock: Clock;
  #onChange: () => void = () => {};
  #idle: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set onChange(listener: () => void) {
    this.#onChange = listener;
  }

  add(check: Check, leaseEndsAt: number): HeldCheck {
    const held = new HeldCheck(check, leaseEndsAt, this.#clock, () => this.#onChange());
    this.#byId.set(check.id, held);
    return held;
  }

  /** Only this very holding: the same check may have been claimed again since. */
  remove(held: HeldCheck): void {
    if (this.#byId.get(held.check.id) === held) this.#byId.delete(held.check.id);
    this.#onChange();
    if (this.#byId.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  get size(): number {
    return this.#byId.size;
  }

  count(phase: Phase): number {
    let count = 0;
    for (const held of this.#byId.values()) if (held.phase === phase) count++;
    return count;
  }

  get hasSuspect(): boolean {
    for (const held of this.#byId.values()) if (held.check.suspect) return true;
    return false;
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  all(): HeldCheck[] {
    return [...this.#byId.values()];
  }

  /** Resolves when nothing is held. */
  empty(): Promise<void> {
    return this.#byId.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }
}
