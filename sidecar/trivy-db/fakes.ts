/** Stand-ins for the builder and its logs, in memory and steered by hand. */

import { writeFile } from 'node:fs/promises';
import type { Context } from 'hono';
import type { Access } from '../http/operator.ts';
import type { ServerEnv } from '../roles/role.ts';
import type { Builder, BuilderRefusal, BuilderState, BuildLogReader, BuildLogs, BuildRecord, LogLine, Publication } from './model.ts';

import { digestOf, manifestOf } from './pack.ts';

export function fakeRecord(id: string, changes: Partial<BuildRecord> = {}): BuildRecord {
  const at = '2026-11-21T16:00:00.000Z';
  const empty = { sources: [], phases: [], error: null, exitCode: 0, signal: null, lastLines: [], databaseBytes: null, archiveBytes: null };
  const rest = { rows: null, digest: null, publishedAt: [], isKept: false };
  return { id, startedAt: at, endedAt: at, startedBy: 'ana@example.com', outcome: 'succeeded', ...empty, ...rest, ...changes };
}

/** A publication whose archive is written to `path`. */
export async function fakePublication(path: string, archive: Buffer, changes: Partial<Publication> = {}): Promise<Publication> {
  await writeFile(path, archive);
  const packed = { size: archive.length, digest: digestOf(archive) };
  const builtAt = '2026-11-21T16:00:00.000Z';
  const manifest = manifestOf(packed, 65_536, builtAt);
  return {
    buildId: '20261121T160000Z-aaaaaa',
    publishedAt: '2026-11-21T16:10:00.000Z',
    archive: { path, ...packed },
    metadata: Buffer.from(
      '{"Version":2,"NextUpdate":"2026-11-22T16:00:00Z","UpdatedAt":"2026-11-21T16:00:00Z","DownloadedAt":"0001-01-01T00:00:00Z"}',
    ),
    databaseBytes: 65_536,
    builtAt,
    manifest,
    digest: digestOf(manifest),
    ...changes,
  };
}

export class FakeBuilder implements Builder {
  now: BuilderState = { status: 'idle', running: null, lock: { kind: 'free' }, nextScheduledAt: null, last: null };
  records: BuildRecord[] = [];
  publication: Publication | null = null;
  kept: Publication[] = [];
  /** Given to the next request that would change something. */
  refusal: BuilderRefusal | null = null;
  /** What was asked for, with who asked. */
  readonly asked: string[] = [];
  stateReads = 0;

  async state(): Promise<BuilderState> {
    this.stateReads++;
    return this.now;
  }

  async start(by: string): Promise<string> {
    this.#change(`start by ${by}`);
    return '20261121T170000Z-bbbbbb';
  }

  async cancel(by: string): Promise<void> {
    this.#change(`cancel by ${by}`);
  }

  async clearLock(by: string): Promise<void> {
    this.#change(`clear-lock by ${by}`);
  }

  async publish(id: string, by: string): Promise<void> {
    this.#change(`publish ${id} by ${by}`);
  }

  async builds(): Promise<readonly BuildRecord[]> {
    return this.records;
  }

  async build(id: string): Promise<BuildRecord | null> {
    return this.records.find((record) => record.id === id) ?? null;
  }

  async published(): Promise<Publication | null> {
    return this.publication;
  }

  async byDigest(digest: string): Promise<Publication | null> {
    return this.kept.find((each) => each.digest === digest || each.archive.digest === digest) ?? null;
  }

  #change(what: string): void {
    const { refusal } = this;
    this.refusal = null;
    if (refusal !== null) throw refusal;
    this.asked.push(what);
  }
}

interface FakeLog {
  readonly lines: LogLine[];
  isOver: boolean;
  readonly path: string;
  readonly changed: Set<() => void>;
}

export class FakeBuildLogs implements BuildLogs {
  readonly #logs = new Map<string, FakeLog>();
  /** Readers of `follow` that have not ended. */
  followers = 0;

  /** Begins the log of a build, which is then the latest. */
  begin(id: string, path = '/nonexistent'): void {
    this.#logs.set(id, { lines: [], isOver: false, path, changed: new Set() });
  }

  write(id: string, ...texts: readonly (string | { text: string; cutBytes: number })[]): void {
    const log = this.#logs.get(id)!;
    for (const each of texts) {
      const { text, cutBytes } = typeof each === 'string' ? { text: each, cutBytes: 0 } : each;
      log.lines.push({ number: log.lines.length + 1, text, cutBytes });
    }
    for (const tell of log.changed) tell();
  }

  end(id: string): void {
    const log = this.#logs.get(id)!;
    log.isOver = true;
    for (const tell of log.changed) tell();
  }

  forget(id: string): void {
    this.#logs.delete(id);
  }

  async of(buildId: string): Promise<BuildLogReader | null> {
    const log = this.#logs.get(buildId);
    return log === undefined ? null : this.#reader(log);
  }

  async latest(): Promise<(BuildLogReader & { readonly buildId: string }) | null> {
    const newest = [...this.#logs].at(-1);
    return newest === undefined ? null : { buildId: newest[0], ...this.#reader(newest[1]) };
  }

  #reader(log: FakeLog): BuildLogReader {
    return {
      path: log.path,
      total: async () => log.lines.length,
      read: async (first, last) => log.lines.slice(first - 1, last),
      follow: (after, signal) => this.#follow(log, after, signal),
    };
  }

  async *#follow(log: FakeLog, after: number, signal: AbortSignal): AsyncGenerator<readonly LogLine[]> {
    this.followers++;
    try {
      let next = after;
      while (!signal.aborted) {
        if (next < log.lines.length) yield [log.lines[next++]!];
        else if (log.isOver) return;
        else await this.#change(log, signal);
      }
    } finally {
      this.followers--;
    }
  }

  #change(log: FakeLog, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const tell = () => {
        log.changed.delete(tell);
        signal.removeEventListener('abort', tell);
        resolve();
      };
      log.changed.add(tell);
      signal.addEventListener('abort', tell, { once: true });
    });
  }
}

/** Lets in whoever says `Bearer let-me-in`, as ana@example.com. */
export const fakeAccess: Access = {
  async operatorOf(c) {
    return c.req.header('authorization') === 'Bearer let-me-in' ? { name: 'ana@example.com', via: 'token', pocketbaseToken: null } : null;
  },
  async required(c, next) {
    const operator = await fakeAccess.operatorOf(c as unknown as Context<ServerEnv>);
    if (operator === null) return c.json({ error: 'log in' }, 401);
    c.set('operator', operator);
    return next();
  },
};
