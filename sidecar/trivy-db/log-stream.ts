/** The log as server-sent events, from build to build. A viewer costs one batch of lines, however slowly it reads. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from 'hono';
import type { z } from 'zod';
import type { ServerEnv } from '../roles/role.ts';
import { EVENT_ID, MAX_LINES, type streamEvents } from './api.ts';
import { LatestLogWatch } from './latest-log.ts';
import type { Builder, BuildLogReader, BuildLogs, LogLine } from './model.ts';

export interface LogStreamOptions {
  readonly heartbeatMs: number;
  /** A viewer that takes nothing for so long is let go. */
  readonly stallMs: number;
  /** How often is looked for the next build. */
  readonly pollMs: number;
  /** Operators have as many for themselves: whoever reaches the port can keep out only others like them. */
  readonly maxViewers: number;
  /** Of whom nobody knows. */
  readonly maxPerAddress: number;
}

const defaults: LogStreamOptions = { heartbeatMs: 15_000, stallMs: 60_000, pollMs: 1_000, maxViewers: 200, maxPerAddress: 10 };

export interface ViewerRequest {
  /** This build alone; null for the newest and whatever is built next. */
  readonly build: string | null;
  /** `<build>:<line>` of the last event seen; it begins after that one. */
  readonly after: string | null;
  /** How many of the lines before now a new viewer gets. */
  readonly tail: number;
  /** The address that it counts for; null for operators. */
  readonly from: string | null;
}

type Event = {
  [Name in keyof typeof streamEvents]: readonly [name: Name, id: string, data: z.infer<(typeof streamEvents)[Name]>];
}[keyof typeof streamEvents];

interface Start {
  readonly id: string;
  readonly reader: BuildLogReader;
  readonly after: number;
}

const BATCH_CHARACTERS = 32 * 1024;
/** By which a batch may grow too long. */
const PIECE_CHARACTERS = 8 * 1024;
/** Less than one reading of the file gives: there was no more. */
const LIVE_CHARACTERS = 4 * 1024;
const GATHER_MS = 100;
const HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  'Cache-Control': 'no-store',
  'X-Accel-Buffering': 'no',
  // A stream that ends leaves no idle connection behind, for which a stopping server would wait.
  Connection: 'close',
};

export class LogStream {
  readonly #builder: Builder;
  readonly #logs: BuildLogs;
  readonly #latest: LatestLogWatch;
  readonly #options: LogStreamOptions;
  readonly #stopping: AbortSignal;
  readonly #open = new Set<AbortController>();
  readonly #viewers = new Viewers();

