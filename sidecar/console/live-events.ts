/** `GET /events`: tells browsers what has changed. They fetch the page itself anew. */
import type { Hono } from 'hono';
import type { ConsoleEnv, LiveSource } from './console-env.ts';

export interface LiveOptions {
  readonly everyMs?: number;
  /** A stream ends after this long, and the browser that comes back must still be logged in. */
  readonly lifeMs?: number;
  readonly maxViewers?: number;
}

const ALIVE_MS = 10_000;
const FORBIDDEN_BACKLOG = 200;
/** A page may be older than the stream it opens, by as long as it takes to load. */
const PAGE_AGE_MS = 5000;
const encoder = new TextEncoder();

interface Viewer {
  send(text: string): void;
  end(): void;
}

/** One loop asks every source, whatever the number of viewers, and none while nobody looks. */
export class LiveEvents {
  readonly #sources: readonly LiveSource[];
  readonly #everyMs: number;
  readonly #lifeMs: number;
  readonly #maxViewers: number;
  readonly #viewers = new Set<Viewer>();
  readonly #known = new Map<string, { readonly value: string; readonly since: number }>();
  readonly #asking = new Set<LiveSource>();
  #timer: NodeJS.Timeout | null = null;
  #aliveAt = 0;
  #isStopped = false;

  constructor(sources: readonly LiveSource[], { everyMs = 1000, lifeMs = 5 * 60_000, maxViewers = 500 }: LiveOptions = {}) {
    this.#sources = sources;
    this.#everyMs = everyMs;
    this.#lifeMs = lifeMs;
    this.#maxViewers = maxViewers;
  }

  get viewers(): number {
    return this.#viewers.size;
  }

  addTo(app: Hono<ConsoleEnv>): void {
    app.get('/events', (c) => {
      if (this.#isStopped || this.#viewers.size >= this.#maxViewers)
        return c.text('Too many viewers. This page asks every five seconds instead.', 503);
      // Nobody reads the body of a HEAD, and nobody would end it.
      if (c.req.method === 'HEAD') return c.body(null);
      c.header('Content-Type', 'text/event-stream; charset=utf-8');
      c.header('Cache-Control', 'no-store, no-transform');
      // The connection ends with its stream; kept alive, it would hold up a stop.
      c.header('Connection', 'close');
      // nginx would hold events back until its buffer is full.
      c.header('X-Accel-Buffering', 'no');
      return c.body(this.#stream());
    });
  }

  /** Ends every stream. Idempotent. */
  stop(): void {
    this.#isStopped = true;
    for (const viewer of [...this.#viewers]) viewer.end();
  }

  #stream(): ReadableStream<Uint8Array> {
    let viewer: Viewer;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        const late = setTimeout(() => viewer.end(), this.#lifeMs);
        viewer = {
          send(text) {
            // Who does not read for minutes comes back by itself.
            if ((controller.desiredSize ?? 0) < -FORBIDDEN_BACKLOG) return viewer.end();
            controller.enqueue(encoder.encode(text));
          },
          end: () => {
            clearTimeout(late);
            if (this.#left(viewer)) controller.close();
          },
        };
        this.#viewers.add(viewer);
        viewer.send('retry: 2000\nevent: alive\ndata: \n\n');
        const old = performance.now() - PAGE_AGE_MS;
        for (const [topic, { since }] of this.#known) if (since > old) viewer.send(changed(topic));
        this.#timer ??= setInterval(() => this.#ask(), this.#everyMs);
      },
      cancel: () => {
        this.#left(viewer);
      },
    });
  }

  #left(viewer: Viewer): boolean {
    const wasThere = this.#viewers.delete(viewer);
    if (this.#viewers.size === 0 && this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
      this.#known.clear();
    }
    return wasThere;
  }

  #ask(): void {
    const now = performance.now();
    if (now - this.#aliveAt >= ALIVE_MS) {
      this.#aliveAt = now;
      this.#tell('event: alive\ndata: \n\n');
    }
    for (const source of this.#sources) void this.#askOne(source);
  }

  /** A source that hangs holds nobody up but itself. */
  async #askOne(source: LiveSource): Promise<void> {
    if (this.#asking.has(source)) return;
    this.#asking.add(source);
    const now = await source.fingerprint().catch(() => 'unavailable');
    this.#asking.delete(source);
    if (this.#known.get(source.topic)?.value === now) return;
    // The first answer is told too: what changed before it, nobody can know.
    this.#known.set(source.topic, { value: now, since: performance.now() });
    this.#tell(changed(source.topic));
  }

  #tell(text: string): void {
    for (const viewer of [...this.#viewers]) viewer.send(text);
  }
}

function changed(topic: string): string {
  return `event: changed\ndata: ${topic}\n\n`;
}
