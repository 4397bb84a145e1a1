/** One helper per business event of the trivy-db role: the log line and the count of it together. */
import type { StoredRecord } from '../trivy-db/build-records.ts';
import type { BuilderEvents } from '../trivy-db/build-work.ts';
import type { ChangeEvents } from '../trivy-db/change-routes.ts';
import type { ScheduleEvents } from '../trivy-db/schedule.ts';
import { type Logger, stackOf } from './log.ts';
import type { TrivyDbMetrics } from './trivy-db-metrics.ts';

export function createTrivyDbEvents(log: Logger, metrics: TrivyDbMetrics) {
  return { ...buildEvents(log, metrics), ...changeEvents(log, metrics), ...scheduleEvents(log) };
}

function buildEvents(log: Logger, metrics: TrivyDbMetrics): BuilderEvents {
  const ended = (record: StoredRecord) => {
    const { id, outcome, error, exitCode, signal } = record;
    metrics.builds.inc({ outcome: outcome ?? 'died' });
    const line = { event: 'trivy-db-build-ended', build: id, outcome, ms: durationOf(record), exitCode, signal, why: error };
    if (outcome === 'succeeded')
      log.info({ ...line, rows: record.rows?.total, bytes: record.archiveBytes }, 'the Trivy DB is built and published');
    else if (outcome === 'cancelled') log.info(line, 'the build of the Trivy DB was cancelled');
    else log.error(line, 'the build of the Trivy DB did not end well; the published one stays');
  };
  return {
    buildStarted({ id, startedBy, sources }) {
      log.info({ event: 'trivy-db-build-started', build: id, by: startedBy, sources }, 'a build of the Trivy DB began');
    },
    buildEnded: ended,
    buildDied: ended,
    published({ buildId, digest }, by) {
      log.info({ event: 'trivy-db-published', build: buildId, digest, by }, 'a Trivy DB was published');
    },
    lockCleared(by) {
      log.warn({ event: 'trivy-db-lock-cleared', by }, 'the lock of the Trivy DB builder was cleared');
    },
    groupEnded(pid) {
      log.warn({ event: 'trivy-db-group-ended', pid }, 'programs that a dead builder left running were ended');
    },
    folderRemoved(id) {
      log.info({ event: 'trivy-db-folder-removed', build: id }, 'what an unfinished build left was removed');
    },
    failed(what, thrown) {
      log.error({ event: 'trivy-db-failed', stack: stackOf(thrown) }, what);
    },
  };
}

function changeEvents(log: Logger, metrics: TrivyDbMetrics): ChangeEvents & { pulled(userAgent: string): void } {
  return {
    asked(change, by, build, refused) {
      metrics.changes.inc({ change, result: refused === null ? 'done' : 'refused' });
      const line = { event: 'trivy-db-change', change, by, build, refused };
      if (refused === null) log.info(line, 'an operator changed something at the Trivy DB');
      else log.warn(line, 'what an operator asked of the Trivy DB was refused');
    },
    pulled(userAgent) {
      metrics.pulls.inc();
      log.info({ event: 'trivy-db-pulled', agent: userAgent }, 'a Trivy came for the database');
    },
  };
}

function scheduleEvents(log: Logger): ScheduleEvents {
  return {
    scheduled(at) {
      log.info({ event: 'trivy-db-scheduled', at }, 'the next build of the Trivy DB is scheduled');
    },
    waiting(why) {
      log.info({ event: 'trivy-db-waiting', why }, 'a scheduled build waits');
    },
    notStarted(thrown) {
      log.error(
        { event: 'trivy-db-not-started', why: thrown instanceof Error ? thrown.message : String(thrown) },
        'a scheduled build could not begin',
      );
    },
  };
}

function durationOf({ startedAt, endedAt }: StoredRecord): number | null {
  return endedAt === null ? null : Date.parse(endedAt) - Date.parse(startedAt);
}
