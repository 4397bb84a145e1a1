/**
 * The rule for the next state of a check, and the only place that decides `open`.
 * Pure: times are milliseconds by PocketBase's clock, a patch holds just what changes.
 */
import type { GiveBackCode, Reason, UnscannableReason } from './reasons.ts';
import { nextRescanAt } from './rescan-schedule.ts';

export type Status = 'pending' | 'scanning' | 'clean' | 'infected' | 'error';
export const statuses: readonly Status[] = ['pending', 'scanning', 'clean', 'infected', 'error'];

/** What the rules read and write of a check; dates are 0 where they are not set. */
interface Shared {
  status: Status;
  reason: Reason | '';
  virusName: string;
  revision: number;
  /** Counted failures since the last verdict. */
  attempts: number;
  /** Leases in a row that ran out before a byte was asked for. */
  lapses: number;
  /** Retried alone, because it may have been what stopped the engine. */
  suspect: boolean;
  rescanAt: number;
  /** When its present files got their first verdict. */
  judgedAt: number;
  /** Since when it waits for a verdict. */
  pendingSince: number;
  /** Kept after the lease has ended, so that a repeated settle is recognised. */
  leaseToken: string;
  worker: string;
  /** A person's e-mail, or `policy:` and the formats that a policy lets through. */
  releasedBy: string;
  /** Who took a release back; no policy opens the same findings again. */
  shutBy: string;
}

/** What they read. */
export interface CheckState extends Shared {
  /** What was found when it was released or shut by a person, as one text; '' where it is neither. */
  findings: string;
}

/** An operator's standing order to let through what cannot be judged, as it applies to one build. */
export interface Policy {
  /** `policy:` and the formats of this build that it allows. */
  by: string;
  /** The reason of the release, as a sentence. */
  note: string;
}

/** What they write. */
export interface Patch extends Partial<Shared> {
  open?: boolean;
  notBefore?: number;
  leaseUntil?: number;
  /** When to see whether there are newer signatures than those that judged it. */
  revisitAt?: number;
  releasedAt?: number;
  releaseReason?: string;
  /** When it was settled. */
  scanTime?: number;
}

/** The third lease in a row that runs out unbegun is counted: the check may kill its worker before it opens a file. */
const UNCOUNTED_LAPSES = 2;
const BACKOFF_BASE_MS = 2_000;
const BACKOFF_CAP_MS = 300_000;
/** The least that an overload delays a check. */
const OVERLOAD_MS = 5_000;
const RESCAN_BACKOFF_MS = 24 * 3_600_000;

const noRelease: Patch = { releasedBy: '', releasedAt: 0, releaseReason: '' };
const noDecision: Patch = { ...noRelease, shutBy: '' };
const noLease: Patch = { leaseToken: '', leaseUntil: 0, worker: '' };
const endedLease: Patch = { leaseUntil: 0, worker: '' };
const noFailures: Patch = { attempts: 0, lapses: 0, suspect: false, notBefore: 0 };

/** A check that begins: waiting, or `no-files` where there is nothing to judge. Closed in any case. */
export function begin(hasFiles: boolean, revision: number, now: number): Patch {
  return {
    ...noDecision,
    ...noLease,
    ...noFailures,
    status: hasFiles ? 'pending' : 'error',
    reason: hasFiles ? '' : 'no-files',
    open: false,
    virusName: '',
    scanTime: 0,
    rescanAt: 0,
    judgedAt: 0,
    revisitAt: 0,
    revision,
    pendingSince: hasFiles ? now : 0,
  };
}

/** The check of the probe of the gate: nothing that is done to it or to its build ever opens it. */
export function probe(revision: number, now: number): Patch {
  return { ...begin(false, revision, now), reason: 'probe' };
}

/**
 * The files of the build changed. Added (or replaced): a new obligation, whatever was said before. Removed: the same unless the
 * verdict is `clean`, which holds for every file that is left. Null: nothing changes.
 */
