/** POST /api/av/settle: verdicts and give-backs, each accepted only from whoever holds the lease. */
import { appendStory, apply, buildsCollectionId, fileNames, findingsOf, stateOf } from './checks.ts';
import { forgetFinished } from './counts.ts';
import { appendHistory, failedEvent, type HistoryRow } from './history.ts';
import { type HistoryEvent, waitedSeconds } from './history-entry.ts';
import { bodyOf, integer, objects } from './http.ts';
import { keepClosings } from './journal.ts';
import { forgetBegun, hasEnded, holds, noteMaxRetries, recordsOf } from './leases.ts';
import { gaveBack, hasGivenUp, isRescan, settled } from './rules.ts';
import { readSettleItem } from './settle-item.ts';
import type { SettleItem, SettleResult } from './wire.ts';

const MAX_ITEMS = 100;

type Decision = Omit<HistoryEvent, 'check' | 'build'>;

export function settle(e: core.RequestEvent): void {
  const body = bodyOf(e);
  const maxRetries = integer(body, 'maxRetries', 1, 100);
  const items = objects(body, 'results', MAX_ITEMS).map(readSettleItem);
  noteMaxRetries(e.app, maxRetries);
  e.json(200, { results: settleAll(e.app, items, maxRetries) });
}

/** All in one transaction. Where that fails, each in its own, so that one bad item cannot keep the others from their end. */
function settleAll(app: CoreApp, items: readonly (SettleItem | SettleResult)[], maxRetries: number): SettleResult[] {
  try {
    return inTransaction(app, items, maxRetries);
  } catch (error) {
    if (items.length === 1) throw error;
    app.logger().warn('av: settling a list failed, settling one by one', 'items', items.length, 'error', String(error));
    return items.flatMap((item) => {
      try {
        return inTransaction(app, [item], maxRetries);
      } catch (itemError) {
        return [{ id: item.id, ok: false, code: 'invalid', message: String(itemError) }];
      }
    });
  }
}

function inTransaction(app: CoreApp, items: readonly (SettleItem | SettleResult)[], maxRetries: number): SettleResult[] {
  let results: SettleResult[] = [];
  const tokens: string[] = [];
  let rows: HistoryRow[] = [];
  app.runInTransaction((tx) => {
    const checks = new Map(
      recordsOf(
        tx,
        items.map(({ id }) => id),
      ).map((check) => [check.id, check]),
    );
    const builds = buildsOf(tx, items, checks);
    const events: HistoryEvent[] = [];
    results = items.map((item) => {
      if ('ok' in item) return item;
      const result = settleOne(tx, item, checks.get(item.id), builds, maxRetries, events);
      tokens.push(item.lease);
      return result;
    });
    rows = appendHistory(tx, events);
  });
  keepClosings(app, rows);
  forgetFinished(app);
  for (const token of tokens) forgetBegun(app, token);
  return results;
}

/** Builds are needed only where something is to be opened. */
function buildsOf(
  tx: CoreApp,
  items: readonly (SettleItem | SettleResult)[],
  checks: ReadonlyMap<string, core.Record>,
): Map<string, core.Record> {
  const ids = items.flatMap((item) => {
    const check = checks.get(item.id);
    return 'verdict' in item && item.verdict === 'clean' && check ? [check.getString('build')] : [];
  });
  if (ids.length === 0) return new Map();
  return new Map(tx.findRecordsByIds(buildsCollectionId(tx), ids).map((build) => [build!.id, build!]));
}

function settleOne(
  tx: CoreApp,
  item: SettleItem,
  check: core.Record | undefined,
  builds: ReadonlyMap<string, core.Record>,
  maxRetries: number,
  events: HistoryEvent[],
): SettleResult {
  if (check && hasEnded(check, item.lease) && ended(check, item)) return { id: item.id, ok: true, status: check.getString('status') };
  if (!check || !holds(check, item.lease)) return { id: item.id, ok: false, code: 'lease_lost' };
  const build = check.getString('build');
  if ('verdict' in item && item.verdict === 'clean') {
    const missed = unjudged(item.files, builds.get(build));
    if (missed) return { id: item.id, ok: false, code: 'invalid', message: missed };
  }
  const event = 'giveBack' in item ? giveBack(check, item, maxRetries) : judge(check, item);
  appendStory(check, item.log);
  tx.saveNoValidate(check);
  if (event) events.push({ ...event, check: check.id, build });
  return { id: item.id, ok: true, status: check.getString('status') };
}

/** Whether the check stands as this item left it: a lost answer makes a worker say the same again, never something else. */
function ended(check: core.Record, item: SettleItem): boolean {
  if ('giveBack' in item) return true;
  return check.getString('status') === (item.verdict === 'unscannable' ? 'error' : item.verdict);
}

/** The worker is not believed that a build is clean unless it names every file that the build has now. */
function unjudged(files: Extract<SettleItem, { verdict: string }>['files'], build: core.Record | undefined): string | null {
  if (!build) return 'The build is gone.';
  const clean = new Set(files.filter(({ verdict }) => verdict === 'clean').map(({ name }) => name));
  const missing = fileNames(build).filter((name) => !clean.has(name));
  return missing.length > 0 || clean.size === 0 ? `No clean verdict for ${missing.length} of the files of the build.` : null;
}

function giveBack(check: core.Record, item: Extract<SettleItem, { giveBack: string }>, maxRetries: number): Decision | null {
  const state = stateOf(check);
  const now = Date.now();
  const patch = gaveBack(state, item.giveBack, maxRetries, now, Math.random());
  apply(check, patch, state);
  return hasGivenUp(patch) ? failedEvent(check, state, item.giveBack, now) : null;
}

function judge(check: core.Record, item: Extract<SettleItem, { verdict: string }>): Decision {
  const state = stateOf(check);
  const now = Date.now();
  const wasOpen = isRescan(state) ? check.getBool('open') : undefined;
  apply(check, settled(state, verdictOf(item), findingsOf(item.files), now), state);
  check.set('files', JSON.stringify(item.files));
  check.set('engine', JSON.stringify(item.engine));
  return {
    event: 'settled',
    status: check.getString('status'),
    open: check.getBool('open'),
    reason: item.reason,
    virusName: item.virusName,
    rescan: isRescan(state),
    revision: state.revision,
    engine: item.engine,
    files: item.files,
    waited: waitedSeconds(state, now),
    wasOpen,
    worker: state.worker,
  };
}

function verdictOf(item: Extract<SettleItem, { verdict: string }>): Parameters<typeof settled>[1] {
  switch (item.verdict) {
    case 'clean':
      return { kind: 'clean' };
    case 'infected':
      return { kind: 'infected', virusName: item.virusName! };
    case 'unscannable':
      return { kind: 'unscannable', reason: item.reason! };
    default:
      return item.verdict satisfies never;
  }
}
