import { describe, expect, it } from 'vitest';
import type { Fault } from '../clamd/canary.ts';
import { ScanError } from '../scan/errors.ts';
import { fakeEngine } from '../scan/fakes.ts';
import type { Check, Verdict } from '../scan/model.ts';
import { catalogue } from './catalogue.ts';
import { createEvents } from './events.ts';
import { createLog } from './log.ts';
import { createMetrics, observe } from './metrics.ts';
import { observeProcess } from './process-metrics.ts';

const name = 'evil"\n<script>.zip';
const check: Check = {
  id: 'check1',
  build: 'build1',
  attempts: 0,
  suspect: false,
  rescan: false,
  lease: { id: 'check1', token: 'the lease token' },
  waitedSeconds: 2,
  files: [],
};
const infected: Verdict = {
  kind: 'infected',
  engine: fakeEngine,
  files: [
    { name, size: 100, sha256: 'aa', answer: { kind: 'infected', signature: 'Test.Signature' }, ms: 5, engine: fakeEngine },
    { name: 'big', size: 5000, sha256: '', answer: { kind: 'unscannable', reason: 'unscannable:too-large' }, ms: 0, engine: null },
  ],
};

function setUp() {
  const lines: string[] = [];
  const metrics = createMetrics();
  const events = createEvents(createLog('debug', { write: (line) => lines.push(line) }), metrics);
  const health = {
    hooksVersion: '1',
    gate: 'enforce',
    problems: [],
    reasons: { 'no-files': 2 },
    oldestPendingSeconds: 12,
    wouldRefuse: { total: 9, byCode: { scan_pending: 4, scan_error: 5 }, byReason: { 'unscannable:zstd': 5 }, policy: '' },
    foundLater: 3,
    counts: { pending: 3, scanning: 1, clean: 7, infected: 1, error: 2 },
  } as const;
  observe(metrics, {
    health: () => ({ ...health, problems: [] }),
    hooksReady: () => true,
    worker: () => ({ ready: true, why: null, held: 4, scanning: 2 }),
    engines: () => [
      {
        name: 'clamd:3310',
        ready: true,
        why: null,
        faults: [],
        engine: fakeEngine,
        limits: fakeEngine.limits,
        canaryAt: fakeEngine.canaryAt,
        inFlight: 1,
        signatureAgeSeconds: 60,
      },
    ],
    voidsWaiting: () => 1,
  });
  observeProcess(metrics.registry, '0.1.0', '1');
  return { lines, events, metrics, exposed: () => metrics.registry.metrics() };
}

describe('events', () => {
  it('log one line and count together', async () => {
    const { lines, events, exposed } = setUp();
    events.judged(check, infected, 1500);
    expect(lines).toHaveLength(1);
    expect(lines[0]!.trimEnd()).not.toContain('\n');
    expect(JSON.parse(lines[0]!)).toMatchObject({
      level: 'warn',
      event: 'judged',
      check: 'check1',
      build: 'build1',
      outcome: 'infected',
      ms: 1500,
      files: [{ name, signature: 'Test.Signature' }, { reason: 'unscannable:too-large' }],
    });
    const text = await exposed();
    expect(text).toContain('pocketwarden_verdicts_total{verdict="infected"} 1');
    expect(text).toContain('pocketwarden_scanned_bytes_total 100');
    expect(text).toContain('pocketwarden_scanned_files_total 2');
    expect(text).toContain('pocketwarden_scan_duration_seconds_count 1');
  });

  it('keep the stack, with its cause, of what nobody foresaw', () => {
    const { lines, events } = setUp();
    events.givenBack(check, 'unexpected', new ScanError('unexpected', 'it broke', { cause: new TypeError('deep inside') }), 1);
    const { level, stack } = JSON.parse(lines[0]!);
    expect(level).toBe('error');
    expect(stack).toMatch(/ScanError: it broke[\s\S]*caused by: TypeError: deep inside\n\s+at /);
  });

  it('put neither ids nor names nor signatures nor tokens into metrics, and no token into the log', async () => {
    const { lines, events, exposed } = setUp();
    events.claimed([check]);
    events.judged(check, infected, 1);
    events.givenBack(check, 'download', new ScanError('download', 'short'), 1);
    events.leftAlone(check, new ScanError('lease-lost', 'taken'), 1);
    const text = await exposed();
    for (const hidden of ['check1', 'build1', 'evil', 'Test.Signature']) expect(text).not.toContain(hidden);
    expect(lines.join()).not.toContain('the lease token');
  });

  it('tell of an engine that lies: the wrong canaries, the settings that mend it, what is taken back', async () => {
    const { lines, events, exposed } = setUp();
    const faults: Fault[] = [{ canary: 'encrypted-zip', what: 'it is blind', settings: ['AlertEncrypted yes'], reply: 'stream: OK\0' }];
    const lie = { engine: 'clamd:3310', since: '2026-01-02T00:00:00.000Z', reason: 'it is blind' };
    events.engineChanged({ kind: 'canaries-failed', name: 'clamd:3310', faults });
    events.engineChanged({ kind: 'engine-lied', lie });
    events.engineChanged({ kind: 'engine-down', name: 'clamd:3310', why: 'it is blind', faults });
    events.voidFailed(lie, new ScanError('store-unavailable', 'PocketBase is away'));
    events.voided(lie, { closed: 3, rescanned: 2 });
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { level: 'error', event: 'engine-lied', ...lie },
      { level: 'error', event: 'engine-down', settings: ['AlertEncrypted yes'] },
      { level: 'error', event: 'void-failed', why: 'PocketBase is away' },
      { level: 'warn', event: 'voided', closed: 3, rescanned: 2 },
    ]);
    const text = await exposed();
    expect(text).toContain('pocketwarden_canary_failures_total{canary="encrypted-zip"} 1');
    expect(text).toContain('pocketwarden_voided_builds_total{was="open"} 3');
    expect(text).toContain('pocketwarden_voided_builds_total{was="closed"} 2');
  });

  it('say loudly when the gate does not enforce', () => {
    const { lines, events } = setUp();
    events.gateChanged({ gate: 'off', problems: ['AV_GATE=off'] });
    expect(JSON.parse(lines[0]!)).toMatchObject({ level: 'error', gate: 'off', message: expect.stringContaining('DOES NOT PROTECT') });
  });
});

