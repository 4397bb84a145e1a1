/** Every minute: what no notification told us. Rows made by raw SQL or before the hooks, checks deleted by hand, leases of the dead. */
import { apply, buildsCollectionId, CHECKS, fileNames, newCheck, stateOf } from './checks.ts';
import { lastRevisions } from './history.ts';
import { followJournal } from './journal.ts';
import { endLapsedLeases, idsOf, notedMaxRetries, recordsOf } from './leases.ts';
import { notifyQuietly } from './notify.ts';
import { begin, unleased } from './rules.ts';

/** Few enough that one transaction does not hold up other writers. */
const BATCH = 200;

/** One duty that fails leaves the others to be done; it is tried again the next minute. */
export function sweep(app: CoreApp): void {
  const duties = {
    'following the journal': () => followJournal(app),
    'ending lapsed leases': () => app.runInTransaction((tx) => endLapsedLeases(tx, notedMaxRetries(tx), Date.now())),
    'queueing unleased checks': () => requeueUnleased(app),
    'deleting orphaned checks': () => deleteOrphans(app),
    'making missing checks': () => createMissingChecks(app),
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

/** Gives every build that has none a check. The search, which reads all builds, holds up no writer. */
export function createMissingChecks(app: CoreApp): void {
  const builds = buildsCollectionId(app);
  const missing = idsOf(app, `SELECT b.id AS id FROM \`${tableOf(app)}\` b LEFT JOIN ${CHECKS} c ON c.build = b.id WHERE c.id IS NULL`, {});
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

/** Checks whose build was deleted by raw SQL, which cascades to nothing. */
function deleteOrphans(app: CoreApp): void {
  const orphans = idsOf(app, `SELECT c.id AS id FROM ${CHECKS} c LEFT JOIN \`${tableOf(app)}\` b ON b.id = c.build WHERE b.id IS NULL`, {});
  inBatch(app, orphans, (tx, id) => {
    for (const check of recordsOf(tx, [id])) tx.delete(check);
  });
}

function requeueUnleased(app: CoreApp): void {
  inBatch(app, idsOf(app, `SELECT id FROM ${CHECKS} WHERE status = 'scanning' AND lease_until = ''`, {}), (tx, id) => {
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

/** All in one transaction; where that fails, each in its own, so that one bad row does not keep the others from their turn. */
function inBatch(app: CoreApp, ids: readonly string[], work: (tx: CoreApp, id: string) => void): void {
  if (ids.length === 0) return;
  try {
    app.runInTransaction((tx) => {
      for (const id of ids) work(tx, id);
    });
  } catch (error) {
    if (ids.length === 1) return void app.logger().error('av: the sweep could not mend a row', 'id', ids[0], 'error', String(error));
    for (const id of ids) inBatch(app, [id], work);
  }
}

function tableOf(app: CoreApp): string {
  return app.findCachedCollectionByNameOrId(buildsCollectionId(app)).name;
}
