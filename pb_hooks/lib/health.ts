/** GET /api/av/health: what the sidecar must know of the hooks before it says that it is ready. */
import { CHECKS, HISTORY } from './checks.ts';
import { countChecks } from './counts.ts';
import { dateMs } from './dates.ts';
import { foundLaterCount } from './found-later.ts';
import { wouldRefuse } from './gate-monitor.ts';
import { historyProblem } from './history.ts';
import { journalProblems } from './journal.ts';
import { policyProblem } from './policy.ts';
import { secondLockProblem } from './second-lock.ts';
import { allowUnscannable, gateMode, gateModeProblem, secret, sidecarUrl } from './settings.ts';
import { VOIDS } from './void-record.ts';
import { type HealthAnswer, HOOKS_VERSION } from './wire.ts';

const SCHEMA_VERSION = 1;

export function health(e: core.RequestEvent): void {
  const counts = countChecks(e.app);
  const answer: HealthAnswer = {
    hooksVersion: HOOKS_VERSION,
    schemaVersion: SCHEMA_VERSION,
    gate: gateMode(),
    problems: problems(e.app),
    counts: counts.byStatus,
    reasons: counts.byReason,
    oldestPendingSeconds: oldestPendingSeconds(e.app),
    wouldRefuse: wouldRefuse(e.app),
    foundLater: foundLaterCount(e.app),
  };
  e.json(200, answer);
}

function problems(app: CoreApp): string[] {
  const found: (string | null)[] = [gateModeProblem(), policyProblem(allowUnscannable())];
  if (gateMode() === 'off') found.push('AV_GATE=off: every build can be downloaded, scanned or not.');
  if (gateMode() === 'monitor') found.push('AV_GATE=monitor: nothing is refused, only noted.');
  found.push(attempt(historyProblem));
  if (sidecarUrl() === '') found.push('AV_SIDECAR_URL is not set: uploads wait for the next poll of the sidecar.');
  else
    found.push(
      attempt(() =>
        secret('AV_NOTIFY_SECRET') === '' ? 'AV_NOTIFY_SECRET is not set: uploads wait for the next poll of the sidecar.' : null,
      ),
    );
  found.push(attempt(() => missingColumns(app)));
  found.push(attempt(() => secondLockProblem(app)));
  found.push(...journalProblems(app));
  return found.filter((problem) => problem !== null);
}

function attempt(ask: () => string | null): string | null {
  try {
    return ask();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function missingColumns(app: CoreApp): string | null {
  app.findCachedCollectionByNameOrId(HISTORY);
  app.findCachedCollectionByNameOrId(VOIDS);
  const fields = app.findCachedCollectionByNameOrId(CHECKS).fields;
  return fields.getByName('open') && fields.getByName('opened_at') && fields.getByName('revisit_at')
    ? null
    : `${CHECKS} lacks columns: apply the migrations of Pocketwarden.`;
}

function oldestPendingSeconds(app: CoreApp): number {
  const rows = arrayOf(new DynamicModel({ since: '' }));
  app
    .db()
    .newQuery(
      `SELECT pending_since AS since FROM ${CHECKS} INDEXED BY idx_av_build_checks_pending WHERE status = 'pending' ORDER BY pending_since LIMIT 1`,
    )
    .all(rows);
  const since = rows[0] ? dateMs(String(rows[0]['since'])) : 0;
  return since === 0 ? 0 : Math.max(0, Date.now() - since) / 1000;
}
