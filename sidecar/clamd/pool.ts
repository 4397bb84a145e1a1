/** All engines as one Scanner: the least busy one that has proved itself gets the next file. */
import { ScanError } from '../scan/errors.ts';
import type { EngineLimits, EngineVersion, Lie } from '../scan/model.ts';
import type { Clock, ScanInput, Scanned, Scanner } from '../scan/ports.ts';
import { type NamedEndpoint, resolveAddress, splitAddress } from './addresses.ts';
import { mostJudgedBytes, wholeBytes } from './calibration.ts';
import type { Fault } from './canary.ts';
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
  readonly onEvent?: (event: EngineEvent) => void;
  /** Default: by the name service. */
  readonly resolve?: (address: string) => Promise<readonly NamedEndpoint[]>;
}

export type EngineEvent =
  | { readonly kind: 'engine-ready'; readonly name: string; readonly engine: EngineVersion; readonly limits: EngineLimits }
  | { readonly kind: 'engine-down'; readonly name: string; readonly why: string; readonly faults: readonly Fault[] }
  /** A round of canaries with wrong answers, each round anew. */
  | { readonly kind: 'canaries-failed'; readonly name: string; readonly faults: readonly Fault[] }
  /** Right answers have turned into wrong ones, or the first were wrong: once. */
  | { readonly kind: 'engine-lied'; readonly lie: Lie }
  /** The name no longer resolves to it. */
  | { readonly kind: 'engine-gone'; readonly name: string };

export interface EngineState {
  readonly name: string;
  readonly ready: boolean;
  readonly why: string | null;
  /** What it answered wrongly when it was asked last. */
  readonly faults: readonly Fault[];
  /** As it answered VERSION last, whether or not it is ready; null before the first answer. */
  readonly engine: EngineVersion | null;
  /** As measured last; null before. */
  readonly limits: EngineLimits | null;
  /** ISO 8601: when the last round began in which every canary was answered rightly; null where there was none. */
  readonly canaryAt: string | null;
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

/** How soon a new VERSION, or the death of an idle engine, is noticed. */
const versionCheckMs = 5_000;
const shortestRetryMs = 100;
const longestRetryMs = 5_000;

/** @throws Error for an address that is not `host:port`. */
export function createEnginePool(options: EnginePoolOptions, clock: Clock): EnginePool {
  const { canaryIntervalMs = 60_000 } = options;
  return new Pool({ ...options, canaryIntervalMs }, clock);
}

class Pool implements EnginePool {
  readonly maxBytes = mostJudgedBytes;
  readonly #watches: readonly Watch[];
  readonly #waiting = new Set<() => void>();
  readonly #stopping = new AbortController();
  #running: Promise<unknown> | null = null;

  constructor(options: EnginePoolOptions & { readonly canaryIntervalMs: number }, clock: Clock) {
    const rules: EngineRules = options;
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
    return this.#engines().map((engine) => {
      const { endpoint, ready, why, faults, version, limits, canaryAt, inFlight, signatureAgeSeconds } = engine;
      return { name: endpoint.name, ready, why, faults, engine: version, limits, canaryAt, inFlight, signatureAgeSeconds };
    });
  }

  async ready(signal: AbortSignal): Promise<void> {
    while (this.#pick() === null) await this.#nextReady(signal);
    signal.throwIfAborted();
  }

  async scan(input: ScanInput, signal: AbortSignal): Promise<Scanned> {
    signal.throwIfAborted();
    const engine = this.#pick(input.size);
    if (engine === null) throw new ScanError('engine-unavailable', this.#whyNone());
    try {
      return await engine.scan(input, signal);
    } finally {
      if (!engine.ready) this.#watches.find((watch) => watch.engines.includes(engine))?.wake();
    }
  }

  #engines(): readonly ClamdEngine[] {
    return this.#watches.flatMap((watch) => watch.engines);
  }

  /**
   * The least busy one that looks at all of `size` bytes. One that could and is away for a moment is waited for, lest its absence
   * become a verdict; what is too large for every engine any of them may refuse.
   */
  #pick(size = 0): ClamdEngine | null {
    const engines = this.#engines();
    const ready = engines.filter((engine) => engine.ready);
    const fits = ({ limits }: ClamdEngine) => limits !== null && wholeBytes(limits) >= size;
    const able = engines.some(fits) ? ready.filter(fits) : ready;
    return able.reduce<ClamdEngine | null>((a, b) => (a === null || b.inFlight < a.inFlight ? b : a), null);
  }

  #whyNone(): string {
    const engines = this.#engines();
    if (engines.length === 0) return 'no engine answers to its name';
    return engines
      .filter((engine) => !engine.ready)
      .map(({ endpoint, why }) => `${endpoint.name}: ${why}`)
      .join('; ');
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
    this.engines = endpoints.map((endpoint) => before.find((engine) => sameEngine(engine.endpoint, endpoint)) ?? this.#create(endpoint));
    for (const engine of before) {
      if (this.engines.includes(engine)) continue;
      this.#told.delete(engine);
      this.#tools.tell({ kind: 'engine-gone', name: engine.endpoint.name });
    }
  }

  #create(endpoint: NamedEndpoint): ClamdEngine {
    const { rules, clock, tell } = this.#tools;
    const { name } = endpoint;
    return new ClamdEngine(endpoint, rules, clock, {
      faulty: (faults) => tell({ kind: 'canaries-failed', name, faults }),
      lied: (since, reason) => tell({ kind: 'engine-lied', lie: { engine: name, since, reason } }),
    });
  }

  /** Each change once. */
  #report(engine: ClamdEngine): void {
    if (this.#told.has(engine) && this.#told.get(engine) === engine.why) return;
    this.#told.set(engine, engine.why);
    const { name } = engine.endpoint;
    if (engine.why === null) this.#tools.tell({ kind: 'engine-ready', name, engine: engine.version!, limits: engine.limits! });
    else this.#tools.tell({ kind: 'engine-down', name, why: engine.why, faults: engine.faults });
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
