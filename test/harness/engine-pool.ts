import { createEnginePool, type EngineEvent, type EnginePool, type EnginePoolOptions } from '../../sidecar/clamd/pool.ts';
import { systemClock } from '../../sidecar/clock.ts';

export interface RunningPool extends AsyncDisposable {
  readonly pool: EnginePool;
  readonly events: readonly EngineEvent[];
}

/** A pool that probes, with the patience of a test; it takes the test set of signatures. */
export function startPool(addresses: readonly string[], options: Partial<EnginePoolOptions> = {}): RunningPool {
  const events: EngineEvent[] = [];
  const pool = createEnginePool(
    {
      addresses,
      stallMs: 2_000,
      timeoutMs: 10_000,
      maxSignatureAgeMs: 0,
      allowTestSignatures: true,
      onEvent: (event) => events.push(event),
      ...options,
    },
    systemClock,
  );
  pool.start();
  return { pool, events, [Symbol.asyncDispose]: () => pool.stop() };
}
