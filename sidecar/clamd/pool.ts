/** All engines as one Scanner: the least busy one that has proved itself gets the next file. */
import { ScanError } from '../scan/errors.ts';
import type { Engine } from '../scan/model.ts';
import type { Clock, Scanner } from '../scan/ports.ts';
import { type NamedEndpoint, resolveAddress, splitAddress } from './addresses.ts';
import { createCanaries } from './canary.ts';
import { ClamdEngine, type EngineRules } from './engine.ts';

export interface EnginePoolOptions {
  /** `host:port`, as configured. */
  readonly addresses: readonly string[];
  /** No progress while sending. */
  readonly stallMs: number;
  /** From the last byte to the reply; a second per 8 MiB is added. */
  readonly timeoutMs: number;
  readonly maxSignatureAgeMs: number;
  readonly allowTestSignatures: boolean;
  /** Default a minute. */
  readonly canaryIntervalMs?: number;
  /** Default: the largest file that the shared clamd.conf lets an engine judge. */
  readonly maxBytes?: number;
  readonly onEvent?: (event: EngineEvent) => void;
  /** Default: by the name service. */
  readonly resolve?: (address: string) => Promise<readonly NamedEndpoint[]>;
}

export type EngineEvent =
  | { readonly kind: 'engine-ready'; readonly name: string; readonly engine: Engine }
  | { readonly kind: 'engine-down'; readonly name: string; readonly why: string }
  /** The name no longer resolves to it. */
  | { readonly kind: 'engine-gone'; readonly name: string };

export interface EngineState {
  readonly name: string;
  readonly ready: boolean;
  readonly why: string | null;
  readonly engine: Engine | null;
  readonly inFlight: number;
  /** Null for a test set, and before the first answer. */
  readonly signatureAgeSeconds: number | null;
}

export interface EnginePool extends Scanner {
  /** Begins to probe; harmless when repeated. */
  start(): void;
  /** Ends probing; scans under way end by their own signals. */
  stop(): Promise<void>;
  state(): readonly EngineState[];
}

/** MaxScanSize of deploy/clamd/clamd.conf. */
const maxJudgedBytes = 2_147_483_644;
/** How soon a new VERSION, or the death of an idle engine, is noticed. */
const versionCheckMs = 5_000;
const shortestRetryMs = 100;
const longestRetryMs = 5_000;

/** @throws Error for an address that is not `host:port`. */
export function createEnginePool(options: EnginePoolOptions, clock: Clock): EnginePool {
  const { canaryIntervalMs = 60_000, maxBytes = maxJudgedBytes } = options;
  return new Pool({ ...options, canaryIntervalMs, maxBytes }, clock);
}

class Pool implements EnginePool {
  readonly maxBytes: number;
  readonly #watches: readonly Watch[];
  readonly #waiting = new Set<() => void>();
  readonly #stopping = new AbortController();
  #running: Promise<unknown> | null = null;

  constructor(options: EnginePoolOptions & { readonly canaryIntervalMs: number; readonly maxBytes: number }, clock: Clock) {
    this.maxBytes = options.maxBytes;
    const rules: EngineRules = { ...options, canaries: createCanaries() };
    const tell = (event: EngineEvent) => {
      options.onEvent?.(event);
      if (event.kind === 'engine-ready') this.#wakeWaiting();
    };
    this.#watches = [...new Set(options.addresses)].map(
      (address) => new Watch(address, { rules, clock, tell, resolve: options.resolve ?? resolveAddress }),
    );
  }

  start(): void {
    this.#running ??= Promise.all(this.#watches.map((watch) => watch.run(this.#stopping.signal)));
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new ScanError('interrupted', 'the engine pool was stopped'));
    await this.#running;
  }

  state(): readonly EngineState[] {
    return this.#engines().map(({ endpoint, ready, why, engine, inFlight, signatureAgeSeconds }) => {
      return { name: endpoint.name, ready, why, engine, inFlight, signatureAgeSeconds };
    });
  }

  async ready(signal: AbortSignal): Promise<void> {
    while (this.#pick() === null) await this.#nextReady(signal);
    signal.throwIfAborted();
  }

  async scan(...[input, signal]: Parameters<Scanner['scan']>): ReturnType<Scanner['scan']> {
    signal.throwIfAborted();
    const engine = this.#pick();
    if (engine === null) throw new ScanError('engine-unavailable', this.#whyNone());
    if (input.size > this.maxBytes) return { answer: { kind: 'unscannable', reason: 'unscannable:too-large' }, engine: engine.engine! };
    try {
      return await engine.scan(input, signal);
    } finally {
      if (!engine.ready) this.#watches.find((watch) => watch.engines.includes(engine))?.wake();
    }
  }

  #engines(): readonly ClamdEngine[] {
    return this.#watches.flatMap((watch) => watch.engines);
  }

  #pick(): ClamdEngine | null {
    let best: ClamdEngine | null = null;
    for (const engine of this.#engines()) {
      if (engine.ready && (best === null || engine.inFlight < best.inFlight)) best = engine;
    }
    return best;
  }

  #whyNone(): string {
    const engines = this.#engines();
    if (engines.length === 0) return 'no engine answers to its name';
    return engines.map(({ endpoint, why }) => `${endpoint.name}: ${why}`).join('; ');
  }

  #nextReady(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const done = () => {
        this.#waiting.delete(done);
        signal.removeEventListener('abort', abort);
        resolve();
      };
      const abort = () => {
        this.#waiting.delete(done);
        reject(signal.reason);
      };
      this.#waiting.add(done);
      signal.addEventListener('abort', abort, { once: true });
    });
  }

  #wakeWaiting(): void {
    for (const done of [...this.#waiting]) done();
  }
}

