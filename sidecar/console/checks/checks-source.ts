/** Reading checks, their counts and their history from PocketBase, by the console's own login. */
import { z } from 'zod';
import type { HealthAnswer } from '../../../pb_hooks/lib/wire.ts';
import type { Session } from '../../pocketbase/session.ts';
import { isUnscannable } from '../words.ts';
import { type CheckQuery, type Cursor, filterOf, type SearchKind, searchKind, sortOf, type TabName } from './check-query.ts';
import { type BuildFields, type CheckRow, readCheck } from './check-row.ts';

const CHECKS = '/api/collections/av_build_checks';
const TIMEOUT_MS = 10_000;
export const PAGE_SIZE = 50;
/** A search looks at so many checks in one go: about 0.2 s for 100,000 of them (two slow cores). */
const SEARCH_SPAN = 200_000;
/** More checks than this are met soon enough on the way through all of them. */
const FREQUENT = 1000;
/** Who is further back than this in the queue is told no exact place. */
const MAX_POSITIONS = 500;
const SCHEMA_AGE_MS = 60_000;
/** Of the log, where the list needs only its first line. */
const LOG_EXCERPT = 120;

export type Counts = Readonly<Record<TabName, number>>;

export interface Overview {
  readonly counts: Counts;
  /** Checks in `error`, by reason; the most frequent first. */
  readonly reasons: readonly (readonly [reason: string, count: number])[];
  readonly gate: HealthAnswer['gate'];
  readonly oldestPendingMs: number;
}

export interface CheckPage {
  /** Newest first. */
  readonly rows: readonly CheckRow[];
  readonly older: Cursor | null;
  readonly newer: Cursor | null;
  /** Where a search stopped before it had seen everything; null where it has. */
  readonly searchedUntil: Cursor | null;
}

export interface Prospects {
  /** Place in the queue, from 1; null where it is far back. */
  readonly position: number | null;
  /** From upload to verdict, as the last verdicts took; null before there were some. */
  readonly usualMs: number | null;
}

const prospects = z.object({ position: z.union([z.number(), z.string()]).nullable(), usualSeconds: z.number().nullable() });
const health = z.object({
  gate: z.enum(['enforce', 'monitor', 'off']),
  counts: z.object({ pending: z.number(), scanning: z.number(), clean: z.number(), infected: z.number(), error: z.number() }),
  reasons: z.record(z.string(), z.number()),
  oldestPendingSeconds: z.number(),
});
const list = z.object({ items: z.array(z.unknown()) });
const schemaField = z.object({
  name: z.string().regex(/^\w+$/),
  type: z.string(),
  presentable: z.boolean().catch(false),
  collectionId: z.string().optional(),
});
const schema = z.object({ fields: z.array(schemaField.nullable().catch(null)) });
const place = z.object({ id: z.string(), created: z.string() });

/** Fields that name a build where its collection marks none as presentable. */
const USUAL_LABELS = ['app', 'name', 'title', 'version', 'branch', 'os', 'arch'];
const MAX_LABELS = 3;
// biome-ignore format: one line
const ROW_FIELDS = ['id', 'build', 'status', 'open', 'reason', 'virus_name', 'scan_time', 'files', 'engine', 'revision', 'attempts', 'suspect', 'not_before', 'pending_since',
  'rescan_at', 'revisit_at', 'lease_until', 'worker', 'released_by', 'released_at', 'release_reason', 'created', 'updated'];

/** Rejects with a ScanError whose message is a sentence for people wherever PocketBase does not answer. */
export class ChecksSource {
  readonly #session: Pick<Session, 'send'>;
  readonly #searchSpan: number;
  #fields: { readonly value: BuildFields; readonly until: number } | null = null;

  constructor(session: Pick<Session, 'send'>, { searchSpan = SEARCH_SPAN } = {}) {
    this.#session = session;
    this.#searchSpan = searchSpan;
  }

  async overview(): Promise<Overview> {
    const { counts, reasons, gate, oldestPendingSeconds } = health.parse(await this.get('/api/av/health'));
    const sorted = Object.entries(reasons).sort(([, a], [, b]) => b - a);
    const unjudged = sorted.reduce((sum, [reason, each]) => sum + (isUnscannable(reason) ? each : 0), 0);
    const all = counts.pending + counts.scanning + counts.clean + counts.infected + counts.error;
    return {
      counts: {
        all,
        waiting: counts.pending,
        scanning: counts.scanning,
        clean: counts.clean,
        infected: counts.infected,
        'cannot-judge': unjudged,
        failed: counts.error - unjudged,
      },
      reasons: sorted,
      gate,
      oldestPendingMs: oldestPendingSeconds * 1000,
    };
  }

