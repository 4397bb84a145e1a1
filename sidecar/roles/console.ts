/** Wiring of the console role: its pages, and what it watches and tells by itself. */
import type { Registry } from '@prometheus-io/client';
import { systemClock } from '../clock.ts';
import type { ConsoleConfig, PocketBaseConfig } from '../config.ts';
import { loadAssets } from '../console/assets.ts';
import { createChecksPages } from '../console/checks/checks-pages.ts';
import { ChecksSource } from '../console/checks/checks-source.ts';
import { type ConsolePart, createConsoleApp } from '../console/console-app.ts';
import type { PeerFetch } from '../console/console-env.ts';
import { counted } from '../console/format.ts';
import { GateProbe } from '../console/gate-probe.ts';
import { type Line, Overview } from '../console/overview.ts';
import { ProbeBuild } from '../console/probe-build.ts';
import { createTrivyDbPages, type TrivyDbPages } from '../console/trivy-db/trivy-db-pages.ts';
import { createDeliveriesPages } from '../console/webhooks/deliveries-page.ts';
import { Outbox } from '../console/webhooks/outbox.ts';
import { Watch } from '../console/webhooks/watch.ts';
import type { ConsoleAccess } from '../http/access.ts';
import { type Part, roleReadiness } from '../http/readiness.ts';
import { HealthMonitor } from '../pocketbase/health.ts';
import { Session } from '../pocketbase/session.ts';
import type { AccessEvents } from '../telemetry/access-events.ts';
import { processEvents } from '../telemetry/events.ts';
import type { Logger } from '../telemetry/log.ts';
import { createWatchEvents, type WatchEvents } from '../telemetry/webhook-events.ts';
import type { Role } from './role.ts';

export interface ConsoleRoleParts {
  readonly config: ConsoleConfig;
  readonly pocketbase: PocketBaseConfig;
  /** Shared by all roles of the process; its superusers are those of this PocketBase. */
  readonly access: ConsoleAccess;
  readonly accessEvents: AccessEvents;
  readonly publicUrl: string | null;
  readonly hasOperatorToken: boolean;
  /** Null for a role that is nowhere: its pages are left out. */
  readonly peers: { readonly scanner: PeerFetch | null; readonly trivyDb: PeerFetch | null };
  readonly log: Logger;
  readonly registry: Registry;
}

/** Builds everything and starts nothing. Throws a sentence when the styles and scripts for browsers were not built. */
export function createConsoleRole(parts: ConsoleRoleParts): Role {
  const { config, pocketbase, peers, log, registry } = parts;
  const session = new Session({ url: pocketbase.url, ...pocketbase.superuser! });
  const health = new HealthMonitor({ session, clock: systemClock });
  const outbox = new Outbox(session);
  let events: WatchEvents;
  const source = new ChecksSource(session);
  const probe = new GateProbe({
    source,
    build: new ProbeBuild({ session, source, make: config.gateProbeBuild, now: () => performance.now() }),
    urls: [pocketbase.url, config.pocketbasePublicUrl ?? pocketbase.url],
    gate: () => health.last?.gate ?? null,
    counts: () => health.last?.counts ?? null,
    now: Date.now,
  });
  const watch = new Watch({ config, session, outbox, scanner: peers.scanner, clock: systemClock, health, probe, events: () => events });
  events = createWatchEvents(log, registry, {
    failing: () => watch.troubled.failing,
    givenUp: () => watch.troubled.givenUp,
    historyBroken: () => watch.historyBroken !== null,
    gateOpen: () => probe.open !== null,
  });
  const trivyDb =
    peers.trivyDb === null ? null : createTrivyDbPages({ peer: peers.trivyDb, publicUrl: config.trivyDbPublicUrl ?? parts.publicUrl });
  const app = createConsoleApp({
    access: parts.access,
    events: parts.accessEvents,
    assets: loadAssets(),
    overview: createOverview(parts, { session, health, watch, trivyDb }),
    pages: pagesOf(parts, session, outbox, trivyDb),
    sections: sectionsOf(parts),
    publicUrl: parts.publicUrl,
    hasOperatorToken: parts.hasOperatorToken,
    requestFailed: processEvents(log).requestFailed,
  });
  const running = new AbortController();
  let work: Promise<unknown> = Promise.resolve();
  return {
    name: 'console',
    routes: app.routes,
    readiness: () =>
      roleReadiness({ console: { ready: session.why === null, why: session.why }, gate: gatePart(probe) }, warningsOf(probe)),
    async start() {
      work = Promise.all([health.run(running.signal), watch.run(running.signal)]);
    },
    async stop() {
      app.stop();
      running.abort();
      await work;
    },
    async hasten() {},
  };
}

