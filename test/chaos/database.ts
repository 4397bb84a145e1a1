/** What PocketBase has stored, read past it and its hooks. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

export interface StoredCheck {
  readonly id: string;
  readonly build: string;
  readonly status: string;
  readonly open: number;
  readonly reason: string;
  readonly revision: number;
  readonly lease_until: string;
  readonly log: string;
}

export interface Settled {
  readonly seq: number;
  /** Milliseconds. */
  readonly at: number;
  readonly build: string;
  readonly event: string;
  readonly status: string;
  readonly open: boolean;
  readonly rescan: boolean;
  readonly revision: number;
  readonly files: readonly { readonly name: string; readonly verdict: string; readonly sha256: string }[];
}

export class Stored {
  readonly #database: DatabaseSync;

  constructor(pocketbaseDir: string) {
    this.#database = new DatabaseSync(join(pocketbaseDir, 'pb_data/data.db'), { readOnly: true });
  }

  collectionId(): string {
    return this.#row<{ id: string }>(`SELECT id FROM _collections WHERE name = 'app_builds'`).id;
  }

  builds(): Map<string, readonly string[]> {
    const rows = this.#rows<{ id: string; files: string }>('SELECT id, files FROM app_builds');
    return new Map(rows.map(({ id, files }) => [id, JSON.parse(files || '[]') as string[]]));
  }

  checks(): StoredCheck[] {
    return this.#rows<StoredCheck>('SELECT id, build, status, open, reason, revision, lease_until, log FROM av_build_checks');
  }

  /** Checks that have not come to their end, or on which somebody holds a lease. */
  unfinished(): { build: string; status: string; attempts: number; suspect: number; not_before: string; lease_until: string }[] {
    return this.#rows(
      `SELECT build, status, attempts, suspect, not_before, lease_until FROM av_build_checks WHERE status IN ('pending', 'scanning') OR lease_until != ''`,
    );
  }

  buildsWithoutCheck(): number {
    return this.#row<{ n: number }>(
      'SELECT COUNT(*) AS n FROM app_builds b LEFT JOIN av_build_checks c ON c.build = b.id WHERE c.id IS NULL',
    ).n;
  }

  /** Verdicts and failures, in their order, from that row on. */
  history(after: number): Settled[] {
    const rows = this.#rows<{ seq: number; entry: string }>(
      `SELECT seq, entry FROM av_scan_history WHERE seq > ${after} AND json_extract(entry, '$.event') IN ('settled', 'failed') ORDER BY seq`,
    );
    return rows.map(({ seq, entry }) => {
      const { at, files = [], rescan = false, ...event } = JSON.parse(entry);
      return { ...event, seq, at: Date.parse(at.replace(' ', 'T')), files, rescan };
    });
  }

  close(): void {
    this.#database.close();
  }

  #rows<T>(sql: string): T[] {
    return this.#database.prepare(sql).all() as T[];
  }

  #row<T>(sql: string): T {
    return this.#database.prepare(sql).get() as T;
  }
}
