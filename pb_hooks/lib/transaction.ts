/** Transactions whose end is told from that of other hooks. */

/**
 * Runs `work` in one transaction. PocketBase also throws where that is committed and a hook of the host fails afterwards: what is stored
 * stays so, and whoever asked must not be told otherwise. `isStored` looks whether what was written can be read back.
 */
export function runStored(app: CoreApp, work: (tx: CoreApp) => void, isStored: () => boolean): void {
  let worked = false;
  try {
    app.runInTransaction((tx) => {
      worked = false;
      work(tx);
      worked = true;
    });
  } catch (error) {
    if (!worked || app.isTransactional() || !isStored()) throw error;
    app.logger().error('av: a hook failed after the commit; what was written is stored', 'error', String(error));
  }
}