export function filesChanged(state: CheckState, change: 'added' | 'removed', hasFiles: boolean, now: number): Patch | null {
  if (change === 'removed' && state.status === 'clean' && hasFiles) return null;
  if (isProbe(state)) return probe(state.revision + (change === 'added' ? 1 : 0), now);
  return begin(hasFiles, state.revision + (change === 'added' ? 1 : 0), now);
}

/** Someone begins to work on it. A rescan keeps its status, and so its gate, until the next verdict. */
export function claimed(state: CheckState, lease: { token: string; until: number; worker: string }): Patch {
  const taken: Patch = { leaseToken: lease.token, leaseUntil: lease.until, worker: lease.worker };
  return isRescan(state) ? taken : { ...taken, status: 'scanning' };
}

/** Whether a claim of it would be, or is, a rescan of something judged before. */
export function isRescan(state: Pick<CheckState, 'status'>): boolean {
  return state.status !== 'pending' && state.status !== 'scanning';
}

/** Its lease ran out. `begun`: the files were asked for under that lease, so the check itself may be the cause. */
export function lapsed(state: CheckState, begun: boolean, maxRetries: number, now: number, jitter: number): Patch {
  if (begun || state.lapses >= UNCOUNTED_LAPSES) {
    const failed = counted(state, 'lease-expired', maxRetries, now, jitter);
    return { suspect: true, ...failed, ...noLease };
  }
  return { ...requeued(state), ...noLease, lapses: state.lapses + 1 };
}

/** Its worker ended the lease without a verdict. `jitter` is from 0 to 1. */
export function gaveBack(state: CheckState, code: GiveBackCode, maxRetries: number, now: number, jitter: number): Patch {
  switch (code) {
    case 'engine-unavailable':
    case 'interrupted':
      return { ...requeued(state), ...endedLease };
    case 'engine-busy':
    case 'store-unavailable':
      return { ...requeued(state), ...endedLease, ...delayed(state, now, jitter) };
    case 'engine-reply':
      // The first time it was one of several in flight; a suspect was alone, so nothing else can have been the cause.
      if (!state.suspect) return { ...requeued(state), ...endedLease, suspect: true };
      return { ...counted(state, code, maxRetries, now, jitter), ...endedLease };
    case 'download':
    case 'download:missing':
    case 'unexpected':
      return { ...counted(state, code, maxRetries, now, jitter), ...endedLease };
    default:
      return code satisfies never;
  }
}

/** Whether what `lapsed` or `gaveBack` answered is the end of its retries. Nothing else sets no attempts at all. */
export function hasGivenUp(patch: Patch): boolean {
  return patch.status === 'error' || patch.attempts === 0;
}

/**
 * An engine's verdict replaces whatever was said before. `clean` opens; a person's decision survives only the finding it was given for.
 * `policy` is the one that allows every file of an unscannable build which is not clean; `jitter`, from 0 to 1, spreads the next look.
 */
export function settled(
  state: CheckState,
  verdict: { kind: 'clean' } | { kind: 'infected'; virusName: string } | { kind: 'unscannable'; reason: UnscannableReason },
  findings: string,
  now: number,
  policy: Policy | null = null,
  jitter = 0,
): Patch {
  const judgedAt = state.judgedAt || now;
  const next: Patch = { rescanAt: 0, judgedAt, revisitAt: nextRescanAt(judgedAt, now, jitter) };
  const ended: Patch = { ...noFailures, ...endedLease, ...next, pendingSince: 0, scanTime: now };
  switch (verdict.kind) {
    case 'clean':
      return { ...ended, ...noDecision, status: 'clean', open: true, reason: '', virusName: '' };
    case 'infected': {
      const kept = isSame(state, 'infected', findings) && isReleasedByPerson(state);
      return { ...ended, ...(kept ? {} : noDecision), status: 'infected', open: kept, reason: '', virusName: verdict.virusName };
    }
    case 'unscannable': {
      const gate = gateOfUnscannable(state, isSame(state, 'error', findings), policy, now);
      return { ...ended, ...gate, status: 'error', reason: verdict.reason, virusName: '' };
    }
    default:
      return verdict satisfies never;
  }
}

