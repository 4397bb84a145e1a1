/** A check as the pages read it. Whatever stands in its JSON fields, a row is always read: an older installation wrote other shapes. */
import { z } from 'zod';

const fileVerdict = z.object({
  name: z.string(),
  /** Bytes. */
  size: z.number().catch(0),
  sha256: z.string().catch(''),
  verdict: z.string().catch(''),
  signature: z.string().optional().catch(undefined),
  reason: z.string().optional().catch(undefined),
  /** How long the engine looked at it. */
  ms: z.number().catch(0),
});
export type FileVerdict = z.infer<typeof fileVerdict>;

const engine = z.object({
  name: z.string(),
  version: z.string().catch(''),
  signatures: z.union([z.number(), z.literal('test')]).catch('test'),
  signaturesAt: z.string().nullable().catch(null),
  canaryAt: z.string().catch(''),
  limits: z.object({ scan: z.number(), recursion: z.number() }).nullable().catch(null),
});
export type EngineRow = z.infer<typeof engine>;

const text = z.string().catch('');
const stored = z.object({
  id: z.string(),
  build: text,
  status: text,
  open: z.boolean().catch(false),
  reason: text,
  virus_name: text,
  scan_time: text,
  files: z.array(fileVerdict).catch([]),
  engine: engine.nullable().catch(null),
  revision: z.number().catch(0),
  attempts: z.number().catch(0),
  suspect: z.boolean().catch(false),
  not_before: text,
  pending_since: text,
  rescan_at: text,
  revisit_at: text,
  lease_until: text,
  worker: text,
  released_by: text,
  released_at: text,
  release_reason: text,
  log: text,
  created: text,
  updated: text,
  expand: z
    .object({ build: z.record(z.string(), z.unknown()).optional() })
    .optional()
    .catch(undefined),
});

export interface Release {
  readonly by: string;
  readonly at: Date | null;
  readonly reason: string;
}

export interface CheckRow {
  readonly id: string;
  readonly build: string;
  readonly status: string;
  /** Whether its files may be downloaded. */
  readonly open: boolean;
  readonly reason: string;
  /** Of the first finding; empty where nothing was found. */
  readonly signature: string;
  /** Null until it has been judged. */
  readonly scannedAt: Date | null;
  /** The same as PocketBase wrote it: it names the scan that a decision is about. */
  readonly scanTime: string;
  /** What was said of each file; empty before the verdict. */
  readonly files: readonly FileVerdict[];
  readonly engine: EngineRow | null;
  readonly revision: number;
  readonly attempts: number;
  readonly suspect: boolean;
  readonly notBefore: Date | null;
  /** Null unless it waits for a verdict. */
  readonly pendingSince: Date | null;
  readonly rescanAt: Date | null;
  /** When it is scanned again by itself, if there are newer signatures by then. */
  readonly revisitAt: Date | null;
  /** Whether a worker holds it now. */
  readonly isLeased: boolean;
  readonly worker: string;
  readonly release: Release | null;
  /** The whole of it or its beginning, as it was asked for. */
  readonly log: string;
  /** As PocketBase wrote it, for the cursor. */
  readonly created: string;
  /** Names of the files that the build has now. */
  readonly fileNames: readonly string[];
  /** What a person calls the build: values of a few short fields. */
  readonly labels: readonly string[];
}

/** Which fields of a build hold its files, and which few tell a person what it is. */
export interface BuildFields {
  readonly collection: string;
  readonly files: readonly string[];
  readonly labels: readonly string[];
}

/** Throws where the record has no id, which means that something else than PocketBase answered. */
export function readCheck(record: unknown, fields: BuildFields): CheckRow {
  const row = stored.parse(record);
  const build = row.expand?.build ?? {};
  return {
    ...row,
    signature: row.virus_name,
    scannedAt: dateOf(row.scan_time),
    scanTime: row.scan_time,
    notBefore: dateOf(row.not_before),
    pendingSince: dateOf(row.pending_since),
    rescanAt: dateOf(row.rescan_at),
    revisitAt: dateOf(row.revisit_at),
    isLeased: row.lease_until !== '',
    release: row.released_by === '' ? null : { by: row.released_by, at: dateOf(row.released_at), reason: row.release_reason },
    fileNames: fields.files.flatMap((field) => textsOf(build[field])),
    labels: fields.labels.flatMap((field) => textsOf(build[field])).map((label) => label.slice(0, 60)),
  };
}

/** PocketBase's `2026-01-02 03:04:05.678Z`; null for an empty or unreadable one. */
export function dateOf(stored: string): Date | null {
  const date = new Date(stored.replace(' ', 'T'));
  return stored === '' || Number.isNaN(date.getTime()) ? null : date;
}

function textsOf(value: unknown): string[] {
  const list = Array.isArray(value) ? value : [value];
  return list.filter((each): each is string => typeof each === 'string' && each !== '');
}

export const isJudged = (check: Pick<CheckRow, 'status'>) => check.status !== 'pending' && check.status !== 'scanning';

/** Names of all files, whether judged or not: those of the verdict where there is one. */
export function namesOf(check: Pick<CheckRow, 'files' | 'fileNames'>): readonly string[] {
  return check.files.length > 0 ? check.files.map(({ name }) => name) : check.fileNames;
}

/** How long engines looked at it, in milliseconds, added up over its files. */
export const scanMs = (check: Pick<CheckRow, 'files'>) => check.files.reduce((sum, { ms }) => sum + ms, 0);

export const totalBytes = (check: Pick<CheckRow, 'files'>) => check.files.reduce((sum, { size }) => sum + size, 0);
