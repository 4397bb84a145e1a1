/** POST /api/av/settle: verdicts and give-backs, each accepted only from whoever holds the lease. */
import { appendLog, appendStory, apply, buildsCollectionId, fileNames, findingsOf, stateOf } from './checks.ts';
import { forgetFinished } from './counts.ts';
import { exposureOf } from './downloads.ts';
import { noteFoundLater } from './found-later.ts';
import { appendHistory, areStored, failedEvent, type HistoryRow } from './history.ts';
import { type HistoryEvent, waitedSeconds } from './history-entry.ts';
import { bodyOf, integer, objects } from './http.ts';
import { keepClosings } from './journal.ts';
import { forgetBegun, hasEnded, holds, noteMaxRetries, recordsOf } from './leases.ts';
import { policyFor, readPolicy } from './policy.ts';
import { type CheckState, gaveBack, hasGivenUp, isRescan, type Patch, settled } from './rules.ts';
import { allowUnscannable } from './settings.ts';
import { readSettleItem } from './settle-item.ts';
import { runStored } from './transaction.ts';
import { voidedAmong } from './void-record.ts';
import type { SettleItem, SettleResult } from './wire.ts';

const MAX_ITEMS = 100;

type Decision = Omit<HistoryEvent, 'check' | 'build'>;
type VerdictItem = Extract<SettleItem, { verdict: string }>;

/** What settling an item needs beside its check. */
interface Setting {
  tx: CoreApp;
  maxRetries: number;
  /** Of what may be opened. */
  builds: ReadonlyMap<string, core.Record>;
  /** Checks about which a lying engine has said something. */
  voided: ReadonlySet<string>;
  /** Formats that a policy lets through. */
  allowed: ReadonlySet<string>;
  /** Grows with what is decided. */
  events: HistoryEvent[];
}

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
  const events: HistoryEvent[] = [];
  const write = (tx: CoreApp) => {
    const checks = new Map(
      recordsOf(
        tx,
        items.map(({ id }) => id),
      ).map((check) => [check.id, check]),
    );
    const { allowed } = readPolicy(allowUnscannable());
    const setting = { tx, maxRetries, builds: buildsOf(tx, items, checks, allowed), voided: voidedAmong(tx, items), allowed, events };
    results = items.map((item) => {
      if ('ok' in item) return item;
      const result = settleOne(setting, item, checks.get(item.id));
      tokens.push(item.lease);
      return result;
    });
    rows = appendHistory(tx, events);
  };
  runStored(app, write, () => areStored(app, rows));
  keepClosings(app, rows);
  forgetFinished(app);
  noteFoundLater(app, events);
  for (const token of tokens) forgetBegun(app, token);
  return results;
}

/** Builds are needed only where something is to be opened. */
function buildsOf(
  tx: CoreApp,
  items: readonly (SettleItem | SettleResult)[],
  checks: ReadonlyMap<string, core.Record>,
  allowed: ReadonlySet<string>,
): Map<string, core.Record> {
  const ids = items.flatMap((item) => {
    const check = checks.get(item.id);
    if (!('verdict' in item) || !check) return [];
    return item.verdict === 'clean' || policyFor(item.files, allowed) ? [check.getString('build')] : [];
  });
  if (ids.length === 0) return new Map();
  return new Map(tx.findRecordsByIds(buildsCollectionId(tx), ids).map((build) => [build!.id, build!]));
}