describe('metrics', () => {
  it('expose every metric of the catalogue, counters from zero for every known value', async () => {
    const text = await setUp().exposed();
    for (const { name: metric, help, type } of Object.values(catalogue)) {
      expect(text).toContain(`# HELP ${metric} ${help}\n# TYPE ${metric} ${type}\n`);
    }
    expect(text).toContain('pocketwarden_give_backs_total{code="download:missing"} 0');
    expect(text).toContain('pocketwarden_verdicts_total{verdict="clean"} 0');
    expect(text).toContain('pocketwarden_notifications_total{result="refused"} 0');
    expect(text).toContain('pocketwarden_canary_failures_total{canary="deep-zip"} 0');
    expect(text).toContain('pocketwarden_voided_builds_total{was="open"} 0');
  });

  it('show what the parts say now', async () => {
    const text = await setUp().exposed();
    for (const line of [
      'pocketwarden_checks{status="pending"} 3',
      'pocketwarden_checks_failed{reason="no-files"} 2',
      'pocketwarden_oldest_pending_seconds 12',
      'pocketwarden_gate_enforced 1',
      'pocketwarden_leases_held 4',
      'pocketwarden_gate_would_refuse{code="scan_pending",reason=""} 4',
      'pocketwarden_gate_would_refuse{code="scan_error",reason="unscannable:zstd"} 5',
      'pocketwarden_builds_found_later 3',
      'pocketwarden_voids_waiting 1',
      'pocketwarden_engine_up{engine="clamd:3310"} 1',
      'pocketwarden_engine_canary_timestamp_seconds{engine="clamd:3310"} 1767312000',
      'pocketwarden_engine_stream_limit_bytes{engine="clamd:3310"} 2147483645',
      'pocketwarden_engine_scan_limit_bytes{engine="clamd:3310"} 2147483644',
      'pocketwarden_engine_recursion_limit{engine="clamd:3310"} 16',
      'pocketwarden_engine_signatures_timestamp_seconds{engine="clamd:3310"} 1767225600',
      'pocketwarden_build_info{version="0.1.0",hooks_version="1"} 1',
    ]) {
      expect(text).toContain(line);
    }
    expect(text).toMatch(/process_resident_memory_bytes [1-9]/);
  });

  it('are named and described as Prometheus asks', () => {
    for (const { name: metric, help, type } of Object.values(catalogue)) {
      expect(metric).toMatch(/^pocketwarden_[a-z_]+$/);
      expect(metric.endsWith('_total')).toBe(type === 'counter');
      if (type === 'histogram') expect(metric).toMatch(/_seconds$/);
      expect(help).toMatch(/^[A-Z1].*\.$/);
    }
  });

  it('count afresh in each service', async () => {
    setUp().events.judged(check, infected, 1);
    expect(await setUp().exposed()).toContain('pocketwarden_verdicts_total{verdict="infected"} 0');
  });
});
