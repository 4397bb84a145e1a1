/** What the trivy-db role is asked over HTTP and what it answers: the contract of its clients, and the source of its OpenAPI document. */
import { z } from 'zod';
import { type BuilderState, type BuildRecord, type LogLine, outcomes, phases } from './model.ts';

export const MAX_LINES = 1000;
export const DEFAULT_LINES = 100;
const ANY = Number.MAX_SAFE_INTEGER;
export const MAX_BUILDS = 100;
export const DEFAULT_BUILDS = 20;
/** Of a build; safe in a path and in a file name. */
export const BUILD_ID = /^[A-Za-z0-9-]{1,64}$/;
/** `<build>:<line>`: what a viewer of the log stream has seen last. */
export const EVENT_ID = /^([A-Za-z0-9-]{1,64}):(\d{1,15})$/;

const instant = z.string().meta({ format: 'date-time', description: 'ISO 8601, UTC', example: '2026-11-21T16:08:12.000Z' });
const bytes = z.int().nonnegative();
const count = z.int().nonnegative();
const buildId = z.string().meta({ example: '20261121T160812Z-3fa2c1' });
const digest = z.string().meta({ example: 'sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08' });
const share = z.number().meta({ description: 'from 0 to 1' });

export const errorAnswer = z.object({ error: z.string().meta({ description: 'a sentence with the next step' }) }).meta({ id: 'Error' });

export const doneAnswer = z.object({ success: z.literal(true), message: z.string() }).meta({ id: 'Done' });
export const startedAnswer = z.object({ success: z.literal(true), message: z.string(), id: buildId }).meta({ id: 'Started' });
export const refusalCodes = ['busy', 'lock-live', 'not-running', 'no-such-build', 'not-publishable', 'no-space', 'stopping'] as const;
export const refusedAnswer = z
  .object({ success: z.literal(false), message: z.string(), error: z.string(), code: z.enum(refusalCodes) })
  .meta({ id: 'Refused' });

export const databaseMetadata = z.object({ version: z.int(), updatedAt: instant, nextUpdate: instant }).meta({ id: 'DatabaseMetadata' });

export const buildStatuses = ['idle', 'running', 'waiting', 'stale_lock', 'error'] as const;

export const statusAnswer = z
  .object({
    build: z.object({
      status: z.enum(buildStatuses),
      pid: z.int().nullable().meta({ description: 'of the process that holds the lock' }),
      id: buildId.nullable().meta({ description: 'of the build that runs' }),
      phase: z.enum(phases).nullable(),
      progress: share.nullable().meta({ description: 'of the phase, from 0 to 1; null where nobody can tell' }),
      nextScheduledAt: instant.nullable(),
    }),
    database: z.object({
      db_exists: z.boolean(),
      db_size: bytes.nullable(),
      db_size_formatted: z.string(),
      db_mtime: instant.nullable(),
      tar_exists: z.boolean(),
      tar_size: bytes.nullable(),
      tar_size_formatted: z.string(),
      metadata: databaseMetadata.nullable(),
      build_id: buildId.nullable(),
      digest: digest.nullable().meta({ description: 'of the OCI manifest' }),
    }),
    timestamp: instant,
  })
  .meta({ id: 'Status' });
export type StatusAnswer = z.infer<typeof statusAnswer>;

export const logsAnswer = z
  .object({
    logs: z
      .array(z.string())
      .meta({ description: 'each with its line break, at most 2 MiB in all; what was cut off a long line is told at its end' }),
    total_lines: count,
    timestamp: instant,
  })
  .meta({ id: 'Logs' });
export type LogsAnswer = z.infer<typeof logsAnswer>;

const phaseRecord = z
  .object({
    name: z.enum(phases),
    startedAt: instant,
    endedAt: instant.nullable(),
    exitCode: z.int().nullable(),
    signal: z.string().nullable(),
    detail: z.string(),
    progress: share.nullable(),
  })
  .meta({ id: 'Phase' });

export const buildRecord = z
  .object({
    id: buildId,
    startedAt: instant,
    endedAt: instant.nullable(),
    startedBy: z.string(),
    sources: z.array(z.string()),
    phases: z.array(phaseRecord),
    outcome: z.enum(outcomes).nullable(),
    error: z.string().nullable(),
    exitCode: z.int().nullable(),
    signal: z.string().nullable(),
    lastLines: z.array(z.string()),
    databaseBytes: bytes.nullable(),
    archiveBytes: bytes.nullable(),
    rows: z.object({ total: count, bySource: z.record(z.string(), count) }).nullable(),
    digest: digest.nullable(),
    publishedAt: z.array(instant),
    isKept: z.boolean(),
  })
  .meta({ id: 'Build' }) satisfies z.ZodType<BuildRecord>;

export const buildsAnswer = z
  .object({
    builds: z.array(buildRecord).meta({ description: 'newest first' }),
    next: buildId.nullable().meta({ description: 'what `before` of the next page is; null on the last one' }),
  })
  .meta({ id: 'Builds' }) satisfies z.ZodType<BuildsAnswer>;
