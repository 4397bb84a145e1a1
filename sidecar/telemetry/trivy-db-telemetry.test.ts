import { Registry } from '@prometheus-io/client';
import { describe, expect, it } from 'vitest';
import { FakeBuilder, fakeRecord } from '../trivy-db/fakes.ts';
import { createLog } from './log.ts';
import { trivyDbCatalogue } from './trivy-db-catalogue.ts';
import { createTrivyDbEvents } from './trivy-db-events.ts';
import { createTrivyDbMetrics, observeTrivyDb } from './trivy-db-metrics.ts';

function telemetry() {
  const registry = new Registry();
  const lines: Record<string, unknown>[] = [];
  const builder = new FakeBuilder();
  const events = createTrivyDbEvents(
    createLog('info', { write: (line: string) => void lines.push(JSON.parse(line)) }),
    createTrivyDbMetrics(registry),
  );
  observeTrivyDb(registry, builder, async () => 123);
  return { registry, lines, builder, events };
}

describe('the telemetry of the trivy-db role', () => {
  it('has the metrics of its catalogue and no other', async () => {
    const { registry } = telemetry();
    const names = (await registry.getMetricsAsJSON()).map(({ name }) => name);
    expect(names.sort()).toEqual(
      Object.values(trivyDbCatalogue)
        .map(({ name }) => name as string)
        .sort(),
    );
  });

  it('claims nothing of a database that is not there', async () => {
    const { registry } = telemetry();
    const text = await registry.metrics();
    for (const absent of ['published_timestamp_seconds', 'next_update_timestamp_seconds', 'database_bytes', 'last_build_succeeded'])
      expect(text, absent).not.toMatch(new RegExp(`^pocketwarden_trivy_db_${absent} `, 'm'));
    expect(text).toMatch(/^pocketwarden_trivy_db_disk_free_bytes 123$/m);
    expect(text).toMatch(/^pocketwarden_trivy_db_lock_held 0$/m);
  });

  it('counts an end by its outcome, and says so with the sentence', async () => {
    const { registry, lines, events } = telemetry();
    const { isKept: _, ...failed } = fakeRecord('20261121T160000Z-aaaaaa', { outcome: 'timed-out', error: 'It took too long.' });
    events.buildEnded(failed);
    expect(await registry.metrics()).toMatch(/^pocketwarden_trivy_db_builds_total\{outcome="timed-out"\} 1$/m);
    expect(lines).toMatchObject([{ level: 'error', event: 'trivy-db-build-ended', outcome: 'timed-out', why: 'It took too long.' }]);
  });

  it('counts what operators ask for and what Trivy pulls', async () => {
    const { registry, lines, events } = telemetry();
    events.asked('start', 'ana', null, 'busy');
    events.asked('start', 'ana', '20261121T160000Z-aaaaaa', null);
    events.pulled('trivy/0.74.0');
    const text = await registry.metrics();
    expect(text).toMatch(/^pocketwarden_trivy_db_changes_total\{change="start",result="refused"\} 1$/m);
    expect(text).toMatch(/^pocketwarden_trivy_db_changes_total\{change="start",result="done"\} 1$/m);
    expect(text).toMatch(/^pocketwarden_trivy_db_pulls_total 1$/m);
    expect(lines.map(({ level }) => level)).toEqual(['warn', 'info', 'info']);
  });
});
