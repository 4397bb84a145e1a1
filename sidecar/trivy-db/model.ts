/** The words of the Trivy DB role: what a build is, what is published, and what can be asked of the builder. */

export const phases = ['fetch', 'build', 'compact', 'compress', 'publish'] as const;
export type Phase = (typeof phases)[number];

export interface PhaseRecord {
  readonly name: Phase;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly endedAt: string | null;
  /** Of its program; null while it runs, when it was ended by a signal, or when it is none of ours to start. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** One line for people: what it does now, or what it did. */
  readonly detail: string;
  /** From 0 to 1; null where nobody can tell. */
  readonly progress: number | null;
}

/** `died`: the process that built it ended without a word. */
export const outcomes = ['succeeded', 'failed', 'cancelled', 'timed-out', 'died'] as const;
export type Outcome = (typeof outcomes)[number];

export interface BuildRecord {
  /** `20261121T160812Z-3fa2c1`: sorts by time, safe as a file name. */
  readonly id: string;
  readonly startedAt: string;
  readonly endedAt: string | null;
  /** Who pressed the button, or `schedule`. */
  readonly startedBy: string;
  /** What `--only-update` was given; empty for all sources. */
  readonly sources: readonly string[];
  readonly phases: readonly PhaseRecord[];
  /** Null while it runs. */
  readonly outcome: Outcome | null;
  /** A sentence with the next step; null unless it ended otherwise than well. */
  readonly error: string | null;
  /** With `signal`: of the program that a failure, a cancel or a limit ended last; null both where none ran. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** Of its log. */
  readonly lastLines: readonly string[];
  /** Bytes; null until they are known. */
  readonly databaseBytes: number | null;
  readonly archiveBytes: number | null;
  /** Keys in the database by bucket of the first level, and all together. */
  readonly rows: { readonly total: number; readonly bySource: Readonly<Record<string, number>> } | null;
  /** Digest of its OCI manifest, once packed. */
  readonly digest: string | null;
  /** Times at which it became the published one; the last is the newest. */
  readonly publishedAt: readonly string[];
  /** Whether its archive is still there, so that it can be published again. */
  readonly isKept: boolean;
}

/** Everything that a reader needs of the published build. All of it belongs to one build, and stays readable while it is read. */
export interface Publication {
  readonly buildId: string;
  /** When it became the published one. */
  readonly publishedAt: string;
  /** trivy.db.tar.gz: the download, and the one layer of the artifact. */
  readonly archive: { readonly path: string; readonly size: number; readonly digest: string };
  /** metadata.json, byte for byte as it is in the archive. */
  readonly metadata: Buffer;
  readonly databaseBytes: number;
  /** When the database was built. */
  readonly builtAt: string;
  readonly manifest: Buffer;
  /** `sha256:…` of the manifest. */
  readonly digest: string;
}

export interface LockHolder {
  readonly pid: number;
  readonly host: string;
  readonly buildId: string | null;
  /** ISO 8601, UTC. */
  readonly since: string;
}

/**
 * `free`; `held` by a living process; `stale`: its holder is proved dead; `unknown`: on another host, or unreadable: it counts as held.
 */
export type LockState =
  | { readonly kind: 'free' }
  | { readonly kind: 'held' | 'stale'; readonly holder: LockHolder }
  | { readonly kind: 'unknown'; readonly holder: LockHolder | null; readonly why: string };

export interface BuilderState {
  /** `error`: the last build did not end well and none has since. */
  readonly status: 'idle' | 'running' | 'waiting' | 'stale_lock' | 'error';
  /** The one that runs here, or null. */
  readonly running: BuildRecord | null;
  readonly lock: LockState;
  /** ISO 8601, UTC; null without a schedule. */
  readonly nextScheduledAt: string | null;
  readonly last: BuildRecord | null;
}

/** Why a request to the builder is refused; `message` is a sentence with the next step. */
export class BuilderRefusal extends Error {
  override readonly name = 'BuilderRefusal';
  readonly code: 'busy' | 'lock-live' | 'not-running' | 'no-such-build' | 'not-publishable' | 'no-space' | 'stopping';

  constructor(code: BuilderRefusal['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** What the routes and the console ask of the builder. */
export interface Builder {
  state(): Promise<BuilderState>;
  /** Resolves with the id when the lock is taken and the build has begun; rejects with a BuilderRefusal (`busy`, `no-space`, `stopping`). */
  start(by: string): Promise<string>;
  /** Resolves when the whole process group has ended. Rejects with `not-running`. */
  cancel(by: string): Promise<void>;
  /** Removes a lock whose holder is proved dead; resolves also when there is none. Rejects with `lock-live`. */
  clearLock(by: string): Promise<void>;
  /** Makes a kept build the published one. Rejects with `no-such-build`, `not-publishable` or `busy`. */
  publish(id: string, by: string): Promise<void>;
  /** Newest first. */
  builds(): Promise<readonly BuildRecord[]>;
  build(id: string): Promise<BuildRecord | null>;
  /** Null before the first good build. Cheap: it is asked for by every request to the registry. */
  published(): Promise<Publication | null>;
  /** A publication, or a kept build, by the digest of its manifest or of its archive; readers of an older one finish undisturbed. */
  byDigest(digest: string): Promise<Publication | null>;
}

export interface LogLine {
  /** From 1, over the log of one build. */
  readonly number: number;
  /** Without its line break; hostile. */
  readonly text: string;
  /** What was cut off its end; 0 for whole lines. */
  readonly cutBytes: number;
}

/** The log of one build, read by line number; it costs what is read, whatever the size of the file. */
export interface BuildLogReader {
  total(): Promise<number>;
  /** Lines `first`…`last`, both included; fewer where there are fewer. */
  read(first: number, last: number): Promise<readonly LogLine[]>;
  /** Lines after number `after` as they are written, some at a time and never none; ends with the build or the signal. */
  follow(after: number, signal: AbortSignal): AsyncIterable<readonly LogLine[]>;
  /** For the download of the whole file. */
  readonly path: string;
}

export interface BuildLogs {
  /** Null where it was never begun or is no longer kept. */
  of(buildId: string): Promise<BuildLogReader | null>;
  /** The running build's, else the last one's. */
  latest(): Promise<(BuildLogReader & { readonly buildId: string }) | null>;
}
