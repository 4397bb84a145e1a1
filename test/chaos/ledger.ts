/** What was uploaded, as far as its answers tell, and what was downloaded meanwhile. Times are this machine's. */

/** One write to a build. `ackedAt` is infinite where no answer came: it may have happened or not. */
export interface Change {
  readonly sentAt: number;
  ackedAt: number;
  /** Stored names, known from the answer. */
  readonly added: string[];
  readonly removed: readonly string[];
}

export interface KnownBuild {
  readonly id: string;
  readonly round: number;
  readonly changes: Change[];
  /** Stored names as of the last answer. */
  files: readonly string[];
  /** An answer said that it is stored. */
  isAcked: boolean;
  /** A deletion was asked for: it may be gone. */
  isDeletionSent: boolean;
}

/** Bytes that left. */
export interface Served {
  readonly build: string;
  readonly name: string;
  readonly sentAt: number;
  /** When the head of the answer had come. */
  readonly headAt: number;
  /** Of the whole file; null where only a part of it came. */
  readonly sha256: string | null;
}

export class Ledger {
  readonly builds = new Map<string, KnownBuild>();
  /** Digests of what was uploaded, by planned name. */
  readonly digests = new Map<string, string>();
  served: Served[] = [];
  /** What PocketBase would not do: every write here is one that it should. */
  readonly refusals: string[] = [];
  readonly counts = { uploads: 0, changes: 0, unanswered: 0, downloads: 0, served: 0 };

  begin(id: string, round: number): KnownBuild {
    const build = { id, round, changes: [], files: [], isAcked: false, isDeletionSent: false };
    this.builds.set(id, build);
    return build;
  }

  ofRound(round: number): KnownBuild[] {
    return [...this.builds.values()].filter((build) => build.round === round);
  }
}
