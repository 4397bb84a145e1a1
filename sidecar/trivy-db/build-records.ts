/** The history of builds: one small file each, replaced in one step, also while the build runs, so that it survives whatever happens. */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { z } from 'zod';
import { unlessAbsent, writeDurably } from '../durable.ts';
import { isBuildId, type Layout } from './layout.ts';
import { type BuildRecord, outcomes, phases } from './model.ts';

/** As stored; whether the archive is still there is a question to the folder, not to the record. */
export type StoredRecord = Omit<BuildRecord, 'isKept'>;

const stored = z.object({
  id: z.string().refine(isBuildId),
  startedAt: z.string(),
  endedAt: z.string().nullable(),
  startedBy: z.string(),
  sources: z.array(z.string()),
  phases: z.array(
    z.object({
      name: z.enum(phases),
      startedAt: z.string(),
      endedAt: z.string().nullable(),
      exitCode: z.number().nullable(),
      signal: z.string().nullable(),
      detail: z.string(),
      progress: z.number().nullable(),
    }),
  ),
  outcome: z.enum(outcomes).nullable(),
  error: z.string().nullable(),
  exitCode: z.number().nullable(),
  signal: z.string().nullable(),
  lastLines: z.array(z.string()),
  databaseBytes: z.number().nullable(),
  archiveBytes: z.number().nullable(),
  rows: z.object({ total: z.number(), bySource: z.record(z.string(), z.number()) }).nullable(),
  digest: z.string().nullable(),
  publishedAt: z.array(z.string()),
});

/** For what another version may not have written yet. How it ended is not among it: nobody may guess that. */
export function emptyRecord(id: string): StoredRecord {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)/.exec(id) ?? [];
  const begun = { id, startedAt: `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`, endedAt: null, startedBy: '', sources: [] };
  const ended = { phases: [], outcome: null, error: null, exitCode: null, signal: null, lastLines: [] };
  return { ...begun, ...ended, databaseBytes: null, archiveBytes: null, rows: null, digest: null, publishedAt: [] };
}

/** Null for what is no record, or says of itself what this version does not know. */
function parsedRecord(id: string, text: string): StoredRecord | null {
  const { outcome: _outcome, ...defaults } = emptyRecord(id);
  try {
    const parsed = stored.safeParse({ ...defaults, ...JSON.parse(text) });
    return parsed.success && parsed.data.id === id ? parsed.data : null;
  } catch {
    return null;
  }
}

/** Two changes within this time may leave file or folder with the same modification time; such a reading is not kept. */
const RACY_MS = 100;

export class BuildRecords {
  readonly #layout: Layout;
  #known: { readonly changed: bigint; readonly records: readonly StoredRecord[] } | null = null;
  /** By the change of their file. */
  #parsed = new Map<string, { readonly changed: bigint; readonly isSettled: boolean; readonly record: StoredRecord | null }>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Newest first. What is no record is left out; rejects where a file could not be read. Costs one question to the folder while nothing changes. */
  async all(): Promise<readonly StoredRecord[]> {
    const lookedAt = Date.now();
    const changed = await changeOf(this.#layout.records);
    if (this.#known?.changed === changed) return this.#known.records;
    const ids = await this.ids();
    const parsed = await Promise.all(ids.map(async (id) => [id, await this.#reread(id)] as const));
    this.#parsed = new Map(parsed);
    const read = parsed.map(([, { record }]) => record);
    const records = read.filter((record) => record !== null).sort((a, b) => (a.id < b.id ? 1 : -1));
    this.#known = isSettled(changed, lookedAt) ? { changed, records } : null;
    return records;
  }

  /** Of all files that are or were meant as records. */
  async ids(): Promise<readonly string[]> {
    const names = ((await unlessAbsent(readdir(this.#layout.records))) ?? []).filter((name) => name.endsWith('.json'));
    return names.map((name) => name.slice(0, -'.json'.length)).filter(isBuildId);
  }

  async #reread(id: string) {
    const lookedAt = Date.now();
    const changed = await changeOf(this.#layout.record(id));
    const before = this.#parsed.get(id);
    // What was read too soon after a change may be older than another change at the same time.
    if (before?.changed === changed && before.isSettled) return before;
    return { changed, isSettled: isSettled(changed, lookedAt), record: await this.read(id) };
  }

  /** As it is on the disk now; null where there is none, or none that is whole. Rejects where it could not be read. */
  async read(id: string): Promise<StoredRecord | null> {
    if (!isBuildId(id)) return null;
    const text = await unlessAbsent(readFile(this.#layout.record(id), 'utf8'));
    return text === null ? null : parsedRecord(id, text);
  }

  async save(record: StoredRecord): Promise<void> {
    await writeDurably(this.#layout.record(record.id), `${JSON.stringify(record)}\n`);
    this.#known = null;
  }

  async remove(id: string): Promise<void> {
    await rm(this.#layout.record(id), { force: true });
    this.#known = null;
  }
}

function isSettled(changed: bigint, lookedAt: number): boolean {
  return lookedAt - Number(changed / 1_000_000n) > RACY_MS;
}

/** Of a file or a folder; 0 where there is none. */
async function changeOf(path: string): Promise<bigint> {
  return (await unlessAbsent(stat(path, { bigint: true })))?.mtimeNs ?? 0n;
}
