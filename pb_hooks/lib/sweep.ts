/** Every minute: what no notification told us. Rows made by raw SQL or before the hooks, checks deleted by hand, leases of the dead. */
import { BATCH, inBatch, inBatches } from './batches.ts';
import { apply, buildsCollectionId, CHECKS, fileNames, newCheck, stateOf } from './checks.ts';
import { flushDownloads } from './downloads.ts';
import { lastRevisions } from './history.ts';
import { followJournal } from './journal.ts';
import { lastWrite } from './last-write.ts';
import { endLapsedLeases, idsOf, notedMaxRetries, recordsOf } from './leases.ts';
import { notifyQuietly } from './notify.ts';
import { followPolicy } from './policy-change.ts';
import { scheduleRescans } from './rescans.ts';
import { begin, unleased } from './rules.ts';
import { isSearchDue, type Search } from './search-due.ts';
import { finishVoids } from './void.ts';

/** For builds without a check and checks without a build. */
const LAST_SEARCH = 'av.sweep.search';

/** One duty that fails leaves the others to be done; it is tried again the next minute. */
export function sweep(app: CoreApp): void {
  const duties = {
    'following the journal': () => followJournal(app),
    'ending lapsed leases': () => app.runInTransaction((tx) => endLapsedLeases(tx, notedMaxRetries(tx), Date.now())),
    'queueing unleased checks': () => requeueUnleased(app),
    'pairing builds and checks': () => pairBuildsAndChecks(app),
    'counting downloads': () => flushDownloads(app),
    'finishing voids': () => finishVoids(app),
    'following the policy': () => followPolicy(app),
    'scheduling rescans': () => scheduleRescans(app),
    'telling the sidecar': () => tellOfWaiting(app),
  };
  for (const [duty, work] of Object.entries(duties)) {
    try {
      work();
    } catch (error) {
      app.logger().error('av: a duty of the sweep failed', 'duty', duty, 'error', String(error));
    }
  }
}

/**
 * Gives every build that has none a check, and deletes checks whose build was deleted by raw SQL, which cascades to nothing. The search
 * holds up no writer and is left out where it can find nothing, or nearly so: `isSearchDue` says when.
 */
function pairBuildsAndChecks(app: CoreApp): void {
  const at = Date.now();
  const written = lastWrite(app, at);
  const last = app.store().get(LAST_SEARCH) as string | undefined;
  if (last && !isSearchDue(JSON.parse(last), written, at, () => areAsMany(app))) return;
  // Both sides come sorted from an index and are merged: a fifth of the time of a join, and no memory.
  const builds = `SELECT id FROM \`${tableOf(app)}\``;
  const judged = `SELECT build AS id FROM ${CHECKS}`;
  const buildless = idsOf(app, `${judged} EXCEPT ${builds} ORDER BY 1`, {});
  const missing = idsOf(app, `${builds} EXCEPT ${judged} ORDER BY 1`, {});
  const took = Date.now() - at;
  const orphans = buildless.flatMap((id) => idsOf(app, `SELECT id FROM ${CHECKS} WHERE build = {:id}`, { id }));
  inBatches(app, orphans, deleteChecks);
  createChecks(app, missing);
  // What could not be mended is looked for again, though nothing was written.
  const inOrder = orphans.length + missing.length === 0;
  app.store().set(LAST_SEARCH, JSON.stringify({ at, took, written: inOrder ? written : null } satisfies Search));
}

/** A check has one build and a build one check: with as many of both, there are as many builds without a check as checks without a build. */
function areAsMany(app: CoreApp): boolean {
  const row = new DynamicModel({ same: false });
  app
    .db()
    .newQuery(`SELECT (SELECT COUNT(*) FROM \`${tableOf(app)}\`) = (SELECT COUNT(*) FROM ${CHECKS}) AS same`)
    .one(row);
  return row['same'] === true;
}

function deleteChecks(tx: CoreApp, id: string): void {
  for (const check of recordsOf(tx, [id])) tx.delete(check);
}

function createChecks(app: CoreApp, missing: readonly string[]): void {
  const builds = buildsCollectionId(app);
  for (let from = 0; from < missing.length; from += BATCH) {
    const ids = missing.slice(from, from + BATCH);
    const revisions = lastRevisions(app, ids);
    inBatch(app, ids, (tx, id) => {
      const build = tx.findRecordsByIds(builds, [id])[0];
      if (!build || idsOf(tx, `SELECT id FROM ${CHECKS} WHERE build = {:id}`, { id }).length > 0) return;
      const check = newCheck(tx, id);
      apply(check, begin(fileNames(build).length > 0, (revisions.get(id) ?? 0) + 1, Date.now()));
      tx.saveNoValidate(check);
    });
  }
  if (missing.length > 0) app.logger().info('av: builds without a check were found and queued', 'builds', missing.length);
}

function requeueUnleased(app: CoreApp): void {
  inBatches(app, idsOf(app, `SELECT id FROM ${CHECKS} WHERE status = 'scanning' AND lease_until = ''`, {}), (tx, id) => {
    for (const check of recordsOf(tx, [id])) {
      if (check.getString('status') !== 'scanning' || check.getString('lease_until') !== '') continue;
      apply(check, unleased(stateOf(check), Date.now()));
      tx.saveNoValidate(check);
    }
  });
}

function tellOfWaiting(app: CoreApp): void {
  const sql = `SELECT build AS id FROM ${CHECKS} INDEXED BY idx_av_build_checks_pending WHERE status = 'pending' ORDER BY pending_since LIMIT 1`;
  for (const build of idsOf(app, sql, {})) notifyQuietly(app, build);
}

function tableOf(app: CoreApp): string {
  return app.findCachedCollectionByNameOrId(buildsCollectionId(app)).name;
}
