import { Counter, Gauge, type Registry } from '@prometheus-io/client';
import { nextUpdateOf } from '../trivy-db/metadata.ts';
import type { Builder } from '../trivy-db/model.ts';
import type { MetricDefinition } from './catalogue.ts';
import { trivyDbCatalogue as catalogue } from './trivy-db-catalogue.ts';

export type TrivyDbMetrics = ReturnType<typeof createTrivyDbMetrics>;

/** Everything that is counted exists from the start with every value its labels can take. */
export function createTrivyDbMetrics(registry: Registry) {
  const counter = (definition: MetricDefinition) => {
    const { name, help, labels = {} } = definition;
    const made = new Counter<string>({ name, help, labelNames: Object.keys(labels), registers: [registry] });
    for (const values of combinations(Object.entries(labels))) made.inc(values, 0);
    return made;
  };
  return { builds: counter(catalogue.builds), pulls: counter(catalogue.pulls), changes: counter(catalogue.changes) };
}

function combinations(labels: readonly (readonly [string, readonly string[] | null])[]): Record<string, string>[] {
  return labels.reduce<Record<string, string>[]>(
    (made, [label, values]) => made.flatMap((each) => (values ?? []).map((value) => ({ ...each, [label]: value }))),
    [{}],
  );
}

/** So many buckets are told; upstream's database has about 250. */
const MAX_BUCKETS = 400;

/** Gauges, each asked for when the metrics are read. What cannot be had is absent. */
export function observeTrivyDb(registry: Registry, builder: Builder, freeBytes: () => Promise<number>): void {
  const gauge = (definition: MetricDefinition, read: (gauge: Gauge<string>) => Promise<void>) => {
    const { name, help, labels = {} } = definition;
    const labelNames = Object.keys(labels);
    new Gauge<string>({
      name,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        this.reset();
        // A gauge without labels is 0 after a reset, which would be a claim.
        if (labelNames.length === 0) this.remove();
        await read(this).catch(() => {});
      },
    });
  };
  const simple = (definition: MetricDefinition, value: () => Promise<number | null | undefined>) =>
    gauge(definition, async (each) => {
      const now = await value();
      if (now !== null && now !== undefined) each.set(now);
    });
  observePublished(builder, gauge, simple);
  simple(catalogue.running, async () => Number((await builder.state()).running !== null));
  simple(catalogue.lastSucceeded, async () => {
    const { last } = await builder.state();
    return last === null ? null : Number(last.outcome === 'succeeded');
  });
  gauge(catalogue.duration, async (each) => {
    for (const { name, startedAt, endedAt } of (await builder.state()).last?.phases ?? []) {
      if (endedAt !== null) each.set({ phase: name }, (Date.parse(endedAt) - Date.parse(startedAt)) / 1000);
    }
  });
  simple(catalogue.lockHeld, async () => Number(['held', 'unknown'].includes((await builder.state()).lock.kind)));
  simple(catalogue.diskFree, freeBytes);
}

type MakeGauge = (definition: MetricDefinition, read: (gauge: Gauge<string>) => Promise<void>) => void;
type MakeSimple = (definition: MetricDefinition, value: () => Promise<number | null | undefined>) => void;

function observePublished(builder: Builder, gauge: MakeGauge, simple: MakeSimple): void {
  simple(catalogue.published, async () => inSeconds(Date.parse((await builder.published())?.builtAt ?? '')));
  simple(catalogue.nextUpdate, async () => {
    const published = await builder.published();
    return published === null ? null : inSeconds(nextUpdateOf(published.metadata));
  });
  simple(catalogue.databaseBytes, async () => (await builder.published())?.databaseBytes);
  simple(catalogue.archiveBytes, async () => (await builder.published())?.archive.size);
  gauge(catalogue.rows, async (each) => {
    const published = await builder.published();
    const rows = published === null ? null : (await builder.build(published.buildId))?.rows;
    for (const [source, count] of Object.entries(rows?.bySource ?? {}).slice(0, MAX_BUCKETS)) each.set({ source }, count);
  });
}

function inSeconds(ms: number | null): number | null {
  return ms === null || Number.isNaN(ms) ? null : ms / 1000;
}