function settleOne(setting: Setting, item: SettleItem, check: core.Record | undefined): SettleResult {
  if (check && hasEnded(check, item.lease) && ended(check, item)) return { id: item.id, ok: true, status: check.getString('status') };
  if (!check || !holds(check, item.lease)) return { id: item.id, ok: false, code: 'lease_lost' };
  const isVoid = setting.voided.has(item.id);
  // A finding shuts the gate, whoever made it.
  if (isVoid && 'verdict' in item && item.verdict !== 'infected') return refuseVoided(setting, item, check);
  const build = check.getString('build');
  if ('verdict' in item && item.verdict === 'clean') {
    const missed = unjudged(item.files, setting.builds.get(build));
    if (missed) return { id: item.id, ok: false, code: 'invalid', message: missed };
  }
  const events = 'giveBack' in item ? giveBack(check, item, setting.maxRetries) : judge(setting, check, item);
  if (isVoid) apply(check, { rescanAt: Date.now() });
  setting.tx.saveNoValidate(check);
  setting.events.push(...events.map((event) => ({ ...event, check: check.id, build })));
  return { id: item.id, ok: true, status: check.getString('status') };
}

/** An engine that took part has lied since: the lease ends as if it had not been there. */
function refuseVoided({ tx, maxRetries }: Setting, item: VerdictItem, check: core.Record): SettleResult {
  giveBack(check, { id: item.id, lease: item.lease, log: item.log, giveBack: 'engine-unavailable' }, maxRetries);
  appendLog(check, Date.now(), 'An engine that took part has answered a canary wrongly since, so this does not count.');
  tx.saveNoValidate(check);
  return { id: item.id, ok: false, code: 'voided', status: check.getString('status') };
}

/** Whether the check stands as this item left it: a lost answer makes a worker say the same again, never something else. */
function ended(check: core.Record, item: SettleItem): boolean {
  if ('giveBack' in item) return true;
  return check.getString('status') === (item.verdict === 'unscannable' ? 'error' : item.verdict);
}

/**
 * The worker is not believed that a build may be opened unless it names every file that the build has now: as clean, or of a format that
 * is `allowed`.
 */
function unjudged(files: VerdictItem['files'], build: core.Record | undefined): string | null {
  if (!build) return 'The build is gone.';
  const judged = new Set(files.map(({ name }) => name));
  const missing = fileNames(build).filter((name) => !judged.has(name));
  return missing.length > 0 || judged.size === 0 ? `No verdict for ${missing.length} of the files of the build.` : null;
}

function giveBack(check: core.Record, item: Extract<SettleItem, { giveBack: string }>, maxRetries: number): Decision[] {
  const state = stateOf(check);
  const now = Date.now();
  const patch = gaveBack(state, item.giveBack, maxRetries, now, Math.random());
  apply(check, patch, state);
  appendStory(check, item.log);
  return hasGivenUp(patch) ? [failedEvent(check, state, item.giveBack, now)] : [];
}

function judge(setting: Setting, check: core.Record, item: VerdictItem): Decision[] {
  const state = stateOf(check);
  const now = Date.now();
  const wasOpen = isRescan(state) ? check.getBool('open') : undefined;
  const policy = unjudged(item.files, setting.builds.get(check.getString('build'))) ? null : policyFor(item.files, setting.allowed);
  const patch = settled(state, verdictOf(item), findingsOf(item.files), now, policy, Math.random());
  const closed = wasOpen && patch.open === false ? exposureOf(setting.tx, check, now) : {};
  apply(check, patch, state);
  check.set('files', JSON.stringify(item.files));
  check.set('engine', JSON.stringify(item.engine));
  check.set('signatures', item.engine.signatures === 'test' ? 0 : item.engine.signatures);
  appendStory(check, item.log);
  const verdict: Decision = {
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
    ...closed,
    worker: state.worker,
  };
  return [verdict, ...releaseOf(check, state, patch, now)];
}

/** The release that a verdict brought with it, by a policy. */
function releaseOf(check: core.Record, { revision }: CheckState, patch: Patch, now: number): Decision[] {
  const { releasedBy: by, releaseReason: note, status, reason } = patch;
  if (!by || !note || !status) return [];
  appendLog(check, now, `Released by ${by}: ${note}`);
  return [{ event: 'released', status, open: true, reason: reason || undefined, revision, by, note }];
}

function verdictOf(item: VerdictItem): Parameters<typeof settled>[1] {
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
