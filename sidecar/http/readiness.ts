/** May this process do its job, and if not, why: one answer per part. */
import { settingsOf } from '../clamd/canary.ts';
import type { EngineState } from '../clamd/pool.ts';
import type { StoreHealth } from '../pocketbase/health.ts';
import type { EngineLimits, Lie } from '../scan/model.ts';
import type { WorkerState } from '../scan/worker-state.ts';

export interface Part {
  readonly ready: boolean;
  /** A sentence when not ready. */
  readonly why: string | null;
}

export interface Readiness {
  readonly ready: boolean;
  readonly parts: Readonly<Record<string, Part>>;
  /** An engine without official signatures takes part: its verdicts prove nothing. */
  readonly testSignatures: boolean;
  /** Null where no role here watches it. */
  readonly gate: StoreHealth['gate'] | 'unknown' | null;
  /** What does not stop the work and still wants attention. */
  readonly warnings: readonly string[];
}

/** What anybody may know: which part it is, and not why. */
export function withoutDetails({ ready, parts }: Readiness): object {
  return { ready, parts: Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, { ready: part.ready }])) };
}

/** Of a process with several roles: ready when each of them is. */
export function combined(each: readonly Readiness[]): Readiness {
  return {
    ready: each.every(({ ready }) => ready),
    parts: Object.assign({}, ...each.map(({ parts }) => parts)),
    testSignatures: each.some(({ testSignatures }) => testSignatures),
    gate: each.find(({ gate }) => gate !== null)?.gate ?? null,
    warnings: each.flatMap(({ warnings }) => warnings),
  };
}

/** Of a role without engines and gate. */
export function roleReadiness(parts: Readonly<Record<string, Part>>, warnings: readonly string[] = []): Readiness {
  return { ready: Object.values(parts).every(({ ready }) => ready), parts, testSignatures: false, gate: null, warnings };
}

interface EngineReadiness extends Part {
  readonly name: string;
  readonly version: string | null;
  readonly signatures: number | 'test' | null;
  /** Each setting of clamd.conf that must change before it takes work, as it is to be written there. */
  readonly settings: readonly string[];
  readonly limits: EngineLimits | null;
  readonly canaryAt: string | null;
}

export interface ScannerSources {
  readonly session: { readonly why: string | null };
  readonly health: { readonly why: string | null; readonly last: StoreHealth | null };
  readonly engines: readonly EngineState[];
  readonly worker: WorkerState;
  /** Of engines, that PocketBase has not heard of yet. */
  readonly lies: readonly Lie[];
}

export const TEST_SIGNATURES_WARNING = 'TEST SIGNATURES: an engine knows nothing but test files, so that clean means nothing';

export function scannerReadiness({ session, health, engines, worker, lies }: ScannerSources): Readiness {
  const pocketbase = { ready: session.why === null, why: session.why };
  const hooks = { ready: health.why === null, why: health.why };
  const engine = { ...enginePart(engines), each: engines.map(engineReadiness) };
  const parts = { pocketbase, hooks, engines: engine, worker: { ready: worker.ready, why: worker.why } };
  const testSignatures = engines.some((each) => each.ready && each.engine?.signatures === 'test');
  return {
    ready: Object.values(parts).every((part) => part.ready),
    parts,
    testSignatures,
    gate: health.last?.gate ?? 'unknown',
    warnings: [...(testSignatures ? [TEST_SIGNATURES_WARNING] : []), ...lies.map(lieWarning), ...(health.last?.problems ?? [])],
  };
}

function enginePart(engines: readonly EngineState[]): Part {
  if (engines.some((each) => each.ready)) return { ready: true, why: null };
  if (engines.length === 0) return { ready: false, why: 'no engine is known yet' };
  return { ready: false, why: engines.map((each) => `${each.name}: ${each.why ?? 'not ready'}`).join('; ') };
}

function engineReadiness({ name, ready, why, engine, faults, limits, canaryAt }: EngineState): EngineReadiness {
  const { version = null, signatures = null } = engine ?? {};
  return { name, ready, why, version, signatures, settings: settingsOf(faults), limits, canaryAt };
}

function lieWarning({ engine, since, reason }: Lie): string {
  const from = since === null ? 'since its last good canary' : `since ${since}`;
  return `what ${engine} judged ${from} is not closed again yet, because PocketBase could not be told: ${reason}`;
}
