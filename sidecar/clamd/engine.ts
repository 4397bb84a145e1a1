/** One clamd daemon: what it proved last, and scans through it. */
import { ScanError } from '../scan/errors.ts';
import type { Answer, Engine } from '../scan/model.ts';
import type { Clock, ScanInput } from '../scan/ports.ts';
import type { NamedEndpoint } from './addresses.ts';
import { type Canary, checkCanaries, checkSizeLimits, unpacksRar } from './canary.ts';
import { acceptsStreamOf, ask } from './command.ts';
import { createLook, type Look } from './formats/look.ts';
import { instream, type Patience } from './instream.ts';
import { type EngineVersion, parseReply, parseVersion } from './protocol.ts';

export interface EngineRules extends Patience {
  readonly maxBytes: number;
  readonly maxSignatureAgeMs: number;
  readonly allowTestSignatures: boolean;
  readonly canaryIntervalMs: number;
  readonly canaries: readonly Canary[];
}

/** A probe is a handful of tiny questions; an engine that needs longer for one of them is not fit for work. */
const probeMs = 5_000;
const probePatience: Patience = { stallMs: probeMs, timeoutMs: probeMs };

export class ClamdEngine {
  readonly endpoint: NamedEndpoint;
  readonly #rules: EngineRules;
  readonly #clock: Clock;
  #proved: { readonly version: EngineVersion; readonly unpacksRar: boolean; readonly at: number } | null = null;
  #known: EngineVersion | null = null;
  #why: string | null = 'not asked yet';
  #doubts = 0;
  inFlight = 0;

  constructor(endpoint: NamedEndpoint, rules: EngineRules, clock: Clock) {
    this.endpoint = endpoint;
    this.#rules = rules;
    this.#clock = clock;
  }

  get ready(): boolean {
    return this.#proved !== null;
  }

  /** Why it takes no work, for people; null when it does. */
  get why(): string | null {
    return this.#why;
  }

  /** As it answered VERSION last, whether or not it is ready. */
  get engine(): Engine | null {
    return this.#known === null ? null : { name: this.endpoint.name, ...this.#known };
  }

  get signatureAgeSeconds(): number | null {
    return this.#known?.signaturesAt == null ? null : ageMs(this.#known.signaturesAt) / 1000;
  }

  /** Asks for its version, and for its canaries where they are due or the version changed. Never throws but on abort. */
  async probe(signal: AbortSignal): Promise<void> {
    const doubts = this.#doubts;
    try {
      const version = parseVersion(await ask(this.endpoint, 'VERSION', probeMs, signal));
      this.#known = version;
      this.#checkSignatures(version);
      if (!this.#isDue(version)) return;
      const rar = await this.#prove(version, signal);
      if (doubts !== this.#doubts) return;
      this.#proved = { version, unpacksRar: rar, at: this.#clock.now() };
      this.#why = null;
    } catch (thrown) {
      signal.throwIfAborted();
      this.#retire(ScanError.from(thrown).message);
    }
  }

  #isDue(version: EngineVersion): boolean {
    const last = this.#proved;
    return last === null || !sameVersion(last.version, version) || this.#clock.now() - last.at >= this.#rules.canaryIntervalMs;
  }

  #checkSignatures(version: EngineVersion): void {
    const { allowTestSignatures, maxSignatureAgeMs } = this.#rules;
    if (version.signaturesAt === null) {
      if (allowTestSignatures) return;
      throw new ScanError(
        'engine-unavailable',
        'it has no official signatures: run freshclam, or set ALLOW_TEST_SIGNATURES=true for a trial',
      );
    }
    const age = ageMs(version.signaturesAt);
    if (age > maxSignatureAgeMs)
      throw new ScanError('engine-unavailable', `its signatures are ${Math.floor(age / 3_600_000)} hours old: run freshclam`);
  }

  async #prove(version: EngineVersion, signal: AbortSignal): Promise<boolean> {
    const question = (payload: Buffer) => instream(this.endpoint, inputOf(payload), probePatience, signal);
    await checkCanaries(question, this.#rules.canaries);
    // Settings change only with a restart, which shows as an engine that was lost, or as another version.
    if (this.#proved !== null && sameVersion(this.#proved.version, version)) return this.#proved.unpacksRar;
    if (!(await acceptsStreamOf(this.endpoint, this.#rules.maxBytes, probeMs, signal))) {
      throw new ScanError('engine-unavailable', `it takes no streams of ${this.#rules.maxBytes} bytes: raise StreamMaxLength`);
    }
    await checkSizeLimits(question);
    return unpacksRar(question);
  }

  /**
   * @throws ScanError; after any that blames the engine it takes no work until it has proved itself again. What an engine calls
   * clean counts only if nothing has put it in doubt meanwhile.
   */
  async scan(input: ScanInput, signal: AbortSignal): Promise<{ answer: Answer; engine: Engine }> {
    const proved = this.#proved;
    if (proved === null) throw new ScanError('engine-unavailable', this.#why ?? 'not ready');
    const look = createLook(input.size, proved);
    const answer = await this.#ask(input, look, signal);
    if (answer.kind === 'clean' && this.#proved === null)
      throw new ScanError('engine-unavailable', `it was put in doubt during the scan: ${this.#why}`);
    return { answer: answer.kind === 'clean' ? qualify(look) : answer, engine: { name: this.endpoint.name, ...proved.version } };
  }

  async #ask(input: ScanInput, look: Look, signal: AbortSignal): Promise<Answer> {
    this.inFlight += 1;
    try {
      return parseReply(await instream(this.endpoint, input, { ...this.#rules, seen: (chunk) => look.push(chunk) }, signal));
    } catch (thrown) {
      if (blamesEngine(thrown) && !signal.aborted) this.#doubt(thrown);
      throw thrown;
    } finally {
      this.inFlight -= 1;
    }
  }

  /** A probe under way when the error came proves nothing: it may have asked before. */
  #doubt(error: ScanError): void {
    this.#doubts += 1;
    this.#retire(error.message);
  }

  #retire(why: string): void {
    this.#proved = null;
    this.#why = why;
  }
}

function qualify(look: Look): Answer {
  const reason = look.end();
  return reason === null ? { kind: 'clean' } : { kind: 'unscannable', reason };
}

function blamesEngine(thrown: unknown): thrown is ScanError {
  return thrown instanceof ScanError && (thrown.code === 'engine-reply' || thrown.code === 'engine-unavailable');
}

function inputOf(payload: Buffer): ScanInput {
  return {
    size: payload.length,
    bytes: (async function* () {
      yield payload;
    })(),
  };
}

function sameVersion(a: EngineVersion, b: EngineVersion): boolean {
  return a.version === b.version && a.signatures === b.signatures && a.signaturesAt === b.signaturesAt;
}

/** By the calendar, not by our clock: signatures carry a date. */
function ageMs(date: string): number {
  return Math.max(0, Date.now() - Date.parse(date));
}
