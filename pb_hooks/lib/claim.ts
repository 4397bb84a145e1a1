/** POST /api/av/claim and /renew: taking and keeping the right to work on checks. */
import { apply, buildsCollectionId, CHECKS, fileNames, stateOf } from './checks.ts';
import { dateMs, dateText } from './dates.ts';
import { bodyOf, integer, objects } from './http.ts';
import {
  endLapsedLeases,
  forgetBegun,
  forgetRenewing,
  holds,
  idsOf,
  liveLeases,
  MAX_LEASE_SECONDS,
  noteMaxRetries,
  noteRenewing,
  recordsOf,
  savedOrSetAside,
} from './leases.ts';
import { noteSignatures } from './rescans.ts';
import { claimed, isRescan } from './rules.ts';
import { text } from './text.ts';
import { runStored } from './transaction.ts';
import type { ClaimAnswer, ClaimedCheck, RenewResult } from './wire.ts';

/** Suspect uploads that have waited this long go before new ones; a suspect rescan goes before none. */
const SUSPECT_PATIENCE_MS = 300_000;
/** Nothing waits longer before its next turn: a later moment is of a clock that was ahead. */
const MAX_DELAY_MS = 3_600_000;
const IS_ITS_TURN = "(not_before = '' OR not_before <= {:now} OR not_before > {:latest})";
/** Rescans that one worker holds: those that it claimed ahead would delay the next upload. */
const RESCANS_AT_ONCE = 8;
const TOKEN_LENGTH = 32;

interface Claim {
  worker: string;
  max: number;
  leaseMs: number;
  maxRetries: number;
  alone: boolean;
}

export function claim(e: core.RequestEvent): void {
  const body = bodyOf(e);
  const request: Claim = {
    worker: text(body['worker'], 100),
    max: integer(body, 'max', 1, 100),
    leaseMs: integer(body, 'leaseSeconds', 1, MAX_LEASE_SECONDS) * 1000,
    maxRetries: integer(body, 'maxRetries', 1, 100),
    alone: body['alone'] === true,
  };
  noteMaxRetries(e.app, request.maxRetries);
  noteSignatures(e.app, body['signatures'] === undefined ? null : integer(body, 'signatures', 1, 1_000_000_000));
  let answer: ClaimAnswer = { checks: [], drain: false };
  // Reading and writing under the one writer connection is what makes a claim exclusive.
  runStored(
    e.app,
    (tx) => {
      answer = take(tx, request, Date.now());
    },
    () => areHeld(e.app, answer.checks),
  );
  e.json(200, answer);
}

/** Whether all of these leases can be read back, until when they hold. */
function areHeld(app: CoreApp, leases: readonly { id: string; lease: string; leaseUntil: string }[]): boolean {
  const checks = new Map(
    recordsOf(
      app,
      leases.map(({ id }) => id),
    ).map((check) => [check.id, check]),
  );
  return leases.every(({ id, lease: token, leaseUntil }) => {
    const check = checks.get(id);
    return check !== undefined && holds(check, token) && dateMs(check.getString('lease_until')) === Date.parse(leaseUntil);
  });
}

function take(tx: CoreApp, request: Claim, now: number): ClaimAnswer {
  endLapsedLeases(tx, request.maxRetries, now);
  for (;;) {
    const { ids, drain } = choose(tx, request, now);
    const checks = recordsOf(tx, ids);
    const builds = new Map(findBuilds(tx, checks).map((build) => [build.id, build]));
    const taken: ClaimedCheck[] = [];
    for (const check of checks) {
      const build = builds.get(check.getString('build'));
      if (build) taken.push(...lease(tx, check, build, request, now));
      // Its build was deleted past PocketBase; left in place it would stand at the head of the queue for ever.
      else tx.delete(check);
    }
    if (taken.length > 0 || checks.length === 0) return { checks: taken, drain };
  }
}

/** New uploads, oldest first; overdue suspects before them; rescans last. A suspect is given only to someone who is alone. */
function choose(tx: CoreApp, request: Claim, now: number): { ids: string[]; drain: boolean } {
  const live = liveLeases(tx);
  if (live.suspect) return { ids: [], drain: false };
  const at = { now: dateText(now), latest: dateText(now + MAX_DELAY_MS), max: request.max };
  const suspect = dueSuspect(tx, now);
  const free = request.alone && live.count === 0;
  if (suspect?.overdue) return free ? { ids: [suspect.id], drain: false } : { ids: [], drain: true };
  const uploads = idsOf(
    tx,
    `SELECT id FROM ${CHECKS} INDEXED BY idx_av_build_checks_pending WHERE status = 'pending' AND suspect = FALSE AND ${IS_ITS_TURN}
     ORDER BY pending_since, id LIMIT {:max}`,
    at,
  );
  if (uploads.length > 0) return { ids: uploads, drain: false };
  if (suspect) return free ? { ids: [suspect.id], drain: false } : { ids: [], drain: true };
  const rescans = idsOf(
    tx,
    `SELECT id FROM ${CHECKS} INDEXED BY idx_av_build_checks_rescan WHERE rescan_at != '' AND rescan_at <= {:now} AND lease_until = '' AND suspect = FALSE
     AND status IN ('clean', 'infected', 'error') ORDER BY rescan_at, id LIMIT {:max}`,
    { ...at, max: Math.min(request.max, Math.max(0, RESCANS_AT_ONCE - heldRescans(tx, request.worker))) },
  );
  return { ids: rescans, drain: false };
}

