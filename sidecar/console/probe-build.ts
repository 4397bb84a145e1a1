/**
 * The build that is there to be asked for and never to be had, and all the addresses under which anybody could ask for it. Found in the
 * database, so that it is known where the hooks are gone; made by the hooks, once.
 */
import { z } from 'zod';
import type { ProbeRequest } from '../../pb_hooks/lib/wire.ts';
import type { Session } from '../pocketbase/session.ts';
import { type CheckRow, namesOf } from './checks/check-row.ts';
import type { ChecksSource } from './checks/checks-source.ts';

export interface ProbeBuildParts {
  readonly session: Pick<Session, 'send'>;
  readonly source: Pick<ChecksSource, 'probe' | 'buildsCollection'>;
  /** `auto`: only where the builds are ours. */
  readonly make: 'auto' | 'true' | 'false';
  /** Monotonic milliseconds. */
  now(): number;
}

/** What can be asked for of one build. */
export interface Doors {
  readonly check: CheckRow;
  readonly file: string;
  /** Below /api/files, without a slash before it. */
  readonly paths: readonly string[];
  /** Whether the file is the one that we have made, whose bytes are known. */
  readonly isOwn: boolean;
}

interface View {
  readonly name: string;
  readonly files: readonly string[];
}

interface Schema {
  readonly id: string;
  readonly name: string;
  readonly views: readonly View[];
  /** Changes with the views. */
  readonly state: string;
}

const TIMEOUT_MS = 10_000;
/** A host's hooks see each attempt. */
const TRY_AGAIN_MS = 3_600_000;
const SCHEMA_AGE_MS = 60_000;
/** Views beyond these are not asked: a look must end. */
const MAX_VIEWS = 20;

const collection = z.object({
  id: z.string(),
  name: z.string(),
  updated: z.string().catch(''),
  fields: z.array(z.object({ name: z.string(), type: z.string() })),
});
const list = z.object({ items: z.array(z.unknown()) });
const idOnly = z.object({ id: z.string() });
const made = z.object({ build: z.string().nullable(), why: z.string().optional() });

export class ProbeBuild {
  readonly #parts: ProbeBuildParts;
  #why: string | null = null;
  #nextTry = Number.NEGATIVE_INFINITY;
  #schema: { readonly value: Schema; readonly until: number } | null = null;
  #viewed: { readonly key: string; readonly rows: readonly (readonly [view: string, row: string])[] } | null = null;

  constructor(parts: ProbeBuildParts) {
    this.#parts = parts;
  }

  /** Why there is none, as a part of a sentence; null where there is one, or where none is wanted. */
  get why(): string | null {
    return this.#why;
  }

  /** Null where there is none. Rejects where PocketBase does not answer. */
  async doors(signal: AbortSignal): Promise<Doors | null> {
    const { source, make } = this.#parts;
    let check = await source.probe();
    if (check === null && make !== 'false' && (await this.#made(signal))) check = await source.probe();
    const file = check === null ? undefined : namesOf(check)[0];
    if (check === null || file === undefined) return null;
    this.#why = null;
    const { id, name, state, views } = await this.#readSchema(signal);
    const key = JSON.stringify([check.build, file, state]);
    if (this.#viewed?.key !== key) this.#viewed = { key, rows: await this.#rowsOf(views, file, signal) };
    const places = [[name, check.build], [id, check.build], ...this.#viewed.rows] as const;
    const paths = places.flatMap(([where, row]) => [pathOf(where, row, file), `${pathOf(where, row, file)}?thumb=100x100`]);
    return { check, file, paths, isOwn: true };
  }

  /** Of any other build, whose rows in views are taken to have its id. Null where it has no files. */
  async doorsOf(check: CheckRow, signal: AbortSignal): Promise<Doors | null> {
    const [file] = namesOf(check);
    if (file === undefined) return null;
    const { id, name, views } = await this.#readSchema(signal);
    const paths = [name, id, ...views.map((view) => view.name)].map((where) => pathOf(where, check.build, file));
    return { check, file, paths: [...paths, `${pathOf(name, check.build, file)}?thumb=100x100`], isOwn: false };
  }

  /** Whether there is one now. Hooks that are gone or refuse are asked again in an hour. */
  async #made(signal: AbortSignal): Promise<boolean> {
    const { session, make, now } = this.#parts;
    if (now() < this.#nextTry) return false;
    const body: ProbeRequest = { anywhere: make === 'true' };
    const answer = await session.send({ path: '/api/av/probe', method: 'POST', body, timeoutMs: TIMEOUT_MS }, signal).then(
      (sent) => made.parse(sent),
      (thrown: unknown) => ({ build: null, why: thrown instanceof Error ? thrown.message : String(thrown) }),
    );
    signal.throwIfAborted();
    if (answer.build !== null) return true;
    this.#nextTry = now() + TRY_AGAIN_MS;
    this.#why = answer.why ?? 'the hooks gave no reason';
    return false;
  }

  async #readSchema(signal: AbortSignal): Promise<Schema> {
    const { source, now } = this.#parts;
    if (this.#schema !== null && now() < this.#schema.until) return this.#schema.value;
    const { id, name } = collection.parse(
      await this.#get(`/api/collections/${encodeURIComponent(await source.buildsCollection())}`, {}, signal),
    );
    const found = list.parse(await this.#get('/api/collections', { filter: "type = 'view'", perPage: '200', sort: 'name' }, signal));
    const all = found.items.flatMap((item) => collection.safeParse(item).data ?? []);
    const views = all
      .map((view) => ({ name: view.name, files: view.fields.filter(({ type }) => type === 'file').map((field) => field.name) }))
      .filter(({ files }) => files.length > 0)
      .slice(0, MAX_VIEWS);
    const value = { id, name, views, state: JSON.stringify(all.map((view) => [view.id, view.updated])) };
    this.#schema = { value, until: now() + SCHEMA_AGE_MS };
    return value;
  }

  /** The rows of views that show the file, whatever they call themselves. */
  async #rowsOf(views: readonly View[], file: string, signal: AbortSignal): Promise<(readonly [string, string])[]> {
    const rows: (readonly [string, string])[] = [];
    for (const { name, files } of views) {
      const filter = files.map((field) => `${field} ~ '${file.replaceAll("'", '')}'`).join(' || ');
      const query = { filter, perPage: '1', skipTotal: 'true', fields: 'id' };
      const answer = list.safeParse(await this.#get(`/api/collections/${encodeURIComponent(name)}/records`, query, signal));
      const row = idOnly.safeParse(answer.data?.items[0]);
      if (row.success) rows.push([name, row.data.id]);
    }
    return rows;
  }

  #get(path: string, params: Readonly<Record<string, string>>, signal: AbortSignal): Promise<unknown> {
    const query = new URLSearchParams(params).toString();
    return this.#parts.session.send({ path: query === '' ? path : `${path}?${query}`, method: 'GET', timeoutMs: TIMEOUT_MS }, signal);
  }
}

const pathOf = (...parts: readonly [collection: string, row: string, file: string]) => parts.map(encodeURIComponent).join('/');