function gateOfUnscannable(state: CheckState, same: boolean, policy: Policy | null, now: number): Patch {
  if (same && isReleasedByPerson(state)) return { open: true };
  if (same && state.shutBy !== '') return { ...noRelease, open: false };
  if (policy === null) return { ...noDecision, open: false };
  return same && state.releasedBy === policy.by ? { open: true } : { ...releasedTo(policy, now), shutBy: '' };
}

/** A policy that came after the verdict opens it, unless a person decided about it. Null: nothing changes. */
export function policyReleased(state: CheckState, policy: Policy, now: number): Patch | null {
  if (state.status !== 'error' || !state.reason.startsWith('unscannable:')) return null;
  return state.releasedBy === '' && state.shutBy === '' ? releasedTo(policy, now) : null;
}

/** The policy that opened it is taken away. Null: it was no policy. */
export function policyRevoked(state: CheckState): Patch | null {
  return isPolicy(state.releasedBy) ? { ...noRelease, open: false } : null;
}

/**
 * An engine that judged it was lying, so nothing that it said counts: what was clean waits for a new verdict, what was closed is looked
 * at again. A person's release stands by itself; a policy's needed the engine to have found nothing. Null: nothing changes.
 */
export function voided(state: CheckState, now: number): Patch | null {
  if (!isRescan(state)) return null;
  if (state.status === 'clean') return begin(true, state.revision, now);
  const again = rescanAsked(state, now);
  if (isPolicy(state.releasedBy)) return { ...noRelease, ...(typeof again === 'string' ? {} : again), open: false };
  return typeof again === 'string' ? null : again;
}

/** Why a person's decision changes nothing. The `already_…` are no refusals: what was asked for is so. */
export type DecisionCode = 'not_releasable' | 'already_released' | 'not_released' | 'already_waiting' | 'nothing_to_scan';

/** A person opens it in spite of the verdict. A build without files has nothing to let out. */
export function released(state: CheckState, by: string, reason: string, now: number): Patch | DecisionCode {
  if ((state.status !== 'infected' && state.status !== 'error') || hasNothingToScan(state)) return 'not_releasable';
  if (state.releasedBy !== '') return 'already_released';
  return { ...releasedTo({ by, note: reason }, now), shutBy: '' };
}

/** A person takes a release back. No policy opens it again while its findings stay the same. */
export function revoked(state: CheckState, by: string): Patch | DecisionCode {
  if (state.releasedBy === '') return 'not_released';
  return { ...noRelease, open: state.status === 'clean', shutBy: state.status === 'error' ? by : '' };
}

/** What may have been the end of the engine or of its worker: a scan that a person asks for has nothing else beside it. */
const LETHAL: readonly (Reason | '')[] = ['engine-reply', 'lease-expired'];

/** A person wants it looked at again. Its status, and so its gate, stays as it is until the verdict; a release may outlive it. */
export function rescanAsked(state: CheckState, now: number): Patch | DecisionCode {
  if (!isRescan(state)) return 'already_waiting';
  if (hasNothingToScan(state)) return 'nothing_to_scan';
  if (state.rescanAt !== 0 && state.rescanAt <= now) return 'already_waiting';
  return { rescanAt: now, attempts: 0, lapses: 0, suspect: state.suspect || LETHAL.includes(state.reason) };
}

/**
 * Nobody asked, but time has passed: with `newer` signatures than those that judged it it is scanned again, be it clean (they may find
 * something), infected (they may know it for a false alarm) or not to be judged (a finding counts all the same). Without, it is looked
 * at again later. What has no verdict, or waits for a scan already, needs neither.
 */
