/** What the scanner's engines do, as events for webhooks: told when it lasts, once for each time, and again when it is over. */
import { type ScannerAnswer, scannerAnswer } from './checks/scanner-api.ts';
import type { PeerFetch } from './console-env.ts';
import type { WebhookEvent } from './webhooks/event.ts';

export interface EngineWatchParts {
  readonly scanner: PeerFetch;
  readonly maxSignatureAgeMs: number;
  announce(event: WebhookEvent, signal: AbortSignal): Promise<void>;
  /** Engines that were told to be down and not yet up again, with since when in Unix milliseconds; asked once, at the start. */
  downNow(signal: AbortSignal): Promise<ReadonlyMap<string, number>>;
  /** Unix milliseconds. */
  now(): number;
}

/** A restart of clamd for new signatures is no fault. */
const LASTING_MS = 60_000;
/** Warned while the signatures still count. */
const OLD_AFTER = 0.75;
/** Stands for the scanner role itself among the engines. */
const SCANNER = 'scanner';

interface Trouble {
  readonly since: number;
  isTold: boolean;
}

interface Observation {
  readonly type: 'engine.down' | 'signatures.old';
  readonly engine: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** Unix milliseconds; part of the id. Null: since it was first seen. */
  readonly since: number | null;
}

interface Seen {
  readonly troubles: readonly Observation[];
  /** Keys of troubles that are certainly over. What is neither here nor there could not be seen. */
  readonly over: readonly string[];
}

export class EngineWatch {
  readonly #parts: EngineWatchParts;
  #troubles: Map<string, Trouble> | null = null;

  constructor(parts: EngineWatchParts) {
    this.#parts = parts;
  }

  /** Looks once; what could not be told is told the next time. A scanner that does not answer is an engine that is down. */
  async look(signal: AbortSignal): Promise<void> {
    const troubles = await this.#known(signal);
    const { troubles: seen, over } = await this.#observe(signal);
    await this.#tellTroubles(troubles, seen, signal);
    await this.#tellOver(troubles, over, signal);
    const present = new Set(seen.map(keyOf));
    // Nobody knows that it lasted: it was out of sight. What is told stays told until it is seen to be over.
    for (const [key, { isTold }] of troubles) if (!isTold && !present.has(key)) troubles.delete(key);
  }

  async #known(signal: AbortSignal): Promise<Map<string, Trouble>> {
    if (this.#troubles !== null) return this.#troubles;
    const down = await this.#parts.downNow(signal);
    this.#troubles = new Map([...down].map(([engine, since]) => [keyOf({ type: 'engine.down', engine }), { since, isTold: true }]));
    return this.#troubles;
  }

  async #tellTroubles(troubles: Map<string, Trouble>, seen: readonly Observation[], signal: AbortSignal): Promise<void> {
    const { now, announce } = this.#parts;
    const at = now();
    for (const observation of seen) {
      const key = keyOf(observation);
      const trouble = troubles.get(key) ?? { since: at, isTold: false };
      troubles.set(key, trouble);
      if (trouble.isTold || at - trouble.since < LASTING_MS) continue;
      await announce(eventOf(observation, trouble.since, at), signal);
      trouble.isTold = true;
    }
  }

  async #tellOver(troubles: Map<string, Trouble>, over: readonly string[], signal: AbortSignal): Promise<void> {
    const { now, announce } = this.#parts;
    for (const key of over) {
      const trouble = troubles.get(key);
      const [type, engine = ''] = key.split('\n');
      if (trouble?.isTold && type === 'engine.down') {
        const id = `engine-up-${engine}-${trouble.since}`;
        await announce({ id, type: 'engine.up', timestamp: iso(now()), data: { engine } }, signal);
      }
      troubles.delete(key);
    }
  }

  async #observe(signal: AbortSignal): Promise<Seen> {
    try {
      const answer = await this.#parts.scanner('/api/scanner', { signal });
      if (!answer.ok) throw new Error(`it answered ${answer.status}`);
      const { engines } = scannerAnswer.parse(await answer.json());
      return engines.length === 0 ? scannerDown('the scanner knows no engine') : this.#judge(engines);
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      const why = thrown instanceof Error ? thrown.message.slice(0, 200) : 'it does not say why';
      return scannerDown(`the scanner role does not answer: ${why}`);
    }
  }

  #judge(engines: ScannerAnswer['engines']): Seen {
    const { maxSignatureAgeMs, now } = this.#parts;
    const troubles: Observation[] = [];
    const over = [keyOf({ type: 'engine.down', engine: SCANNER })];
    for (const { name: engine, ready, why, signaturesAt } of engines) {
      if (!ready) {
        troubles.push({ type: 'engine.down', engine, data: { engine, why }, since: null });
        continue;
      }
      over.push(keyOf({ type: 'engine.down', engine }));
      const since = signaturesAt === null ? null : Date.parse(signaturesAt);
      const isOld = since !== null && now() - since > maxSignatureAgeMs * OLD_AFTER;
      // Known by the signatures, so that a restart does not warn of the same again.
      if (isOld) troubles.push({ type: 'signatures.old', engine, data: { engine, signaturesAt }, since });
      else over.push(keyOf({ type: 'signatures.old', engine }));
    }
    return { troubles, over };
  }
}

/** Says nothing of any engine, since none can be seen. */
function scannerDown(why: string): Seen {
  return { troubles: [{ type: 'engine.down', engine: SCANNER, data: { engine: SCANNER, why }, since: null }], over: [] };
}

function keyOf({ type, engine }: Pick<Observation, 'type' | 'engine'>): string {
  return `${type}\n${engine}`;
}

function eventOf({ type, engine, data, since }: Observation, firstSeen: number, at: number): WebhookEvent {
  const id = `${type.replace('.', '-')}-${engine}-${since ?? firstSeen}`;
  return { id, type, timestamp: iso(at), data: { ...data, since: iso(firstSeen) } };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
