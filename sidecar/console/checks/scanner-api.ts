/** What the scanner role answers to GET /api/scanner: what it does at this moment. */
import { z } from 'zod';

const runningScan = z.object({
  /** Id of the check. */
  check: z.string(),
  /** Id of the build. */
  build: z.string(),
  /** Name of the file that is being streamed; a check may appear once for each of its files. */
  file: z.string(),
  /** Bytes that the engine has been sent. */
  sentBytes: z.number().nonnegative(),
  /** Null until PocketBase has told the size. */
  totalBytes: z.number().nonnegative().nullable(),
  /** Address of the engine; null until one is chosen. */
  engine: z.string().nullable(),
  /** ISO 8601, UTC. */
  startedAt: z.string(),
});

const engineState = z.object({
  name: z.string(),
  ready: z.boolean(),
  /** A sentence with the next step; null while it is ready. */
  why: z.string().nullable(),
  /** Null while it has not answered yet; so are the next two. */
  version: z.string().nullable(),
  signatures: z.union([z.number(), z.literal('test')]).nullable(),
  /** ISO 8601, UTC. */
  signaturesAt: z.string().nullable(),
});

export const scannerAnswer = z.object({
  scans: z.array(runningScan),
  engines: z.array(engineState),
  /** Checks this process holds a lease on: those whose scan has begun, and those claimed ahead. */
  queue: z.object({ scanning: z.number(), claimedAhead: z.number() }),
});

export type ScannerAnswer = z.infer<typeof scannerAnswer>;
export type RunningScan = z.infer<typeof runningScan>;