/** One byte of a closed build is enough. */
function gatePart({ open }: GateProbe): Part {
  return open === null
    ? { ready: true, why: null }
    : { ready: false, why: `the gate stands open: a file of the closed build ${open.build} was handed out` };
}

/** It stops nothing: what is closed is asked for all the same. */
function warningsOf({ why }: GateProbe): string[] {
  if (why === null) return [];
  return [`The gate is tried with the newest closed builds only, not with a build of its own: ${why}. GATE_PROBE_BUILD decides.`];
}

function pagesOf(
  { config, pocketbase, peers, log }: ConsoleRoleParts,
  session: Session,
  outbox: Outbox,
  trivyDb: TrivyDbPages | null,
): ConsolePart[] {
  const checks = createChecksPages({
    session,
    pocketbaseUrl: pocketbase.url,
    pocketbasePublicUrl: config.pocketbasePublicUrl ?? pocketbase.url,
    scanner: peers.scanner,
    log,
  });
  const deliveries = createDeliveriesPages({ outbox, isOn: config.webhooks.urls.length > 0 });
  return [checks, ...(trivyDb === null ? [] : [trivyDb]), deliveries];
}

function sectionsOf({ config, peers }: ConsoleRoleParts) {
  const all = [
    { section: 'overview', label: 'Overview', href: '/', isThere: true },
    { section: 'checks', label: 'Checks', href: '/checks', isThere: true },
    { section: 'trivy-db', label: 'Trivy DB', href: '/trivy-db', isThere: peers.trivyDb !== null },
    { section: 'deliveries', label: 'Deliveries', href: '/deliveries', isThere: config.webhooks.urls.length > 0 },
  ] as const;
  return all.filter(({ isThere }) => isThere);
}

interface Watched {
  readonly session: Session;
  readonly health: HealthMonitor;
  readonly watch: Watch;
  readonly trivyDb: TrivyDbPages | null;
}

function createOverview({ config, peers }: ConsoleRoleParts, { session, health, watch, trivyDb }: Watched): Overview {
  const lines = [
    ...(trivyDb === null ? [] : [() => trivyDbLine(trivyDb)]),
    ...(config.webhooks.urls.length === 0 ? [] : [async () => webhooksLine(watch)]),
  ];
  return new Overview({
    health,
    session,
    scanner: peers.scanner,
    maxSignatureAgeMs: config.maxSignatureAgeHours * 3_600_000,
    attention: [async () => watch.attention(), ...(trivyDb === null ? [] : [() => trivyDb.attention()])],
    lines,
  });
}

async function trivyDbLine(trivyDb: TrivyDbPages): Promise<Line> {
  const { tone, line, isBusy, toLookAt } = await trivyDb.summary();
  return { name: 'Trivy DB', href: '/trivy-db', tone, line, tab: { section: 'trivy-db', toLookAt, isBusy } };
}

function webhooksLine({ troubled: { failing, givenUp } }: Watch): Line {
  const common = { name: 'Webhooks', href: '/deliveries', tab: { section: 'deliveries', toLookAt: givenUp, isBusy: false } } as const;
  if (failing + givenUp === 0) return { ...common, tone: 'ok', line: 'Everything was delivered.' };
  const words = [
    failing > 0 ? `${counted(failing, 'delivery', 'deliveries')} tried again` : '',
    givenUp > 0 ? `${counted(givenUp, 'delivery', 'deliveries')} given up` : '',
  ];
  return { ...common, tone: 'warn', line: `${words.filter((each) => each !== '').join(', ')}.` };
}