export interface BuildsAnswer {
  readonly builds: readonly BuildRecord[];
  readonly next: string | null;
}

const logLine = z
  .object({ number: z.int().positive(), text: z.string(), cutBytes: bytes })
  .meta({ id: 'LogLine' }) satisfies z.ZodType<LogLine>;

export const buildLogAnswer = z
  .object({ build: buildId, lines: z.array(logLine), total_lines: count })
  .meta({ id: 'BuildLog' }) satisfies z.ZodType<BuildLogAnswer>;
export interface BuildLogAnswer {
  readonly build: string;
  readonly lines: readonly LogLine[];
  readonly total_lines: number;
}

const lockHolder = z.object({ pid: z.int(), host: z.string(), buildId: buildId.nullable(), since: instant });

export const builderState = z
  .object({
    status: z.enum(buildStatuses),
    running: buildRecord.nullable(),
    lock: z.discriminatedUnion('kind', [
      z.object({ kind: z.literal('free') }),
      z.object({ kind: z.enum(['held', 'stale']), holder: lockHolder }),
      z.object({ kind: z.literal('unknown'), holder: lockHolder.nullable(), why: z.string() }),
    ]),
    nextScheduledAt: instant.nullable(),
    last: buildRecord.nullable(),
  })
  .meta({ id: 'BuilderState' }) satisfies z.ZodType<BuilderState>;

export const publicationSummary = z
  .object({
    buildId,
    publishedAt: instant,
    builtAt: instant,
    digest,
    databaseBytes: bytes,
    archive: z.object({ size: bytes, digest }),
    metadata: databaseMetadata.nullable(),
  })
  .meta({ id: 'Publication' });
export type PublicationSummary = z.infer<typeof publicationSummary>;

/** All that a page about the builder shows, in one answer. */
export const builderAnswer = z
  .object({ state: builderState, published: publicationSummary.nullable(), timestamp: instant })
  .meta({ id: 'Builder' }) satisfies z.ZodType<BuilderAnswer>;
export interface BuilderAnswer {
  readonly state: BuilderState;
  readonly published: PublicationSummary | null;
  readonly timestamp: string;
}

/** As OCI distribution words it. */
export const registryErrorAnswer = z
  .object({ errors: z.array(z.object({ code: z.string(), message: z.string() })) })
  .meta({ id: 'RegistryError' });
export const tagsAnswer = z.object({ name: z.string(), tags: z.array(z.string()) }).meta({ id: 'Tags' });

/** Events of `GET /api/logs/stream`; each is the JSON of `data:`, and `event:` is its name here. */
export const streamEvents = {
  /** The lines that follow are of this build, from the one after `after`. It comes first, and whenever the next build has begun. */
  build: z.object({ id: buildId, after: count }).meta({ id: 'StreamBuild' }),
  line: z.object({ build: buildId, number: z.int().positive(), text: z.string(), cutBytes: bytes }).meta({ id: 'StreamLine' }),
  /** The log of this build is complete; the outcome is null where it is not recorded yet. */
  end: z.object({ id: buildId, outcome: z.enum(outcomes).nullable() }).meta({ id: 'StreamEnd' }),
} as const;

export const logsQuery = z.object({ lines: wholeNumber('lines', 1, MAX_LINES).default(DEFAULT_LINES) });
export const buildsQuery = z.object({
  limit: wholeNumber('limit', 1, MAX_BUILDS).default(DEFAULT_BUILDS),
  before: z.string().regex(BUILD_ID, 'before must be the id of a build').optional(),
});
export const buildLogQuery = z
  .object({
    from: wholeNumber('from', 1, ANY).default(1),
    to: wholeNumber('to', 1, ANY).optional(),
  })
  .refine(({ from, to }) => to === undefined || (to >= from && to - from < MAX_LINES), {
    error: `to must not be below from, and at most ${MAX_LINES} lines are given at once`,
  });
export const streamQuery = z.object({
  build: z.string().regex(BUILD_ID, 'build must be the id of a build').optional(),
  after: z.string().regex(EVENT_ID, 'after must be the id of an event: build, colon, line number').optional(),
  tail: wholeNumber('tail', 0, MAX_LINES).default(DEFAULT_LINES),
});

/** A query parameter: digits alone, so that neither `1e3` nor an empty one is taken for a number. */
function wholeNumber(name: string, min: number, max: number) {
  const sentence =
    max === ANY ? `${name} must be a whole number of ${min} or more` : `${name} must be a whole number from ${min} to ${max}`;
  return z
    .string(sentence)
    .regex(/^(?:0|[1-9]\d{0,14})$/, sentence)
    .transform(Number)
    .refine((number) => number >= min && number <= max, sentence)
    .meta({
      override: ({ jsonSchema }) => {
        // What it means, in place of the text that a query string is.
        delete jsonSchema.pattern;
        Object.assign(jsonSchema, { type: 'integer', minimum: min, maximum: max });
      },
    });
}
