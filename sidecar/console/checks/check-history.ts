/** What the history says of one build. It has an index on its running number alone, so that finding a build means reading entries. */
import { z } from 'zod';
import { ScanError } from '../../scan/errors.ts';
import type { CheckRow } from './check-row.ts';
import { dateOf } from './check-row.ts';
import type { ChecksSource } from './checks-source.ts';

const HISTORY = '/api/collections/av_scan_history/records';
/** So many entries are read in one go: about half a second (two slow cores). */
const SPAN = 200_000;
const MAX_ENTRIES = 200;
const MAX_REMEMBERED = 100;

const text = z.string().catch('');
const entryShape = z.object({
  event: z.string(),
  build: z.string(),
  at: text,
  status: text,
  open: z.boolean().nullable().catch(null),
  reason: text,
  virusName: text,
  rescan: z.boolean().catch(false),
  engine: z
    .object({
      name: text,
      version: text,
      signatures: z
        .union([z.number(), z.literal('test')])
        .nullable()
        .catch(null),
    })
    .nullable()
    .catch(null),
  worker: text,
  by: text,
  note: text,
  waited: z.number().nullable().catch(null),
  openSeconds: z.number().nullable().catch(null),
  downloads: z.number().nullable().catch(null),
});

/** One event on record. */
export type HistoryEntry = z.infer<typeof entryShape> & { readonly seq: number; readonly date: Date | null };

export interface CheckHistory {
  /** Oldest first. */
  readonly entries: readonly HistoryEntry[];
  /** False where there are older entries that were not looked at. */
  readonly isComplete: boolean;
}

interface Remembered extends CheckHistory {
  /** The newest entry that was looked at. */
  readonly head: number;
}

const rows = z.object({ items: z.array(z.object({ seq: z.number(), entry: z.string().optional(), created: z.string().optional() })) });

/** What of a check is needed to find its history. */
export type Sought = Pick<CheckRow, 'build' | 'created' | 'revision'>;

/** Remembers what it has read: entries never change, so that a page that is looked at again reads only what is new. */
export class CheckHistories {
  readonly #source: Pick<ChecksSource, 'get'>;
  readonly #remembered = new Map<string, Remembered>();
  /** The look through a whole history that is under way. */
  #whole: { readonly build: string; readonly look: Promise<CheckHistory> } | null = null;

  constructor(source: Pick<ChecksSource, 'get'>) {
    this.#source = source;
  }

  /**
   * `whole`: looks at everything since the upload, however long that takes. Anybody may ask for it and it keeps PocketBase busy for
   * seconds, so that there is one such look at a time: who asks for another build meanwhile is refused by a ScanError that says so.
   */
  async of(check: Sought, whole = false): Promise<CheckHistory> {
    if (!whole || this.#remembered.get(check.build)?.isComplete === true) return await this.#look(check, whole);
    if (this.#whole === null) {
      const look = this.#look(check, true).finally(() => {
        this.#whole = null;
      });
      this.#whole = { build: check.build, look };
    }
    if (this.#whole.build !== check.build) {
      throw new ScanError('store-unavailable', 'somebody looks through the whole history of another build; try again in a minute');
    }
    return await this.#whole.look;
  }

  async #look(check: Sought, whole: boolean): Promise<CheckHistory> {
    const known = this.#remembered.get(check.build);
    const head = (await this.#ask({ sort: '-seq', fields: 'seq', perPage: '1' }))[0]?.seq ?? 0;
    // A head that went back is another PocketBase, or a restored one.
    const usable = known !== undefined && known.head <= head && (known.isComplete || !whole) ? known : null;
    const first = usable === null ? await this.#firstOf(check, head) : usable.head + 1;
    const from = whole ? first : Math.max(first, head - SPAN + 1);
    const added = from > head ? [] : await this.#search(check.build, from, head);
    const history = {
      head,
      entries: [...(usable?.entries ?? []), ...added],
      isComplete: (usable?.isComplete ?? true) && from <= first && added.length < MAX_ENTRIES,
    };
    this.#remember(check.build, history);
    return history;
  }

  #remember(build: string, history: Remembered): void {
    this.#remembered.delete(build);
    this.#remembered.set(build, history);
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MAX_REMEMBERED) break;
      this.#remembered.delete(oldest);
    }
  }

  async #search(build: string, from: number, to: number): Promise<HistoryEntry[]> {
    const found = await this.#ask({
      filter: `seq >= ${from} && seq <= ${to} && entry ~ '"build":"${build}"'`,
      sort: '-seq',
      fields: 'seq,entry',
      perPage: String(MAX_ENTRIES),
    });
    return found.reverse().flatMap(({ seq, entry = '' }) => readEntry(seq, entry, build));
  }

  /** The number of the first entry that can be about it. */
  async #firstOf({ created, revision }: Sought, head: number): Promise<number> {
    // A check that somebody deleted is made again under a higher revision: what was said of the build before is older than the row.
    return revision > 1 ? 1 : await this.#firstSince(created, head);
  }

  /** The number of the first entry since then: entries are written in the order of time. */
  async #firstSince(created: string, head: number): Promise<number> {
    let low = 1;
    let high = head + 1;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const [row] = await this.#ask({ filter: `seq >= ${middle}`, sort: 'seq', fields: 'seq,created', perPage: '1' });
      if (row !== undefined && (row.created ?? '') < created) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async #ask(params: Readonly<Record<string, string>>): Promise<z.infer<typeof rows>['items']> {
    return rows.parse(await this.#source.get(HISTORY, { ...params, skipTotal: 'true' })).items;
  }
}

/** Whatever else mentions the id, in a file name perhaps, is no event of the build. */
function readEntry(seq: number, entry: string, build: string): HistoryEntry[] {
  try {
    const event = entryShape.parse(JSON.parse(entry));
    return event.build === build ? [{ ...event, seq, date: dateOf(event.at) }] : [];
  } catch {
    return [];
  }
}