interface WatchTools {
  readonly rules: EngineRules;
  readonly clock: Clock;
  readonly tell: (event: EngineEvent) => void;
  readonly resolve: (address: string) => Promise<readonly NamedEndpoint[]>;
}

/** One configured address and the engines behind it: resolved and probed again and again, never trusted once. */
class Watch {
  readonly #address: string;
  readonly #tools: WatchTools;
  readonly #told = new Map<ClamdEngine, string | null>();
  #alarm = new AbortController();
  #retryMs = shortestRetryMs;
  engines: readonly ClamdEngine[] = [];

  constructor(address: string, tools: WatchTools) {
    splitAddress(address);
    this.#address = address;
    this.#tools = tools;
  }

  /** An engine lost its place: look again now instead of later. */
  wake(): void {
    for (const engine of this.engines) this.#report(engine);
    this.#alarm.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#round(signal);
        await this.#rest(signal);
      } catch (thrown) {
        if (!signal.aborted) throw thrown;
      }
    }
  }

  async #round(signal: AbortSignal): Promise<void> {
    const endpoints = await this.#tools.resolve(this.#address).catch(() => null);
    // A name server that is away for a moment takes no engine away: each one is probed anyhow.
    if (endpoints !== null) this.#reconcile(endpoints);
    await Promise.all(
      this.engines.map(async (engine) => {
        await engine.probe(signal);
        this.#report(engine);
      }),
    );
  }

  #reconcile(endpoints: readonly NamedEndpoint[]): void {
    const before = this.engines;
    const { rules, clock } = this.#tools;
    this.engines = endpoints.map(
      (endpoint) => before.find((engine) => sameEngine(engine.endpoint, endpoint)) ?? new ClamdEngine(endpoint, rules, clock),
    );
    for (const engine of before) {
      if (this.engines.includes(engine)) continue;
      this.#told.delete(engine);
      this.#tools.tell({ kind: 'engine-gone', name: engine.endpoint.name });
    }
  }

  /** Each change once. */
  #report(engine: ClamdEngine): void {
    if (this.#told.has(engine) && this.#told.get(engine) === engine.why) return;
    this.#told.set(engine, engine.why);
    const { name } = engine.endpoint;
    if (engine.why === null) this.#tools.tell({ kind: 'engine-ready', name, engine: engine.engine! });
    else this.#tools.tell({ kind: 'engine-down', name, why: engine.why });
  }

  async #rest(signal: AbortSignal): Promise<void> {
    const allReady = this.engines.length > 0 && this.engines.every((engine) => engine.ready);
    this.#retryMs = allReady ? shortestRetryMs : Math.min(this.#retryMs * 2, longestRetryMs);
    const ms = allReady ? Math.min(versionCheckMs, this.#tools.rules.canaryIntervalMs) : this.#retryMs;
    const alarm = this.#alarm;
    try {
      await this.#tools.clock.sleep(ms, AbortSignal.any([signal, alarm.signal]));
    } catch (thrown) {
      if (!alarm.signal.aborted || signal.aborted) throw thrown;
      this.#alarm = new AbortController();
    }
  }
}

function sameEngine(a: NamedEndpoint, b: NamedEndpoint): boolean {
  return a.host === b.host && a.port === b.port && a.name === b.name;
}
