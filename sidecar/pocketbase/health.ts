import { z } from 'zod';
import { type HealthAnswer, HOOKS_VERSION } from '../../pb_hooks/lib/wire.ts';
import { ScanError } from '../scan/errors.ts';
import type { Clock } from '../scan/ports.ts';
import type { Session } from './session.ts';

export type StoreHealth = Pick<
  HealthAnswer,
  'hooksVersion' | 'gate' | 'problems' | 'counts' | 'reasons' | 'oldestPendingSeconds' | 'wouldRefuse' | 'foundLater'
>;

export interface HealthMonitorOptions {
  readonly session: Pick<Session, 'send'>;
  readonly clock: Clock;
  readonly everyMs?: number;
  /** Told whenever the answer to `why` changes. */
  readonly onChange?: (why: string | null) => void;
  /** Told of the first answer, and whenever the mode of the gate or the problems change. */
  readonly onGate?: (health: StoreHealth) => void;
}

const EVERY_MS = 10_000;
/** Until the first good answer: a start should not look slow. */
const FIRST_MS = 1000;
const TIMEOUT_MS = 5000;

const counts = z.object({ pending: z.number(), scanning: z.number(), clean: z.number(), infected: z.number(), error: z.number() });
const healthAnswer: z.ZodType<StoreHealth> = z.object({
  hooksVersion: z.string(),
  gate: z.enum(['enforce', 'monitor', 'off']),
  problems: z.array(z.string()),
  counts,
  reasons: z.record(z.string(), z.number()),
  oldestPendingSeconds: z.number(),
  wouldRefuse: z.object({
    total: z.number(),
    byCode: z.record(z.string(), z.number()),
    byReason: z.record(z.string(), z.number()),
    policy: z.string(),
  }),
  foundLater: z.number(),
});

/** Asks our hooks from time to time how they are; whoever wants to know reads the last answer. */
export class HealthMonitor {
  readonly #options: HealthMonitorOptions;
  #last: StoreHealth | null = null;
  #why: string | null = 'the hooks have not been asked yet';

  constructor(options: HealthMonitorOptions) {
    this.#options = options;
  }

  /** Of the last answer; null while there is none. */
  get last(): StoreHealth | null {
    return this.#last;
  }

  /** null while the hooks are there and of our version. */
  get why(): string | null {
    return this.#why;
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, everyMs = EVERY_MS } = this.#options;
    while (!signal.aborted) {
      await this.ask(signal);
      await clock.sleep(this.#why === null ? everyMs : Math.min(FIRST_MS, everyMs), signal).catch(() => {});
    }
  }

  /** Never rejects: what went wrong is the new `why`. */
  async ask(signal: AbortSignal): Promise<void> {
    try {
      const answer = await this.#options.session.send({ path: '/api/av/health', method: 'GET', timeoutMs: TIMEOUT_MS }, signal);
      const parsed = healthAnswer.safeParse(answer);
      if (!parsed.success) throw new ScanError('store-unavailable', 'what answered /api/av/health is not our hooks');
      this.#note(parsed.data);
      this.#change(versionProblem(parsed.data.hooksVersion));
    } catch (thrown) {
      if (signal.aborted) return;
      this.#last = null;
      this.#change(ScanError.from(thrown).message);
    }
  }

  #note(health: StoreHealth): void {
    const before = this.#last;
    this.#last = health;
    const isSame = before?.gate === health.gate && before.problems.join('\n') === health.problems.join('\n');
    if (!isSame) this.#options.onGate?.(health);
  }

  #change(why: string | null): void {
    if (this.#why === why) return;
    this.#why = why;
    this.#options.onChange?.(why);
  }
}

function versionProblem(version: string): string | null {
  if (version === HOOKS_VERSION) return null;
  return `the hooks in PocketBase are version ${version} and this sidecar speaks ${HOOKS_VERSION}: deploy both from the same release`;
}
