/** What a changed ALLOW_UNSCANNABLE means for builds that were judged before. It changes with a restart of PocketBase alone. */
import { appendLog, apply, buildFiles, CHECKS, engineOf, stateOf, verdictsOf } from './checks.ts';
import { forgetFinished } from './counts.ts';
import { dateMs } from './dates.ts';
import { exposureOf } from './downloads.ts';
import { appendHistory, type HistoryRow } from './history.ts';
import type { HistoryEvent } from './history-entry.ts';
import { keepClosings } from './journal.ts';
import { idsOf, recordsOf } from './leases.ts';
import { POLICY_VARIABLE, policyFor, readPolicy, stillAllows } from './policy.ts';
import { policyReleased, policyRevoked } from './rules.ts';
import { allowUnscannable } from './settings.ts';
import { enginesOf, isVoided } from './void-record.ts';
import type { WireFileVerdict } from './wire.ts';

/** Few enough that one transaction does not hold up other writers. */
const BATCH = 100;
/** Of those that a new policy may open: looked at in one minute. */
const PER_SWEEP = 2_000;
/** The last check looked at, and under which policy. */
const CURSOR = 'av.policy.cursor';

/** What becomes of a check, for the history; null where nothing does. */
type Decide = (tx: CoreApp, check: core.Record, now: number) => Omit<HistoryEvent, 'check' | 'build'> | null;

/** Shuts what no policy allows any more. To be called before anything is served: from then on nothing of it leaves. */
export function shutDisallowed(app: CoreApp): void {
  const gone = releasesOf(app).filter((releasedBy) => !stillAllows(releasedBy, readPolicy(allowUnscannable()).allowed));
  if (gone.length === 0) return;
  app
    .db()
    .newQuery(`UPDATE ${CHECKS} SET open = FALSE WHERE released_by IN (SELECT value FROM json_each({:gone}))`)
    .bind({ gone: JSON.stringify(gone) })
    .execute();
  forgetFinished(app);
}

/** Takes back on record what `shutDisallowed` has shut, then opens what a new policy allows. Both end, and cost next to nothing afterwards. */
export function followPolicy(app: CoreApp): void {
  shutDisallowed(app);
  const { allowed } = readPolicy(allowUnscannable());
  for (const releasedBy of releasesOf(app)) if (!stillAllows(releasedBy, allowed)) takeBack(app, releasedBy);
  openAllowed(app, allowed);
}

function takeBack(app: CoreApp, releasedBy: string): void {
  const sql = `SELECT id FROM ${CHECKS} INDEXED BY idx_av_build_checks_released WHERE released_by = {:releasedBy} AND released_by != ''`;
  const note = `${POLICY_VARIABLE} does not allow this any more.`;
  inBatches(app, idsOf(app, sql, { releasedBy }), (tx, check, now) => {
    const state = stateOf(check);
    const patch = state.releasedBy === releasedBy ? policyRevoked(state) : null;
    if (patch === null) return null;
    const exposure = exposureOf(tx, check, now);
    apply(check, patch, state);
    appendLog(check, now, `Release taken back by ${releasedBy}: ${note}`);
    const { status, reason, revision } = state;
    return {
      event: 'revoked',
      status,
      open: false,
      wasOpen: true,
      ...exposure,
      reason: reason || undefined,
      revision,
      by: releasedBy,
      note,
    };
  });
}

function openAllowed(app: CoreApp, allowed: ReadonlySet<string>): void {
  if (allowed.size === 0) return;
  const policy = [...allowed].sort().join();
  const [looked = '', after = ''] = String(app.store().get(CURSOR) ?? '').split(' ');
  if (looked === policy && after === 'done') return;
  const ids = idsOf(
    app,
    `SELECT id FROM ${CHECKS} WHERE status = 'error' AND reason IN (SELECT 'unscannable:' || value FROM json_each({:allowed}))
     AND open = FALSE AND id > {:after} ORDER BY id LIMIT ${PER_SWEEP}`,
    { allowed: JSON.stringify([...allowed]), after: looked === policy ? after : '' },
  );
  inBatches(app, ids, (tx, check, now) => {
    const files = verdictsOf(check);
    const release = policyFor(files, allowed);
    const state = stateOf(check);
    const patch = release && isWhole(tx, check, files) && !isLie(tx, check, files) ? policyReleased(state, release, now) : null;
    if (release === null || patch === null) return null;
    apply(check, patch, state);
    appendLog(check, now, `Released by ${release.by}: ${release.note}`);
    const { status, reason, revision } = state;
    return { event: 'released', status, open: true, reason: reason || undefined, revision, by: release.by, note: release.note };
  });
  app.store().set(CURSOR, `${policy} ${ids.length < PER_SWEEP ? 'done' : ids.at(-1)}`);
}

/** Whether the verdict speaks of every file that the build has. */
function isWhole(tx: CoreApp, check: core.Record, files: readonly WireFileVerdict[]): boolean {
  const judged = new Set(files.map(({ name }) => name));
  const stored = buildFiles(tx, check.getString('build'));
  return stored.size > 0 && [...stored].every((name) => judged.has(name));
}

/** Verdicts of older versions do not say when their engine was known to be good: for them the moment of the verdict stands for it. */
function isLie(tx: CoreApp, check: core.Record, files: WireFileVerdict[]): boolean {
  const engine = engineOf(check);
  const scanTime = dateMs(check.getString('scan_time'));
  const known = (canaryAt: string | undefined) => canaryAt ?? new Date(scanTime).toISOString();
  return engine === null || enginesOf({ engine, files }).some(({ name, canaryAt }) => isVoided(tx, name, known(canaryAt), scanTime));
}

function inBatches(app: CoreApp, ids: readonly string[], decide: Decide): void {
  for (let from = 0; from < ids.length; from += BATCH) {
    const batch = ids.slice(from, from + BATCH);
    if (inBatch(app, batch, decide) === batch.length) throw new Error(`none of ${batch.length} checks could be stored`);
  }
}

/** All in one transaction; where that fails, each in its own, so that one bad row does not keep the others from their turn. Answers how many failed. */
function inBatch(app: CoreApp, ids: readonly string[], decide: Decide): number {
  let rows: HistoryRow[] = [];
  try {
    app.runInTransaction((tx) => {
      const now = Date.now();
      const events = recordsOf(tx, ids).flatMap((check) => {
        const event = decide(tx, check, now);
        if (event === null) return [];
        tx.saveNoValidate(check);
        return { ...event, check: check.id, build: check.getString('build') };
      });
      rows = appendHistory(tx, events);
    });
  } catch (error) {
    if (ids.length > 1) return ids.reduce((failed, id) => failed + inBatch(app, [id], decide), 0);
    app.logger().error('av: a check could not follow the policy', 'check', ids[0], 'error', String(error));
    return 1;
  }
  keepClosings(app, rows);
  forgetFinished(app);
  return 0;
}

/** All that policies have released builds under. */
function releasesOf(app: CoreApp): string[] {
  const sql = `SELECT DISTINCT released_by AS id FROM ${CHECKS} INDEXED BY idx_av_build_checks_released WHERE released_by != '' AND released_by LIKE 'policy:%'`;
  return idsOf(app, sql, {});
}
