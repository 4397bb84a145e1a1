/** What the console does without being asked: delivers webhooks, watches the engines, and proves that the history is whole. */
import { randomInt } from 'node:crypto';
import type { ConsoleConfig } from '../../config.ts';
import type { HealthMonitor } from '../../pocketbase/health.ts';
import type { Session } from '../../pocketbase/session.ts';
import type { Clock } from '../../scan/ports.ts';
import type { WatchEvents } from '../../telemetry/webhook-events.ts';
import type { Attention, PeerFetch } from '../console-env.ts';
import { EngineWatch } from '../engine-watch.ts';
import type { GateProbe } from '../gate-probe.ts';
import { HistoryAnchor } from '../history-anchor.ts';
import { Deliverer } from './deliverer.ts';
import { endpointOf } from './endpoint.ts';
import type { WebhookEvent } from './event.ts';
import { GateWatch } from './gate-watch.ts';
import type { Outbox } from './outbox.ts';
import { rounds } from './rounds.ts';
import { createSender } from './send.ts';
import { enginesToldDown, gateTold } from './told.ts';

export interface WatchParts {
  readonly config: ConsoleConfig;
  readonly session: Pick<Session, 'send'>;
  readonly outbox: Outbox;
  readonly scanner: PeerFetch | null;
  readonly clock: Clock;
  readonly health: Pick<HealthMonitor, 'last'>;
  readonly probe: GateProbe;
  events(): WatchEvents;
}

const SEND_TIMEOUT_MS = 10_000;
const LOOK_EVERY_MS = 10_000;
const PROBE_EVERY_MS = 60_000;
const VERIFY_EVERY_MS = 60_000;

export class Watch {
  readonly #parts: WatchParts;
  readonly #anchor: HistoryAnchor;
  readonly #deliverer: Deliverer | null;
  readonly #engines: EngineWatch | null = null;
  readonly #gate: GateWatch | null = null;
  #brokenAt: number | null = null;
  #isBrokenTold = false;
  #openTold: number | null = null;
  #troubled = { failing: 0, givenUp: 0 };

  constructor(parts: WatchParts) {
    const { config, session, outbox, scanner, health } = parts;
    this.#parts = parts;
    this.#anchor = new HistoryAnchor({ session, folder: config.dataDir });
    const deliverer = delivererOf(parts);
    this.#deliverer = deliverer;
    if (deliverer === null) return;
    const announce = (event: WebhookEvent, signal: AbortSignal) => deliverer.announce(event, signal);
    const maxSignatureAgeMs = config.maxSignatureAgeHours * 3_600_000;
    if (scanner !== null) {
      const downNow = (signal: AbortSignal) => enginesToldDown(outbox, signal);
      this.#engines = new EngineWatch({ scanner, maxSignatureAgeMs, announce, downNow, now: Date.now });
    }
    const told = (signal: AbortSignal) => gateTold(outbox, signal);
    this.#gate = new GateWatch({ gate: () => health.last?.gate ?? null, told, announce, now: Date.now });
  }

  get historyBroken(): string | null {
    return this.#anchor.broken?.why ?? null;
  }

  get troubled(): { readonly failing: number; readonly givenUp: number } {
    return this.#troubled;
  }