  /** With the counts of the overview: they decide how it is looked for, and whether a search stops before it has seen everything. */
  async page(query: CheckQuery, { counts, reasons }: Pick<Overview, 'counts' | 'reasons'>): Promise<CheckPage> {
    const fields = await this.#buildFields();
    const expected = query.reason === '' ? counts[query.tab] : (reasons.find(([reason]) => reason === query.reason)?.[1] ?? 0);
    const isFrequent = expected > FREQUENT;
    const look = async (kind: SearchKind) => {
      const isLong = (kind === 'text' || kind === 'sha256') && counts.all > this.#searchSpan && query.from?.direction !== 'newer';
      const floor = isLong ? await this.#floor(query) : null;
      const filter = filterOf(query, fields.files, { floor: floor?.created ?? null, isFrequent, kind });
      return { floor, found: await this.#rows(query, fields, PAGE_SIZE + 1, filter) };
    };
    const kind = searchKind(query.search);
    const exact = await look(kind);
    // A name may look like an id.
    const { found, floor } = kind === 'id' && exact.found.length === 0 ? await look('text') : exact;
    const rows = found.slice(0, PAGE_SIZE);
    const hasMore = found.length > PAGE_SIZE;
    const isBackwards = query.from?.direction === 'newer';
    if (isBackwards) rows.reverse();
    const first = cursorOf(rows[0]);
    const last = cursorOf(rows.at(-1));
    return {
      rows,
      older: isBackwards || hasMore ? last : null,
      newer: isBackwards ? (hasMore ? first : null) : query.from === null ? null : first,
      searchedUntil: hasMore ? null : floor,
    };
  }

  /** By its own id or by that of its build; null where there is none. */
  async one(id: string): Promise<CheckRow | null> {
    const fields = await this.#buildFields();
    const query: CheckQuery = { tab: 'all', reason: '', search: '', from: null };
    const [row] = await this.#rows(query, fields, 1, sameId(['id', 'build'], id), 'log');
    return row ?? null;
  }

  /** Those of these ids that exist, in the order of the ids. */
  async some(ids: readonly string[]): Promise<readonly CheckRow[]> {
    if (ids.length === 0) return [];
    const fields = await this.#buildFields();
    const query: CheckQuery = { tab: 'all', reason: '', search: '', from: null };
    const filter = ids.map((id) => sameId(['id'], id)).join(' || ');
    const rows = new Map((await this.#rows(query, fields, ids.length, filter)).map((row) => [row.id, row]));
    return ids.flatMap((id) => rows.get(id) ?? []);
  }

  /** The newest whose files nobody may have. `among`: how many checks are not clean, which decides how they are looked for. */
  async closed(count: number, among: number): Promise<readonly CheckRow[]> {
    const query: CheckQuery = { tab: 'all', reason: '', search: '', from: null };
    // Rare ones are found by the index of states, and sorted; frequent ones soon enough on the way from the newest check on.
    const states = among > FREQUENT ? '' : " && (status = 'pending' || status = 'scanning' || status = 'infected' || status = 'error')";
    return await this.#rows(query, await this.#buildFields(), count, `open = false${states}`);
  }

  /** The one that is there for trying the gate, and is closed; null where there is none. */
  async probe(): Promise<CheckRow | null> {
    const query: CheckQuery = { tab: 'all', reason: '', search: '', from: null };
    const [row] = await this.#rows(query, await this.#buildFields(), 1, `status = 'error' && reason = 'probe' && open = false`);
    return row ?? null;
  }

  /** Places in the queue from 1, by id of the check, of those that are not far back. Suspects and delayed ones stand where they were uploaded. */
  async positions(waiting: number): Promise<ReadonlyMap<string, number>> {
    if (waiting === 0 || waiting > MAX_POSITIONS * 4) return new Map();
    const answer = await this.get(`${CHECKS}/records`, {
      filter: `status = 'pending'`,
      sort: 'pending_since,id',
      fields: 'id',
      perPage: String(MAX_POSITIONS),
      skipTotal: 'true',
    });
    return new Map(list.parse(answer).items.map((item, at) => [z.object({ id: z.string() }).parse(item).id, at + 1]));
  }

  /** What PocketBase says of a build that waits. */
  async prospects(build: string): Promise<Prospects> {
    const { position, usualSeconds } = prospects.parse(await this.get(`/api/av/builds/${encodeURIComponent(build)}`));
    return { position: typeof position === 'number' ? position : null, usualMs: usualSeconds === null ? null : usualSeconds * 1000 };
  }

  /** Differs when a check is added, claimed, judged, released or asked for again. */
  async fingerprint(): Promise<string> {
    const [counts, newest, last] = await Promise.all([
      this.get('/api/av/health'),
      this.get(`${CHECKS}/records`, { sort: '-created,-id', fields: 'id', perPage: '1', skipTotal: 'true' }),
      this.get('/api/collections/av_scan_history/records', { sort: '-seq', fields: 'seq', perPage: '1', skipTotal: 'true' }),
    ]);
    const { counts: byStatus, reasons, gate } = health.parse(counts);
    return JSON.stringify([byStatus, reasons, gate, list.parse(newest).items, list.parse(last).items]);
  }

  /** Name of the collection that holds the builds, for a link to the record. */
  async buildsCollection(): Promise<string> {
    return (await this.#buildFields()).collection;
  }

  /** The parsed answer of PocketBase to a GET. */
  async get(path: string, params: Readonly<Record<string, string>> = {}): Promise<unknown> {
    const query = new URLSearchParams(params).toString();
    return await this.#session.send({ path: query === '' ? path : `${path}?${query}`, method: 'GET', timeoutMs: TIMEOUT_MS }, never);
  }

  async #rows(
    query: CheckQuery,
    fields: BuildFields,
    count: number,
    filter: string,
    log = `log:excerpt(${LOG_EXCERPT})`,
  ): Promise<CheckRow[]> {
    const build = [...new Set([...fields.files, ...fields.labels])].map((name) => `expand.build.${name}`);
    const answer = await this.get(`${CHECKS}/records`, {
      filter,
      sort: sortOf(query),
      expand: 'build',
      fields: [...ROW_FIELDS, log, ...build].join(','),
      perPage: String(count),
      skipTotal: 'true',
    });
    return list.parse(answer).items.map((item) => readCheck(item, fields));
  }

  /** The oldest check that one search looks at; null where that is the last one. */
  async #floor(query: CheckQuery): Promise<Cursor | null> {
    const answer = await this.get(`${CHECKS}/records`, {
      filter: query.from === null ? '' : filterOf({ ...query, search: '', tab: 'all', reason: '' }, []),
      sort: '-created,-id',
      fields: 'id,created',
      page: String(this.#searchSpan),
      perPage: '1',
      skipTotal: 'true',
    });
    const [item] = list.parse(answer).items;
    return item === undefined ? null : place.parse(item);
  }

  async #buildFields(): Promise<BuildFields> {
    if (this.#fields !== null && performance.now() < this.#fields.until) return this.#fields.value;
    const checks = schema.parse(await this.get(CHECKS));
    const collection = checks.fields.find((field) => field?.name === 'build')?.collectionId ?? '';
    const builds = schema
      .parse(await this.get(`/api/collections/${encodeURIComponent(collection)}`))
      .fields.filter((field) => field !== null);
    const texts = builds.filter(({ type }) => type === 'text' || type === 'select').map(({ name }) => name);
    const presentable = builds.filter((field) => field.presentable && texts.includes(field.name)).map(({ name }) => name);
    const labels = presentable.length > 0 ? presentable : USUAL_LABELS.filter((name) => texts.includes(name));
    const value = {
      collection,
      files: builds.filter(({ type }) => type === 'file').map(({ name }) => name),
      labels: labels.slice(0, MAX_LABELS),
    };
    this.#fields = { value, until: performance.now() + SCHEMA_AGE_MS };
    return value;
  }
}

const never = new AbortController().signal;

function cursorOf(row: CheckRow | undefined): Cursor | null {
  return row === undefined ? null : { created: row.created, id: row.id };
}

/** Ids come from the address bar: what is none matches nothing. */
function sameId(fields: readonly string[], id: string): string {
  return /^[\w-]{1,100}$/.test(id) ? fields.map((field) => `${field} = '${id}'`).join(' || ') : `id = ''`;
}
