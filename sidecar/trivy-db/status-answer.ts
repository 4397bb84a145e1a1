import type { z } from 'zod';
import { type databaseMetadata, type PublicationSummary, type StatusAnswer, statusAnswer } from './api.ts';
import type { Builder, BuilderState, Publication } from './model.ts';
import { formatBytes } from './sizes.ts';

/** Pollers ask every few seconds, and there may be many of them: the answer is made once for all who ask within this time. */
const FRESH_MS = 500;

/** `GET /api/status`, ready to be sent. */
export class StatusText {
  readonly #builder: Builder;
  readonly #now: () => number;
  #text = '';
  #madeAt = Number.NEGATIVE_INFINITY;
  #making: Promise<string> | null = null;
  #version = 0;

  constructor(builder: Builder, now: () => number) {
    this.#builder = builder;
    this.#now = now;
  }

  /** At most half a second old, and never older than the last `forget`. */
  read(): string | Promise<string> {
    const age = this.#now() - this.#madeAt;
    if (age >= 0 && age < FRESH_MS) return this.#text;
    this.#making ??= this.#make();
    return this.#making;
  }

  /** After something was changed. */
  forget(): void {
    this.#version++;
    this.#madeAt = Number.NEGATIVE_INFINITY;
    this.#making = null;
  }

  async #make(): Promise<string> {
    const version = this.#version;
    try {
      const [state, published] = await Promise.all([this.#builder.state(), this.#builder.published()]);
      const now = this.#now();
      const text = JSON.stringify(statusOf(state, published, now));
      if (version !== this.#version) return text;
      this.#text = text;
      this.#madeAt = now;
      return text;
    } finally {
      if (version === this.#version) this.#making = null;
    }
  }
}

export function statusOf(state: BuilderState, published: Publication | null, now: number): StatusAnswer {
  const phase = state.running?.phases.findLast(({ endedAt }) => endedAt === null) ?? null;
  const holder = state.lock.kind === 'free' ? null : state.lock.holder;
  return {
    build: {
      status: state.status,
      pid: holder?.pid ?? null,
      id: state.running?.id ?? null,
      phase: phase?.name ?? null,
      progress: phase?.progress ?? null,
      nextScheduledAt: state.nextScheduledAt,
    },
    database: databaseOf(published),
    timestamp: new Date(now).toISOString(),
  };
}

function databaseOf(published: Publication | null): StatusAnswer['database'] {
  const [databaseBytes, archiveBytes] = [published?.databaseBytes ?? null, published?.archive.size ?? null];
  return {
    db_exists: published !== null,
    db_size: databaseBytes,
    db_size_formatted: formatBytes(databaseBytes),
    db_mtime: published?.builtAt ?? null,
    tar_exists: published !== null,
    tar_size: archiveBytes,
    tar_size_formatted: formatBytes(archiveBytes),
    metadata: published && metadataOf(published.metadata),
    build_id: published?.buildId ?? null,
    digest: published?.digest ?? null,
  };
}

export function summaryOf({ buildId, publishedAt, builtAt, digest, databaseBytes, archive, metadata }: Publication): PublicationSummary {
  const { size, digest: archiveDigest } = archive;
  return { buildId, publishedAt, builtAt, digest, databaseBytes, archive: { size, digest: archiveDigest }, metadata: metadataOf(metadata) };
}

const { metadata: nullableMetadata } = statusAnswer.shape.database.shape;

/** Go writes its names with capitals, the script of the requirements without; null where it is neither. */
export function metadataOf(file: Buffer): z.infer<typeof databaseMetadata> | null {
  try {
    const said = JSON.parse(file.toString('utf8')) as Readonly<Record<string, unknown>>;
    const one = (capital: string, small: string) => said[capital] ?? said[small];
    const parsed = nullableMetadata.safeParse({
      version: one('Version', 'version'),
      updatedAt: one('UpdatedAt', 'updatedAt'),
      nextUpdate: one('NextUpdate', 'nextUpdate'),
    });
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}
