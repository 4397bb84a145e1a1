/** How many builds were open until a rescan found something in them, since PocketBase started. */
import type { HistoryEvent } from './history-entry.ts';

const COUNT = 'av.foundLater';

export function foundLaterCount(app: CoreApp): number {
  return Number(app.store().get(COUNT) ?? 0);
}

/** To be called once the transaction is committed that wrote these events. */
export function noteFoundLater(app: CoreApp, events: readonly HistoryEvent[]): void {
  const found = events.filter((event) => event.event === 'settled' && event.status === 'infected' && event.wasOpen && !event.open).length;
  if (found > 0) app.store().setFunc(COUNT, (count: unknown) => String(Number(count ?? 0) + found));
}
