/** What happens in one round, decided before it begins: the same seed gives the same plan, though not the same interleaving. */
import { Random } from './random.ts';

export interface PlannedFile {
  /** Says what the file is: `c` clean, `i` infected; see `isInfectedName`. */
  readonly name: string;
  readonly size: number;
  readonly isInfected: boolean;
}

export type Step = { readonly pauseMs: number } & (
  | { readonly kind: 'create'; readonly id: string; readonly files: readonly PlannedFile[] }
  /** `which`, from 0 to 1, chooses among what this writer has uploaded in this round. */
  | { readonly kind: 'add' | 'replace'; readonly which: number; readonly files: readonly PlannedFile[] }
  | { readonly kind: 'remove' | 'delete'; readonly which: number }
);

export const targets = ['pocketbase', 'clamd', 'sidecar-1', 'sidecar-2'] as const;
export type Target = (typeof targets)[number];

export interface Fault {
  readonly atMs: number;
  readonly targets: readonly Target[];
  /** Killed with SIGKILL and started again after `downMs`, or stopped for so long. */
  readonly kind: 'kill' | 'pause';
  readonly downMs: number;
}

export interface Plan {
  readonly round: number;
  readonly writers: readonly (readonly Step[])[];
  readonly faults: readonly Fault[];
}

const WRITERS = 3;
const STEPS = 20;
const LOAD_MS = 2_500;
/** The shortest that the configuration allows. */
export const LEASE_SECONDS = 5;
const LARGE_BYTES = 6_000_000;

export function planOf(seed: number, round: number): Plan {
  const random = new Random(seed ^ Math.imul(round, 0x9e3779b1));
  const writers = Array.from({ length: WRITERS }, (_, writer) => stepsOf(random.fork(), `r${round}w${writer}`));
  const faults = Array.from({ length: random.whole(1, 3) }, () => faultOf(random));
  return { round, writers, faults: faults.toSorted((a, b) => a.atMs - b.atMs) };
}

function stepsOf(random: Random, prefix: string): Step[] {
  return Array.from({ length: STEPS }, (_, at): Step => {
    const pauseMs = random.whole(0, (2 * LOAD_MS) / STEPS);
    const luck = random.next();
    const which = random.next();
    const name = `${prefix}n${at}`;
    if (at === 0 || luck < 0.65) return { kind: 'create', pauseMs, id: idOf(random), files: filesOf(random, name, random.chance(0.1)) };
    if (luck < 0.76) return { kind: 'add', pauseMs, which, files: filesOf(random, name, random.chance(0.15)) };
    if (luck < 0.87) return { kind: 'replace', pauseMs, which, files: filesOf(random, name, random.chance(0.15)) };
    return { kind: luck < 0.95 ? 'remove' : 'delete', pauseMs, which };
  });
}

/** One of them is infected, or none. */
function filesOf(random: Random, name: string, isInfected: boolean): PlannedFile[] {
  const count = random.chance(0.6) ? 1 : random.whole(2, 4);
  const bad = isInfected ? random.whole(0, count - 1) : -1;
  return Array.from({ length: count }, (_, at) => {
    const size = random.chance(0.1) ? random.whole(1_000_000, LARGE_BYTES) : random.whole(0, 120_000);
    return { name: `${name}f${at}${at === bad ? 'i' : 'c'}.bin`, size, isInfected: at === bad };
  });
}

function faultOf(random: Random): Fault {
  const luck = random.next();
  const first = random.pick(targets);
  const hit = luck < 0.6 ? [first] : luck < 0.85 ? [...new Set([first, random.pick(targets)])] : targets;
  const atMs = random.whole(100, LOAD_MS);
  if (random.chance(0.7)) return { atMs, targets: hit, kind: 'kill', downMs: random.whole(0, 800) };
  // Now and then a sidecar sleeps through its leases and wakes up to find them gone.
  const isLong = hit.every((target) => target.startsWith('sidecar')) && random.chance(0.4);
  return { atMs, targets: hit, kind: 'pause', downMs: isLong ? LEASE_SECONDS * 1000 + random.whole(500, 2_500) : random.whole(100, 1_500) };
}

/** Chosen by the writer, so that it knows what became of an upload whose answer was lost. */
function idOf(random: Random): string {
  return Array.from({ length: 15 }, () => random.pick([...'abcdefghijklmnopqrstuvwxyz0123456789'])).join('');
}
