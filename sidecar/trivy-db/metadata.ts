/** `metadata.json` in the exact form that Trivy reads. */
import { z } from 'zod';
import { BuildFailure } from './build-error.ts';

const time = z.iso.datetime({ offset: true });
const schema = z.strictObject({
  Version: z.literal(2),
  NextUpdate: time,
  UpdatedAt: time,
  DownloadedAt: z.literal('0001-01-01T00:00:00Z'),
});

export interface Metadata {
  /** ISO 8601, UTC, to the millisecond. */
  readonly updatedAt: string;
  readonly nextUpdate: string;
}

/** trivy-db takes the time twice, so that the two differ from the interval by some nanoseconds. */
const TOLERANCE_MS = 60_000;

/** Throws a BuildFailure unless Trivy would read it as a database of version 2 that is new for `intervalMs`. */
export function readMetadata(bytes: Buffer, intervalMs: number): Metadata {
  const found = parse(bytes);
  if (found === null)
    throw new BuildFailure(
      'trivy-db wrote a metadata.json that Trivy would not read (PascalCase, Version 2). Use the pinned trivy-db: unset TRIVY_DB_BIN.',
    );
  const updatedAt = new Date(found.UpdatedAt);
  const nextUpdate = new Date(found.NextUpdate);
  if (Math.abs(nextUpdate.getTime() - updatedAt.getTime() - intervalMs) > TOLERANCE_MS)
    throw new BuildFailure(
      'NextUpdate in metadata.json does not follow TRIVY_DB_UPDATE_INTERVAL. Use the pinned trivy-db: unset TRIVY_DB_BIN.',
    );
  return { updatedAt: updatedAt.toISOString(), nextUpdate: nextUpdate.toISOString() };
}

/** When the clients of this publication ask again, in ms since the epoch; null for what cannot be read. */
export function nextUpdateOf(bytes: Buffer): number | null {
  const found = parse(bytes);
  return found === null ? null : Date.parse(found.NextUpdate);
}

function parse(bytes: Buffer): z.infer<typeof schema> | null {
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch {
    return null;
  }
}