  /** `stopping` ends every stream, so that a server can close. */
  constructor(builder: Builder, logs: BuildLogs, stopping: AbortSignal, options: Partial<LogStreamOptions> = {}) {
    this.#builder = builder;
    this.#logs = logs;
    this.#options = { ...defaults, ...options };
    this.#latest = new LatestLogWatch(logs, this.#options.pollMs);
    this.#stopping = stopping;
    stopping.addEventListener('abort', () => {
      for (const viewer of this.#open) viewer.abort();
    });
  }

  /**
   * 204 tells an EventSource not to come back: the build that it asked for is over, and it has seen all of it. 404 where that build has
   * no log, 503 with too many viewers.
   */
  async open(c: Context<ServerEnv>, request: ViewerRequest): Promise<Response> {
    if (c.req.method === 'HEAD') return c.body(null, 200, HEADERS);
    const { from } = request;
    if (this.#stopping.aborted || !this.#viewers.mayCome(from, this.#options))
      return c.json({ error: 'too many follow the log already: read it with GET /api/logs, or try again in a minute' }, 503);
    this.#viewers.come(from);
    try {
      const start = request.build === null ? await this.#startAnywhere(request) : await this.#startOf(request.build, request);
      if (start === null && request.build !== null) {
        this.#viewers.go(from);
        return c.json({ error: `the log of build ${request.build} is not kept: GET /api/builds tells which are` }, 404);
      }
      if (request.build !== null && request.after !== null && (await this.#isAllSeen(start!))) {
        this.#viewers.go(from);
        return c.body(null, 204);
      }
      return new Response(this.#stream(c, start, request), { headers: HEADERS });
    } catch (thrown) {
      this.#viewers.go(from);
      throw thrown;
    }
  }

  async #isAllSeen({ id, after, reader }: Start): Promise<boolean> {
    const record = await this.#builder.build(id);
    return record !== null && record.outcome !== null && after >= (await reader.total());
  }

  /** Where the viewer left off, if that log is still there; else at the newest. */
  async #startAnywhere(request: ViewerRequest): Promise<Start | null> {
    const seen = EVENT_ID.exec(request.after ?? '')?.[1];
    const resumed = seen === undefined ? null : await this.#startOf(seen, request);
    if (resumed !== null) return resumed;
    const latest = await this.#logs.latest();
    if (latest === null) return null;
    return { id: latest.buildId, reader: latest, after: Math.max(0, (await latest.total()) - request.tail) };
  }

  async #startOf(id: string, { after, tail }: ViewerRequest): Promise<Start | null> {
    const reader = await this.#logs.of(id);
    if (reader === null) return null;
    const total = await reader.total();
    const seen = EVENT_ID.exec(after ?? '');
    return { id, reader, after: seen?.[1] === id ? Math.min(Number(seen[2]), total) : Math.max(0, total - tail) };
  }

  /** As text, some of them at a time: each step of a generator is garbage, and a log has a million lines. */
  async *#events(first: Start | null, goesOn: boolean, signal: AbortSignal): AsyncGenerator<string, void> {
    let start = first ?? (await this.#next(null, signal));
    while (start !== null && !signal.aborted) {
      const { id, after } = start;
      yield format(['build', `${id}:${after}`, { id, after }]);
      let last = after;
      for await (const lines of this.#lines(start, signal)) {
        last = lines.at(-1)!.number;
        yield* formatLines(id, lines);
      }
      if (signal.aborted) return;
      const record = await this.#builder.build(id);
      yield format(['end', `${id}:${last}`, { id, outcome: record?.outcome ?? null }]);
      start = goesOn ? await this.#next(id, signal) : null;
    }
  }

  /** To the end of the log, also of one that nobody ended because its writer was killed. */
  async *#lines({ id, reader, after }: Start, signal: AbortSignal): AsyncGenerator<readonly LogLine[], void> {
    const done = new AbortController();
    const either = AbortSignal.any([signal, done.signal]);
    let last = after;
    let total = Number.POSITIVE_INFINITY;
    this.#totalOnceOver(id, reader, either).then(
      (known) => {
        total = known;
        if (last >= total) done.abort();
      },
      // Then the log alone tells when it ends.
      () => {},
    );
    try {
      for await (const lines of reader.follow(after, either)) {
        last = lines.at(-1)!.number;
        yield lines;
        if (last >= total) return;
      }
    } finally {
      done.abort();
    }
  }

  /** A build is over when its record says so, and at the latest when another one has begun. */
  async #totalOnceOver(id: string, reader: BuildLogReader, signal: AbortSignal): Promise<number> {
    const record = await this.#builder.build(id);
    if ((record?.outcome ?? null) === null) await this.#latest.other(id, signal);
    // Its last lines may be written after its outcome.
    await sleep(this.#options.pollMs, undefined, { signal, ref: false });
    return reader.total();
  }

  async #next(known: string | null, signal: AbortSignal): Promise<Start | null> {
    const log = await this.#latest.other(known, signal);
    return log && { id: log.buildId, reader: log, after: Math.max(0, (await log.total()) - MAX_LINES) };
  }

  #stream(c: Context<ServerEnv>, start: Start | null, { build, from }: ViewerRequest): ReadableStream<Uint8Array> {
    const { heartbeatMs, stallMs } = this.#options;
    const outgoing = c.env?.outgoing;
    const left = new AbortController();
    const events = this.#events(start, build === null, left.signal);
    this.#open.add(left);
    if (this.#stopping.aborted) left.abort();
    const finish = () => {
      if (!this.#open.delete(left)) return;
      left.abort();
      // Where it stands at a yield no signal reaches it.
      events.return().catch(() => {});
      clearTimeout(stall);
      this.#viewers.go(from);
    };
    const stall = setTimeout(() => {
      finish();
      outgoing?.destroy();
    }, stallMs);
    outgoing?.once('close', finish);
    const batches = batchesOf(events, heartbeatMs);
    let isFirst = true;
    return new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          stall.refresh();
          try {
            const { done, value } = isFirst ? { done: false, value: 'retry: 2000\n\n' } : await batches.next();
            isFirst = false;
            if (!done) return controller.enqueue(Buffer.from(value));
            controller.close();
            finish();
          } catch (thrown) {
            finish();
            // The viewer comes back by itself, and is then told what is wrong.
            if (outgoing === undefined) controller.error(thrown);
            else outgoing.destroy();
          }
        },
        cancel: finish,
      },
      { highWaterMark: 0 },
    );
  }
}