  /** Runs until `signal` aborts; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const told = { clock: this.#parts.clock, failed: (why: string) => this.#parts.events().callFailed(why) };
    await Promise.all([
      this.#deliverer?.run(signal),
      rounds(LOOK_EVERY_MS, told, signal, async () => void (await this.#engines?.look(signal))),
      rounds(LOOK_EVERY_MS, told, signal, async () => void (await this.#gate?.look(signal))),
      rounds(LOOK_EVERY_MS, told, signal, async () => {
        if (this.#deliverer !== null) this.#troubled = await this.#parts.outbox.troubled(signal);
      }),
      rounds(VERIFY_EVERY_MS, told, signal, () => this.#verify(signal)),
      rounds(PROBE_EVERY_MS, told, signal, () => this.#rattle(signal)),
    ]);
  }

  attention(): Attention[] {
    const { failing, givenUp } = this.#troubled;
    const broken = this.historyBroken;
    const { open } = this.#parts.probe;
    const all: (Attention | null)[] = [
      open === null
        ? null
        : {
            weight: 100,
            tone: 'bad',
            what: `The gate stands open: ${open.url} hands out a file of build ${open.build}, which is closed.`,
            next: 'Look at the hooks of PocketBase, at AV_GATE, and at caches in front of it.',
            href: '/checks',
          },
      broken === null
        ? null
        : {
            weight: 90,
            tone: 'bad',
            what: `The scan history is broken: ${broken}.`,
            next: 'Compare it with a backup before you trust a verdict or a release in it.',
            href: null,
          },
      givenUp === 0
        ? null
        : {
            weight: 45,
            tone: 'warn',
            what: `${givenUp} webhook ${givenUp === 1 ? 'delivery was' : 'deliveries were'} given up.`,
            next: 'Look at the receiver, then send them again.',
            href: '/deliveries',
          },
      failing === 0
        ? null
        : {
            weight: 40,
            tone: 'warn',
            what: `${failing} webhook ${failing === 1 ? 'delivery has' : 'deliveries have'} failed so far.`,
            next: 'They are tried again for 24 hours.',
            href: '/deliveries',
          },
    ];
    return all.filter((each) => each !== null);
  }

  async #verify(signal: AbortSignal): Promise<void> {
    await this.#anchor.check(signal);
    const { broken } = this.#anchor;
    if (broken === null) return;
    if (this.#brokenAt === null) this.#parts.events().historyBroken(broken.why);
    this.#brokenAt ??= Date.now();
    if (this.#isBrokenTold || this.#deliverer === null) return;
    const timestamp = new Date(this.#brokenAt).toISOString();
    // Known by the entry, so that neither a second attempt nor a restart tells it twice.
    const id = `history-broken-${broken.seq}`;
    await this.#deliverer.announce({ id, type: 'history.broken', timestamp, data: { why: broken.why } }, signal);
    this.#isBrokenTold = true;
  }

  /** Told once for each time it stands open. */
  async #rattle(signal: AbortSignal): Promise<void> {
    const { probe, events } = this.#parts;
    await probe.look(signal);
    const { open } = probe;
    if (open === null || open.since === this.#openTold) return;
    events().gateOpen(open);
    const { build, file, url, since } = open;
    const data = { build, file, url };
    await this.#deliverer?.announce(
      { id: `gate-probe-${since}`, type: 'gate.open_by_probe', timestamp: new Date(since).toISOString(), data },
      signal,
    );
    this.#openTold = since;
  }
}

/** Null where nobody is to be told. */
function delivererOf({ config, outbox, clock, events }: WatchParts): Deliverer | null {
  const { urls, secret, privateHosts } = config.webhooks;
  if (urls.length === 0 || secret === null) return null;
  return new Deliverer({
    outbox,
    endpoints: urls.map(endpointOf),
    send: createSender({
      secret,
      allowed: new Set(privateHosts.map((host) => host.toLowerCase())),
      timeoutMs: SEND_TIMEOUT_MS,
      now: () => Math.floor(Date.now() / 1000),
    }),
    clock,
    events: {
      delivered: (delivery) => events().delivered(delivery),
      failed: (delivery, why, givenUp) => events().failed(delivery, why, givenUp),
      unreadable: (seq, why) => events().unreadable(seq, why),
      refused: (event, endpoint, why) => events().refused(event, endpoint, why),
      outdated: (count, seq) => events().outdated(count, seq),
      callFailed: (why) => events().callFailed(why),
    },
    wallClock: Date.now,
    random: () => randomInt(1_000_000) / 1_000_000,
  });
}