function heldRescans(tx: CoreApp, worker: string): number {
  const row = new DynamicModel({ count: 0 });
  tx.db()
    .newQuery(
      `SELECT COUNT(*) AS count FROM ${CHECKS} INDEXED BY idx_av_build_checks_lease
       WHERE lease_until != '' AND worker = {:worker} AND status IN ('clean', 'infected', 'error')`,
    )
    .bind({ worker })
    .one(row);
  return Number(row['count']);
}

function dueSuspect(tx: CoreApp, now: number): { id: string; overdue: boolean } | null {
  const rows = arrayOf(new DynamicModel({ id: '', updated: '', status: '' }));
  // Its index by name: without statistics SQLite takes the one on status and reads every waiting or finished check.
  tx.db()
    .newQuery(
      `SELECT id, updated, status FROM ${CHECKS} INDEXED BY idx_av_build_checks_suspect WHERE suspect = TRUE AND lease_until = '' AND ${IS_ITS_TURN}
       AND (status = 'pending' OR (status != 'scanning' AND rescan_at != '' AND rescan_at <= {:now})) ORDER BY status = 'pending' DESC, updated, id LIMIT 1`,
    )
    .bind({ now: dateText(now), latest: dateText(now + MAX_DELAY_MS) })
    .all(rows);
  const row = rows[0];
  if (!row) return null;
  const isOld = String(row['updated']) < dateText(now - SUSPECT_PATIENCE_MS);
  return { id: String(row['id']), overdue: isOld && row['status'] === 'pending' };
}

function findBuilds(tx: CoreApp, checks: readonly core.Record[]): core.Record[] {
  if (checks.length === 0) return [];
  const ids = checks.map((check) => check.getString('build'));
  return tx.findRecordsByIds(buildsCollectionId(tx), ids).map((build) => build!);
}

/** None where a hook of the host refuses it. */
function lease(tx: CoreApp, check: core.Record, build: core.Record, request: Claim, now: number): ClaimedCheck[] {
  const state = stateOf(check);
  const token = $security.randomString(TOKEN_LENGTH);
  const until = now + request.leaseMs;
  apply(check, claimed(state, { token, until, worker: request.worker }));
  if (!savedOrSetAside(tx, check, state, now)) return [];
  const leased = {
    id: check.id,
    build: build.id,
    attempts: state.attempts,
    suspect: state.suspect,
    rescan: isRescan(state),
    lease: token,
    leaseUntil: new Date(until).toISOString(),
    waited: Math.max(0, now - (isRescan(state) ? state.rescanAt : state.pendingSince)) / 1000,
    files: fileNames(build).map((name) => ({ name, size: 0 })),
  };
  return [leased];
}

export function renew(e: core.RequestEvent): void {
  const body = bodyOf(e);
  const leaseMs = integer(body, 'leaseSeconds', 1, MAX_LEASE_SECONDS) * 1000;
  const leases = objects(body, 'leases', 500).map((item) => ({ id: text(item['id'], 50), token: text(item['lease'], 100) }));
  const tokens = leases.map(({ token }) => token);
  noteRenewing(e.app, tokens);
  try {
    e.json(200, { results: renewAll(e.app, leases, leaseMs) });
  } finally {
    forgetRenewing(e.app, tokens);
  }
}

function renewAll(app: CoreApp, leases: readonly { id: string; token: string }[], leaseMs: number): RenewResult[] {
  let results: RenewResult[] = [];
  const write = (tx: CoreApp) => {
    const now = Date.now();
    const until = now + leaseMs;
    const checks = new Map(
      recordsOf(
        tx,
        leases.map(({ id }) => id),
      ).map((check) => [check.id, check]),
    );
    results = leases.map(({ id, token }) => {
      const check = checks.get(id);
      if (!check || !holds(check, token)) return { id, ok: false, code: 'lease_lost' };
      // So late its worker may have given it up meanwhile: only what it asks for from now on is held against the check.
      if (dateMs(check.getString('lease_until')) < now) forgetBegun(tx, token);
      apply(check, { leaseUntil: until });
      tx.saveNoValidate(check);
      return { id, ok: true, leaseUntil: new Date(until).toISOString() };
    });
  };
  const renewed = () =>
    leases.flatMap(({ token }, i) => {
      const { id, leaseUntil } = results[i]!;
      return leaseUntil === undefined ? [] : [{ id, lease: token, leaseUntil }];
    });
  runStored(app, write, () => areHeld(app, renewed()));
  return results;
}