/** How many there are, by the address that they count for; null is that of all operators. */
class Viewers {
  readonly #by = new Map<string | null, number>();
  #anonymous = 0;

  mayCome(from: string | null, { maxViewers, maxPerAddress }: LogStreamOptions): boolean {
    const here = this.#by.get(from) ?? 0;
    return from === null ? here < maxViewers : here < maxPerAddress && this.#anonymous < maxViewers;
  }

  come(from: string | null): void {
    this.#count(from, 1);
  }

  go(from: string | null): void {
    this.#count(from, -1);
  }

  #count(from: string | null, change: number): void {
    const here = (this.#by.get(from) ?? 0) + change;
    if (here === 0) this.#by.delete(from);
    else this.#by.set(from, here);
    if (from !== null) this.#anonymous += change;
  }
}

/**
 * What is ready is sent together; where nothing is for a while, a comment keeps the connection from looking dead. Who has seen all there
 * was gets new lines ten times a second, and not at each of the fifty times that they are written: each costs a look at the file.
 */
async function* batchesOf(events: AsyncGenerator<string, void>, heartbeatMs: number): AsyncGenerator<string, void> {
  let next: Promise<IteratorResult<string, void>> | null = null;
  for (let isLive = false; ; ) {
    let batch = '';
    let turn: Promise<null> | null = null;
    while (batch.length < BATCH_CHARACTERS) {
      next ??= events.next();
      const result: IteratorResult<string, void> | null = await (turn === null ? orAfter(next, heartbeatMs) : Promise.race([next, turn]));
      if (result === null) break;
      if (turn === null && isLive) await sleep(GATHER_MS, undefined, { ref: false });
      next = null;
      if (result.done) {
        if (batch !== '') yield batch;
        return;
      }
      batch += result.value;
      turn ??= nextTurn();
    }
    isLive = batch.length < LIVE_CHARACTERS;
    yield batch === '' ? ':\n\n' : batch;
  }
}

async function orAfter<T>(wanted: Promise<T>, ms: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, ms, null).unref();
  });
  try {
    return await Promise.race([wanted, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What is ready comes before it, however much that is; what waits for a file or a timer does not. */
function nextTurn(): Promise<null> {
  return new Promise((resolve) => setImmediate(resolve, null));
}

function* formatLines(build: string, lines: readonly LogLine[]): Generator<string, void> {
  let piece = '';
  for (const { number, text, cutBytes } of lines) {
    piece += format(['line', `${build}:${number}`, { build, number, text, cutBytes }]);
    if (piece.length < PIECE_CHARACTERS) continue;
    yield piece;
    piece = '';
  }
  if (piece !== '') yield piece;
}

/** JSON has no line break, so that no line of a log can pass for another field or event. */
function format([name, id, data]: Event): string {
  return `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}
