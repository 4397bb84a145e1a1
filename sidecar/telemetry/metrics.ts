import { Counter, Gauge, Histogram, Registry } from '@prometheus-io/client';
import type { EngineState } from '../clamd/pool.ts';
import type { StoreHealth } from '../pocketbase/health.ts';
import type { WorkerState } from '../scan/worker-state.ts';
import { catalogue, type MetricDefinition } from './catalogue.ts';

/** What is asked when the metrics are read. */
export interface MetricSources {
  health(): StoreHealth | null;
  hooksReady(): boolean;
  worker(): WorkerState;
  engines(): readonly EngineState[];
  voidsWaiting(): number;
}

export type Metrics = ReturnType<typeof createMetrics>;

/** Everything that is counted exists from the start with every value its labels can take. */
export function createMetrics(registry: Registry = new Registry()) {
  const registers = [registry];
  const counter = (definition: MetricDefinition) => {
    const { name, help, labels = {} } = definition;
    const made = new Counter<string>({ name, help, labelNames: Object.keys(labels), registers });
    for (const [label, values] of Object.entries(labels)) for (const value of values ?? []) made.inc({ [label]: value }, 0);
    return made;
  };
  const histogram = ({ name, help, buckets = [] }: MetricDefinition) => new Histogram({ name, help, buckets: [...buckets], registers });
  return {
    registry,
    verdicts: counter(catalogue.verdicts),
    giveBacks: counter(catalogue.giveBacks),
    leftAlone: counter(catalogue.leftAlone),
    callFailures: counter(catalogue.callFailures),
    notifications: counter(catalogue.notifications),
    queueWait: histogram(catalogue.queueWait),
    scanDuration: histogram(catalogue.scanDuration),
    scannedFiles: counter(catalogue.scannedFiles),
    scannedBytes: counter(catalogue.scannedBytes),
    canaryFailures: counter(catalogue.canaryFailures),
    voidedBuilds: counter(catalogue.voidedBuilds),
  };
}

/** The gauges of the scanner role, each asked for when the metrics are read. */
export function observe(metrics: Metrics, sources: MetricSources): void {
  const registers = [metrics.registry];
  const gauge = (definition: MetricDefinition, read: (gauge: Gauge<string>) => void) => {
    const { name, help, labels = {} } = definition;
    return new Gauge<string>({
      name,
      help,
      labelNames: Object.keys(labels),
      registers,
      collect() {
        this.reset();
        read(this);
      },
    });
  };
  const simple = (definition: MetricDefinition, value: () => number | null | undefined) =>
    gauge(definition, (each) => {
      const now = value();
      if (now === null || now === undefined) each.remove();
      else each.set(now);
    });
  observeStore(sources, gauge, simple);
  observeEngines(sources, gauge);
  simple(catalogue.voidsWaiting, () => sources.voidsWaiting());
  simple(catalogue.leasesHeld, () => sources.worker().held);
  simple(catalogue.buildsScanning, () => sources.worker().scanning);
  simple(catalogue.workerReady, () => Number(sources.worker().ready));
}

type MakeGauge = (definition: MetricDefinition, read: (gauge: Gauge<string>) => void) => Gauge<string>;
type MakeSimple = (definition: MetricDefinition, value: () => number | null | undefined) => Gauge<string>;

function observeStore(sources: MetricSources, gauge: MakeGauge, simple: MakeSimple): void {
  gauge(catalogue.checks, (each) => {
    for (const [status, count] of Object.entries(sources.health()?.counts ?? {})) each.set({ status }, count);
  });
  gauge(catalogue.errors, (each) => {
    for (const [reason, count] of Object.entries(sources.health()?.reasons ?? {})) each.set({ reason }, count);
  });
  simple(catalogue.oldestPending, () => sources.health()?.oldestPendingSeconds);
  gauge(catalogue.wouldRefuse, (each) => {
    const { byCode = {}, byReason = {} } = sources.health()?.wouldRefuse ?? {};
    const withReason = Object.values(byReason).reduce((sum, count) => sum + count, 0);
    for (const [code, count] of Object.entries(byCode)) {
      const without = code === 'scan_error' ? count - withReason : count;
      if (without > 0) each.set({ code, reason: '' }, without);
    }
    for (const [reason, count] of Object.entries(byReason)) each.set({ code: 'scan_error', reason }, count);
  });
  simple(catalogue.foundLater, () => sources.health()?.foundLater);
  simple(catalogue.gateEnforced, () => Number(sources.health()?.gate === 'enforce'));
  simple(catalogue.pocketbaseUp, () => Number(sources.hooksReady()));
}

function observeEngines(sources: MetricSources, gauge: MakeGauge): void {
  const perEngine = (definition: MetricDefinition, value: (state: EngineState) => number | null) =>
    gauge(definition, (each) => {
      for (const state of sources.engines()) {
        const now = value(state);
        if (now !== null) each.set({ engine: state.name }, now);
      }
    });
  perEngine(catalogue.engineUp, (state) => Number(state.ready));
  perEngine(catalogue.canaryTimestamp, ({ canaryAt }) => (canaryAt === null ? null : Date.parse(canaryAt) / 1000));
  perEngine(catalogue.streamLimit, ({ limits }) => limits?.stream ?? null);
  perEngine(catalogue.scanLimit, ({ limits }) => limits?.scan ?? null);
  perEngine(catalogue.recursionLimit, ({ limits }) => limits?.recursion ?? null);
  perEngine(catalogue.engineInFlight, (state) => state.inFlight);
  perEngine(catalogue.signatureAge, (state) => state.signatureAgeSeconds);
  perEngine(catalogue.signatureTimestamp, ({ engine }) => (engine?.signaturesAt ? Date.parse(engine.signaturesAt) / 1000 : null));
  gauge(catalogue.engineInfo, (each) => {
    for (const { name, engine } of sources.engines()) {
      if (engine !== null) each.set({ engine: name, version: engine.version, signatures: String(engine.signatures) }, 1);
    }
  });
}
