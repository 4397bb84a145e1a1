/** Changing many rows without holding up other writers. */

/** Few enough that one transaction does not hold up other writers. */
export const BATCH = 200;

/** Every batch in a transaction of its own. */
export function inBatches(app: CoreApp, ids: readonly string[], work: (tx: CoreApp, id: string) => void): void {
  for (let from = 0; from < ids.length; from += BATCH) inBatch(app, ids.slice(from, from + BATCH), work);
}

/** All in one transaction; where that fails, each in its own, so that one bad row does not keep the others from their turn. */
export function inBatch(app: CoreApp, ids: readonly string[], work: (tx: CoreApp, id: string) => void): void {
  if (ids.length === 0) return;
  try {
    app.runInTransaction((tx) => {
      for (const id of ids) work(tx, id);
    });
  } catch (error) {
    if (ids.length === 1) return void app.logger().error('av: a row could not be changed', 'id', ids[0], 'error', String(error));
    for (const id of ids) inBatch(app, [id], work);
  }
}
