/** What the scanner role tells the console: GET /api/scanner. */
import type { Hono } from 'hono';
import type { EngineState } from '../clamd/pool.ts';
import type { ScannerAnswer } from '../console/checks/scanner-api.ts';
import type { ServerEnv } from '../roles/role.ts';
import type { RunningScan, WorkerState } from '../scan/worker-state.ts';
import type { Access } from './operator.ts';

export interface ScannerRouteParts {
  readonly access: Pick<Access, 'required'>;
  scans(): readonly RunningScan[];
  worker(): WorkerState;
  engines(): readonly EngineState[];
  /** Unix milliseconds. */
  now(): number;
}

/** Names of files are shown, so a login is needed. */
export function addScannerRoutes(app: Hono<ServerEnv>, parts: ScannerRouteParts): void {
  app.get('/api/scanner', parts.access.required, (c) => c.json(scannerAnswerOf(parts)));
}

function scannerAnswerOf(parts: ScannerRouteParts): ScannerAnswer {
  const { held, scanning } = parts.worker();
  return {
    scans: parts.scans().flatMap(({ check, build, elapsedMs, files }) => {
      const startedAt = new Date(parts.now() - elapsedMs).toISOString();
      return files.map(({ name, size, position }) => ({
        check,
        build,
        file: name,
        sentBytes: position,
        totalBytes: size,
        engine: null,
        startedAt,
      }));
    }),
    engines: parts.engines().map(({ name, ready, why, engine }) => ({
      name,
      ready,
      why,
      version: engine?.version ?? null,
      signatures: engine?.signatures ?? null,
      signaturesAt: engine?.signaturesAt ?? null,
    })),
    queue: { scanning, claimedAhead: held - scanning },
  };
}
