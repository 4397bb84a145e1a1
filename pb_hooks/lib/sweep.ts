/** Every minute: what no notification told us. Rows made by raw SQL or before the hooks, checks deleted by hand, leases of the dead. */
import { apply, buildsCollectionId, CHECKS, fileNames, newCheck, stateOf } from './checks.ts';
import { endLapsedLeases, idsOf, notedMaxRetries, recordsOf } from './leases.ts';
import { notifyQuietly } from './notify.ts';
import { begin } from './rules.ts';

/** Few enough that one transaction does not hold up other writers. */
const BATCH = 200;

export function sweep(app: CoreApp): void {
  const created = createMissingChecks(app);
  app.runInTransaction((tx) => {
    endLapsedLeases(tx, notedMaxRetries(tx), Date.now());
    requeueUnleased(tx);
  });
  const waiting = idsOf(app, `SELECT build AS id FROM ${CHECKS} WHERE status = 'pending' ORDER BY pending_since LIMIT 1`, {})[0];
  if (waiting) notifyQuietly(app, waiting);
  if (created > 0) app.logger().info('av: builds without a check were found and queued', 'builds', created);
}

/** Gives every build that has none a check; answers how many. */
export function createMissingChecks(app: CoreApp): number {
  const table = app.findCollectionByNameOrId(buildsCollectionId(app)).name;
  const sql = `SELECT b.id AS id FROM \`${table}\` b LEFT JOIN ${CHECKS} c ON c.build = b.id WHERE c.id IS NULL LIMIT ${BATCH}`;
  let created = 0;
  for (;;) {
    let batch = 0;
    app.runInTransaction((tx) => {
      const ids = idsOf(tx, sql, {});
      batch = ids.length;
      for (const build of batch === 0 ? [] : tx.findRecordsByIds(table, ids)) {
        const check = newCheck(tx, build!.id);
        apply(check, begin(fileNames(build!).length > 0, 1, Date.now()));
        tx.saveNoValidate(check);
      }
    });
    created += batch;
    if (batch < BATCH) return created;
  }
}

/** A check that says it is being scanned while nobody holds a lease on it was changed by hand. */
function requeueUnleased(tx: CoreApp): void {
  for (const check of recordsOf(
    tx,
    idsOf(tx, `SELECT id FROM ${CHECKS} WHERE status = 'scanning' AND lease_until = '' LIMIT ${BATCH}`, {}),
  )) {
    const state = stateOf(check);
    apply(check, { status: 'pending', leaseToken: '', worker: '', pendingSince: state.pendingSince || Date.now() });
    tx.saveNoValidate(check);
  }
}
