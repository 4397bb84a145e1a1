/** One clamd daemon: what it proved last, and scans through it. */
import { ScanError } from '../scan/errors.ts';
import type { Answer, Engine, EngineLimits, EngineVersion } from '../scan/model.ts';
import type { Clock, ScanInput, Scanned } from '../scan/ports.ts';
import type { NamedEndpoint } from './addresses.ts';
import { recognized, scanAr } from './ar.ts';
import { limitsHold, measureLimits, measureStream, type Questions, wholeBytes } from './calibration.ts';
import { askCanaries, describeFaults, type Fault, speaksOfLimits, unpacksRar } from './canary.ts';
import { acceptsStreamOf, ask } from './command.ts';
import { both } from './formats/both.ts';
import { createLook, type Look } from './formats/look.ts';
import { AlsoZipBehind } from './formats/zip-behind.ts';
import { instream, type Patience } from './instream.ts';
import { parseReply, parseSignatureBytes, parseVersion } from './protocol.ts';
import { SignatureWatch } from './signature-watch.ts';

export interface EngineRules extends Patience {
  readonly maxSignatureAgeMs: number;
  readonly allowTestSignatures: boolean;
  readonly canaryIntervalMs: number;
}

/** What an engine tells while it is being asked. */
export interface EngineListener {
  /** Each time a round ends with wrong answers. */
  faulty(faults: readonly Fault[]): void;
  /** Once, when right answers have turned into wrong ones, or the first were wrong. */
  lied(since: string | null, reason: string): void;
}

interface Proof {
  readonly version: EngineVersion;
  readonly limits: EngineLimits;
  readonly unpacksRar: boolean;
  readonly at: number;
}

/** A probe is a handful of tiny questions; an engine that needs longer for one of them is not fit for work. */
const probeMs = 5_000;
const probePatience: Patience = { stallMs: probeMs, timeoutMs: probeMs };

export class ClamdEngine {
  readonly endpoint: NamedEndpoint;
  readonly #rules: EngineRules;
  readonly #clock: Clock;
  readonly #listener: EngineListener;
  readonly #signatures = new SignatureWatch();
  #proved: Proof | null = null;
  #known: EngineVersion | null = null;
  /** Outlives a loss of the engine: what it could judge then it can judge again when it is back. */
  #limits: EngineLimits | null = null;
  #why: string | null = 'not asked yet';
  #faults: readonly Fault[] = [];
  #canaryAt: string | null = null;
  #voidSince: string | null = null;
  #hasLied = false;
  #doubts = 0;
  #failures = 0;
  #answers = 0;
  inFlight = 0;

  constructor(endpoint: NamedEndpoint, rules: EngineRules, clock: Clock, listener: EngineListener) {
    this.endpoint = endpoint;
    this.#rules = rules;
    this.#clock = clock;
    this.#listener = listener;
  }

  get ready(): boolean {
    return this.#proved !== null;
  }

  /** Why it takes no work, for people; null when it does. */
  get why(): string | null {
    return this.#why;
  }

  /** What it answered wrongly when it was asked last. */
  get faults(): readonly Fault[] {
    return this.#faults;
  }

  /** As it answered VERSION last, whether or not it is ready. */
  get version(): EngineVersion | null {
    return this.#known;
  }

  /** As measured last, whether or not it is ready. */
  get limits(): EngineLimits | null {
    return this.#limits;
  }

  /** ISO 8601: when the last round began in which every answer was right. */
  get canaryAt(): string | null {
    return this.#canaryAt;
  }

  get signatureAgeSeconds(): number | null {
    return this.#known?.signaturesAt == null ? null : ageMs(this.#known.signaturesAt) / 1000;
  }

