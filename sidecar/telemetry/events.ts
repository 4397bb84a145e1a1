/** One helper per business event: the log line and the count of it together, so that neither can be forgotten. */
import { settingsOf } from '../clamd/canary.ts';
import type { EngineEvent } from '../clamd/pool.ts';
import type { StoreHealth } from '../pocketbase/health.ts';
import type { ScanEvents } from '../scan/events.ts';
import type { Check, FileVerdict, Verdict } from '../scan/model.ts';
import type { VoidEvents } from '../scan/voider.ts';
import { type Logger, stackOf } from './log.ts';
import type { Metrics } from './metrics.ts';

export function createEvents(log: Logger, metrics: Metrics) {
  return { ...scanEvents(log, metrics), ...voidEvents(log, metrics), ...scannerEvents(log, metrics) };
}

function voidEvents(log: Logger, metrics: Metrics): VoidEvents {
  return {
    voided(lie, { closed, rescanned }) {
      metrics.voidedBuilds.inc({ was: 'open' }, closed);
      metrics.voidedBuilds.inc({ was: 'closed' }, rescanned);
      log.warn({ event: 'voided', ...lie, closed, rescanned }, 'verdicts taken back');
    },
    voidFailed(lie, error) {
      const line = { event: 'void-failed', ...lie, code: error.code, why: error.message };
      log.error(line, 'verdicts of a lying engine are not taken back yet, trying again');
    },
  };
}

function scanEvents(log: Logger, metrics: Metrics): ScanEvents {
  return {
    claimed(checks) {
      for (const { waitedSeconds } of checks) metrics.queueWait.observe(waitedSeconds);
      log.debug({ event: 'claimed', checks: checks.length }, 'checks claimed');
    },
    judged(check, verdict, ms) {
      metrics.verdicts.inc({ verdict: verdict.kind });
      metrics.scanDuration.observe(ms / 1000);
      countFiles(metrics, verdict);
      const { engine } = verdict;
      const by = { engine: engine.name, version: engine.version, signatures: engine.signatures };
      const line = {
        event: 'judged',
        ...idsOf(check),
        outcome: verdict.kind,
        ms: Math.round(ms),
        files: verdict.files.map(fileLine),
        ...by,
      };
      if (verdict.kind === 'clean') log.info(line, 'build judged clean');
      else log.warn(line, `build judged ${verdict.kind}`);
    },
    givenBack(check, code, error, ms) {
      metrics.giveBacks.inc({ code });
      const line = {
        event: 'given-back',
        ...idsOf(check),
        outcome: code,
        why: error.message,
        attempts: check.attempts,
        ms: Math.round(ms),
      };
      if (code === 'unexpected') log.error({ ...line, stack: stackOf(error) }, 'scan failed for a reason nobody foresaw');
      else if (code === 'interrupted') log.info(line, 'check given back');
      else log.warn(line, 'check given back');
    },
    leftAlone(check, error, ms) {
      metrics.leftAlone.inc({ code: error.code });
      const line = { event: 'left-alone', ...idsOf(check), outcome: error.code, why: error.message, ms: Math.round(ms) };
      if (error.code === 'unexpected') log.error({ ...line, stack: stackOf(error) }, 'outcome of a check could not be stored');
      else log.warn(line, 'check left alone');
    },
    callFailed(call, error) {
      metrics.callFailures.inc({ call });
      const line = { event: 'call-failed', call, code: error.code, why: error.message };
      if (error.code === 'unexpected') log.error({ ...line, stack: stackOf(error) }, `${call} failed`);
      else log.warn(line, `${call} failed, trying again`);
    },
  };
}

function scannerEvents(log: Logger, metrics: Metrics) {
  return {
    sessionChanged(why: string | null): void {
      if (why === null) log.info({ event: 'session' }, 'logged in at PocketBase');
      else log.error({ event: 'session', why }, 'login at PocketBase failed, trying again');
    },
    hooksChanged(why: string | null): void {
      if (why === null) log.info({ event: 'hooks' }, 'the hooks in PocketBase answer');
      else log.error({ event: 'hooks', why }, 'the hooks in PocketBase are not usable');
    },
    /** The gate as PocketBase describes it: whatever is not enforcing is said loudly. */
    gateChanged(health: Pick<StoreHealth, 'gate' | 'problems'>): void {
      const { gate, problems } = health;
      if (gate !== 'enforce') log.error({ event: 'gate', gate, problems }, `THE GATE DOES NOT PROTECT ANYTHING: AV_GATE=${gate}`);
      else if (problems.length > 0) log.warn({ event: 'gate', gate, problems }, 'the gate enforces; PocketBase reports problems');
      else log.info({ event: 'gate', gate }, 'the gate enforces');
    },
    engineChanged(event: EngineEvent): void {
      switch (event.kind) {
        case 'engine-ready': {
          const { name, engine, limits } = event;
          const line = { event: event.kind, engine: name, version: engine.version, signatures: engine.signatures, limits };
          if (event.engine.signatures === 'test') log.warn(line, 'engine is ready, WITH TEST SIGNATURES ONLY: clean means nothing');
          else log.info(line, 'engine is ready');
          return;
        }
        case 'engine-down':
          log.error({ event: event.kind, engine: event.name, why: event.why, settings: settingsOf(event.faults) }, 'engine is not ready');
          return;
        case 'canaries-failed':
          for (const { canary } of event.faults) metrics.canaryFailures.inc({ canary });
          return;
        case 'engine-lied':
          log.error({ event: event.kind, ...event.lie }, 'engine answers canaries wrongly: what it judged since then is closed again');
          return;
        case 'engine-gone':
          log.info({ event: event.kind, engine: event.name }, 'engine is gone from the name');
          return;
        default:
          event satisfies never;
      }
    },
    notified(accepted: boolean, why: string): void {
      metrics.notifications.inc({ result: accepted ? 'accepted' : 'refused' });
      if (!accepted) log.warn({ event: 'notification-refused', why }, 'notification refused');
    },
  };
}

/** What any process tells, whatever its roles. */
export function processEvents(log: Logger) {
  return {
    started(details: { version: string; url: string }): void {
      log.info({ event: 'started', ...details }, 'sidecar started');
    },
    stopping(): void {
      log.info({ event: 'stopping' }, 'sidecar is stopping: what runs is finished, the rest is given back');
    },
    stopped(): void {
      log.info({ event: 'stopped' }, 'sidecar stopped');
    },
    roleFailed(role: string, why: string): void {
      log.error({ event: 'role-failed', role, why }, `the role ${role} cannot begin, trying again`);
    },
    requestFailed(path: string, thrown: unknown): void {
      log.error({ event: 'request-failed', path, stack: stackOf(thrown) }, 'request failed');
    },
  };
}

function idsOf(check: Check) {
  return { check: check.id, build: check.build, waited: check.waitedSeconds, ...(check.rescan ? { rescan: true } : {}) };
}

function fileLine({ name, size, answer, ms }: FileVerdict) {
  const detail =
    answer.kind === 'infected' ? { signature: answer.signature } : answer.kind === 'unscannable' ? { reason: answer.reason } : {};
  return { name, size, verdict: answer.kind, ...detail, ms };
}

function countFiles(metrics: Metrics, verdict: Verdict): void {
  let bytes = 0;
  // What was too large to be read has no digest.
  for (const file of verdict.files) if (file.sha256 !== '') bytes += file.size;
  metrics.scannedFiles.inc(verdict.files.length);
  metrics.scannedBytes.inc(bytes);
}