export function revisited(state: CheckState, newer: boolean, now: number, jitter: number): Patch {
  if (!isRescan(state) || state.judgedAt === 0 || state.rescanAt !== 0) return { revisitAt: 0 };
  if (!newer) return { revisitAt: nextRescanAt(state.judgedAt, now, jitter) };
  return { rescanAt: now, revisitAt: 0, attempts: 0, lapses: 0 };
}

/** It says that it is being scanned while nobody holds a lease on it: someone changed the row by hand. */
export function unleased(state: CheckState, now: number): Patch {
  return { ...noLease, status: 'pending', open: false, pendingSince: state.pendingSince || now };
}

/** The database is older than what was found in it since: whatever it says no longer counts. */
export function outdated(now: number): Patch {
  const { revision: _, ...patch } = begin(true, 0, now);
  return patch;
}

/** A verdict of an older installation, taken over. Trusted or not, it is scanned again: at leisure, or before it opens. */
export function imported(status: Status, virusName: string, trustClean: boolean, hasFiles: boolean, now: number): Patch {
  if (status === 'infected') return { ...begin(true, 0, now), status, virusName, pendingSince: 0, rescanAt: now };
  if (status === 'clean' && trustClean && hasFiles) return { ...begin(true, 0, now), status, open: true, pendingSince: 0, rescanAt: now };
  return begin(hasFiles, 0, now);
}

function isProbe(state: CheckState): boolean {
  return state.status === 'error' && state.reason === 'probe';
}

function hasNothingToScan(state: CheckState): boolean {
  return state.reason === 'no-files' || isProbe(state);
}

/** Whether a policy released it, not a person. */
export function isPolicy(releasedBy: string): boolean {
  return releasedBy.startsWith('policy:');
}

function releasedTo({ by, note }: Policy, now: number): Patch {
  return { open: true, releasedBy: by, releasedAt: now, releaseReason: note };
}

function isReleasedByPerson(state: CheckState): boolean {
  return state.releasedBy !== '' && !isPolicy(state.releasedBy);
}

/** A decision about no finding at all, after a scan that failed, holds for none. */
function isSame(state: CheckState, status: Status, findings: string): boolean {
  return state.status === status && state.findings !== '' && state.findings === findings;
}

function requeued(state: CheckState): Patch {
  return isRescan(state) ? { lapses: 0 } : { lapses: 0, status: 'pending' };
}

/** Somebody has too much to do, or no room, which is no fault of the check: a quarter of the time that it has waited already. */
function delayed(state: CheckState, now: number, jitter: number): Patch {
  const waited = now - (isRescan(state) ? state.rescanAt : state.pendingSince);
  const time = now + Math.round(Math.min(BACKOFF_CAP_MS, Math.max(OVERLOAD_MS, waited / 4)) * (1 + jitter / 4));
  return isRescan(state) ? { rescanAt: time } : { notBefore: time };
}

function counted(state: CheckState, reason: Reason, maxRetries: number, now: number, jitter: number): Patch {
  const attempts = state.attempts + 1;
  if (isRescan(state)) {
    if (attempts < maxRetries) return { lapses: 0, attempts, rescanAt: now + backoff(attempts, jitter) };
    // A clean build is open unseen by anybody, so it is tried again. About the others a person decides: each try may cost an engine.
    if (state.status === 'clean') return { lapses: 0, attempts: 0, rescanAt: now + RESCAN_BACKOFF_MS };
    return { ...noFailures, rescanAt: 0 };
  }
  if (attempts >= maxRetries) return { ...noFailures, attempts, status: 'error', reason, open: false, pendingSince: 0, scanTime: now };
  return { lapses: 0, attempts, status: 'pending', notBefore: now + backoff(attempts, jitter) };
}

function backoff(attempts: number, jitter: number): number {
  return Math.round(Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (attempts - 1)) * (1 + jitter / 4));
}