  /**
   * Asks for its version, and for its canaries where they are due or the version changed. Never throws but on abort.
   *
   * Between loading other signatures and this question it may have judged with them for a few seconds: those verdicts name the
   * older set, which is what has been proved, and when the new set fails they are void, being younger than the last good round.
   * A VERSION after each scan would tell sooner and cost a second connection per file.
   */
  async probe(signal: AbortSignal): Promise<void> {
    const doubts = this.#doubts;
    try {
      const version = parseVersion(await ask(this.endpoint, 'VERSION', probeMs, signal));
      this.#known = version;
      this.#checkSignatures(version);
      if (!this.#isDue(version)) return;
      if (this.#proved !== null && !sameVersion(this.#proved.version, version)) this.#retire('it has loaded other signatures');
      await this.#prove(version, doubts, signal);
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

  async #prove(version: EngineVersion, doubts: number, signal: AbortSignal): Promise<void> {
    const began = new Date().toISOString();
    const answers = this.#answers;
    const round = await this.#ask(version, signal);
    if (round.faults.length > 0) return this.#fail(round.faults);
    // An error that came meanwhile: it may have been asked before.
    if (doubts !== this.#doubts) return;
    this.#proved = { version, limits: round.limits, unpacksRar: round.rar, at: this.#clock.now() };
    this.#signatures.accept();
    // What was answered during the round carries the one before, and may have come after the question that would tell.
    this.#voidSince = answers === this.#answers ? began : this.#canaryAt;
    this.#canaryAt = began;
    this.#limits = round.limits;
    this.#hasLied = false;
    this.#faults = [];
    this.#why = null;
  }

  /** One round: every answer is heard, so that all that is wrong is known at once. */
  async #ask(version: EngineVersion, signal: AbortSignal) {
    const questions: Questions = {
      ask: async (payload) => (await instream(this.endpoint, inputOf(payload), probePatience, signal)).reply,
      acceptsStream: (bytes) => acceptsStreamOf(this.endpoint, bytes, probeMs, signal),
    };
    const before = this.#proved;
    const stream = before?.limits.stream ?? (await measureStream(questions));
    const faults = [...(await askCanaries(questions.ask))];
    let limits = before?.limits ?? { stream, scan: 0, recursion: 0 };
    if (speaksOfLimits(faults) && !(before !== null && (await limitsHold(questions, limits)))) {
      const measured = await measureLimits(questions, await measureStream(questions));
      faults.push(...measured.faults);
      limits = measured.limits;
    }
    const rar = speaksOfLimits(faults) && (await unpacksRar(questions.ask));
    if (before?.unpacksRar && !rar) faults.push({ canary: 'rar', what: 'it no longer unpacks RAR', settings: [], reply: 'stream: OK\0' });
    const bytes = parseSignatureBytes(await ask(this.endpoint, 'STATS', probeMs, signal));
    faults.push(...this.#signatures.compare(version, bytes));
    return { faults, limits, rar };
  }

  /** A wrong answer, told from no answer: what it said since the last right ones is worth nothing. */
  #fail(faults: readonly Fault[]): void {
    const why = describeFaults(faults);
    this.#retire(why, faults);
    this.#failures += 1;
    this.#listener.faulty(faults);
    if (this.#hasLied) return;
    this.#hasLied = true;
    this.#listener.lied(this.#voidSince, why);
  }

  /**
   * @throws ScanError; after any that blames the engine it takes no work until it has proved itself again. What it did not find
   * counts only if nothing has put it in doubt meanwhile, and only within the limits that it was measured to have: a file may be
   * asked about in several parts, and a policy may open what it calls unscannable.
   */
  async scan(input: ScanInput, signal: AbortSignal): Promise<Scanned> {
    const proved = this.#proved;
    if (proved === null) throw new ScanError('engine-unavailable', this.#why ?? 'not ready');
    // ClamAV looks at no byte of what is larger, so there is no finding to be had by sending it.
    if (input.size > wholeBytes(proved.limits)) return this.#tooLarge(proved);
    const failures = this.#failures;
    this.inFlight += 1;
    try {
      const { answer, sent } = await this.#answer(input, proved, signal);
      if (answer.kind !== 'infected' && (this.#proved === null || failures !== this.#failures))
        throw new ScanError('engine-unavailable', `it was put in doubt during the scan: ${this.#why ?? 'it answered canaries wrongly'}`);
      return { answer, engine: this.#judge(proved), sent };
    } finally {
      this.inFlight -= 1;
    }
  }

  /** Its own refusal is often lost on the way. */
  #tooLarge(proved: Proof): Scanned {
    return { answer: { kind: 'unscannable', reason: 'unscannable:too-large' }, engine: this.#judge(proved), sent: 0 };
  }

  /** As it was when it was asked, with the last round before it answered. */
  #judge({ version, limits }: Proof): Engine {
    this.#answers += 1;
    return { name: this.endpoint.name, ...version, limits, canaryAt: this.#canaryAt! };
  }

  async #answer(input: ScanInput, proved: Proof, signal: AbortSignal): Promise<{ answer: Answer; sent: number }> {
    const { isAr, input: whole } = await recognized(input, this.#rules.stallMs, signal);
    if (!isAr) return await this.#asked(whole, createLook(whole.size, proved), signal);
    let sentWhole = 0;
    const answer = await scanAr(
      whole,
      async (part, of, either) => {
        const { answer: one, sent } = await this.#asked(
          part,
          of === 'whole' ? new AlsoZipBehind(blind, part.size) : createLook(part.size, proved),
          either,
        );
        if (of === 'whole') sentWhole = sent;
        return one;
      },
      signal,
    );
    return { answer, sent: sentWhole };
  }

  async #asked(input: ScanInput, look: Look, signal: AbortSignal): Promise<{ answer: Answer; sent: number }> {
    try {
      const { answer, sent } = await this.#exchange(input, look, signal);
      return { answer: answer.kind === 'infected' ? answer : await qualify(answer, look), sent };
    } finally {
      look.close();
    }
  }

  async #exchange(input: ScanInput, look: Look, signal: AbortSignal): Promise<{ answer: Answer; sent: number }> {
    try {
      const options = { ...this.#rules, seen: (chunk: Uint8Array) => look.push(chunk) };
      const { reply, sent } = await instream(this.endpoint, input, options, signal);
      return { answer: parseReply(reply), sent };
    } catch (thrown) {
      if (blamesEngine(thrown) && !signal.aborted) this.#doubt(thrown);
      throw thrown;
    }
  }

  /** A probe under way when the error came proves nothing: it may have asked before. */
  #doubt(error: ScanError): void {
    this.#doubts += 1;
    this.#retire(error.message);
  }

  #retire(why: string, faults: readonly Fault[] = []): void {
    this.#proved = null;
    this.#why = why;
    this.#faults = faults;
  }
}

/** Of an archive that is asked about member by member: what its own form may hide is a zip alone. */
const blind: Look = { push() {}, end: () => null, close() {} };

async function qualify(answer: Exclude<Answer, { kind: 'infected' }>, look: Look): Promise<Answer> {
  const reason = both(answer.kind === 'unscannable' ? answer.reason : null, await look.end());
  return reason === null ? { kind: 'clean' } : { kind: 'unscannable', reason };
}

function blamesEngine(thrown: unknown): thrown is ScanError {
  return thrown instanceof ScanError && ['engine-reply', 'engine-busy', 'engine-unavailable'].includes(thrown.code);
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
