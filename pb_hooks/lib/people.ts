/** POST /api/av/checks/{id}/release, /revoke and /rescan: what a superuser decides, on record in the same transaction. */
import { appendLog, apply, stateOf } from './checks.ts';
import { appendHistory, areStored, type HistoryRow, historyProblem } from './history.ts';
import type { HistoryEvent } from './history-entry.ts';
import { bodyOf, refusal } from './http.ts';
import { keepClosings } from './journal.ts';
import { recordsOf } from './leases.ts';
import { notifyQuietly } from './notify.ts';
import { type CheckState, type DecisionCode, type Patch, released, rescanAsked, revoked } from './rules.ts';
import { runStored } from './transaction.ts';
import type { DecisionAnswer } from './wire.ts';

const MIN_REASON = 3;
const MAX_REASON = 500;

/**
 * Code points from … to that a record cannot show as they were typed: control characters, line separators, marks of the writing
 * direction, and whatever else Unicode 17 calls a format character (Cf) or ignorable where it is shown, but for the variation selectors
 * that belong to emoji. Numbers, since goja knows no property classes in patterns.
 */
const UNPRINTABLE = [
  [0x00, 0x1f],
  [0x7f, 0x9f],
  [0xad, 0xad],
  [0x34f, 0x34f],
  [0x600, 0x605],
  [0x61c, 0x61c],
  [0x6dd, 0x6dd],
  [0x70f, 0x70f],
  [0x890, 0x891],
  [0x8e2, 0x8e2],
  [0x115f, 0x1160],
  [0x17b4, 0x17b5],
  [0x180b, 0x180f],
  [0x200b, 0x200f],
  [0x2028, 0x202e],
  [0x2060, 0x206f],
  [0x2800, 0x2800],
  [0x3164, 0x3164],
  [0xfeff, 0xfeff],
  [0xffa0, 0xffa0],
  [0xfff0, 0xfffb],
  [0x110bd, 0x110bd],
  [0x110cd, 0x110cd],
  [0x13430, 0x1343f],
  [0x1bca0, 0x1bca3],
  [0x1d173, 0x1d17a],
  [0xe0000, 0xe0fff],
] as const;
/** White space, and variation selectors. */
const UNSEEN = /^(\s|[\ufe00-\ufe0f])$/;

const UNWRITABLE = 'The decision could not be put on record, so nothing was changed. Look at the log and the disk of PocketBase.';

const refusals = {
  not_releasable: 'Only a build that was found infected, or could not be judged, can be released.',
  not_released: 'This build is not released.',
  nothing_to_scan: 'This build has no files, or is the probe of the gate.',
} as const satisfies { [C in DecisionCode]?: string };

interface Decision {
  event: Extract<HistoryEvent['event'], 'released' | 'revoked' | 'rescan-requested'>;
  /** For the log of the check, before who and why. */
  words: string;
  decide(state: CheckState, by: string, note: string, now: number): Patch | DecisionCode;
}

export function release(e: core.RequestEvent): void {
  decide(e, { event: 'released', words: 'Released', decide: released });
}

export function revoke(e: core.RequestEvent): void {
  decide(e, { event: 'revoked', words: 'Release taken back', decide: revoked });
}

/** The sidecar is told once the request is stored. */
export function rescan(e: core.RequestEvent): void {
  const { build, code } = decide(e, {
    event: 'rescan-requested',
    words: 'Scan asked for',
    decide: (state, _, __, now) => rescanAsked(state, now),
  });
  if (code === undefined) notifyQuietly(e.app, build);
}

function decide(e: core.RequestEvent, decision: Decision): DecisionAnswer {
  const body = bodyOf(e);
  const note = reasonOf(body);
  const problem = historyProblem();
  if (problem) throw refusal(503, problem, 'history', 'history_key_missing');
  const by = e.auth!.email();
  let answer: DecisionAnswer | undefined;
  let rows: HistoryRow[] = [];
  try {
    runStored(
      e.app,
      (tx) => {
        const check = recordsOf(tx, [e.request!.pathValue('id')])[0];
        if (!check) throw new NotFoundError();
        refuseStale(body, check);
        ({ answer, rows } = write(tx, check, decision, by, note));
      },
      () => areStored(e.app, rows),
    );
  } catch (error) {
    // In goja they are two classes, of which neither descends from the other.
    if (error instanceof ApiError || error instanceof NotFoundError) throw error;
    e.app.logger().error('av: a decision could not be stored', 'check', e.request!.pathValue('id'), 'error', String(error));
    throw refusal(503, UNWRITABLE, 'history', 'history_unwritable');
  }
  keepClosings(e.app, rows);
  e.json(200, answer);
  return answer!;
}

function write(
  tx: CoreApp,
  check: core.Record,
  decision: Decision,
  by: string,
  note: string,
): { answer: DecisionAnswer; rows: HistoryRow[] } {
  const now = Date.now();
  const state = stateOf(check);
  const patch = decision.decide(state, by, note, now);
  const build = check.getString('build');
  if (typeof patch === 'string') {
    if (patch in refusals) throw refusal(400, refusals[patch as keyof typeof refusals], 'check', patch);
    return { answer: { id: check.id, build, status: state.status, open: check.getBool('open'), code: patch }, rows: [] };
  }
  apply(check, patch, state);
  appendLog(check, now, `${decision.words} by ${by}: ${note}`);
  tx.saveNoValidate(check);
  const { status, reason, virusName, revision } = state;
  const open = check.getBool('open');
  const about = { check: check.id, build, status, open, reason: reason || undefined, virusName: virusName || undefined, revision };
  const rows = appendHistory(tx, [{ event: decision.event, ...about, by, note }]);
  return { answer: { id: check.id, build, status, open }, rows };
}

/** The trimmed reason. Throws 400 for one that says nothing or cannot be shown as it is. */
export function reasonOf(body: { [name: string]: unknown }): string {
  const raw = body['reason'];
  const reason = typeof raw === 'string' ? raw.trim() : '';
  const characters = Array.from(reason);
  const seen = characters.filter((character) => !UNSEEN.test(character)).length;
  if (seen < MIN_REASON || characters.length > MAX_REASON) {
    throw refusal(400, `reason must be a text of ${MIN_REASON} to ${MAX_REASON} characters.`, 'reason', 'invalid');
  }
  if (characters.some(isUnprintable)) {
    throw refusal(400, 'reason must be one line without control or invisible characters.', 'reason', 'invalid');
  }
  return reason;
}

/** Whether a record cannot show this character as it was typed. */
export function isUnprintable(character: string): boolean {
  const point = character.codePointAt(0)!;
  return UNPRINTABLE.some(([from, to]) => point >= from && point <= to);
}

/** Whoever names the scan they have looked at decides about no other: a rescan may have found something else meanwhile. */
function refuseStale(body: { [name: string]: unknown }, check: core.Record): void {
  const seen = body['scanTime'];
  if (seen === undefined) return;
  if (seen !== check.getString('scan_time')) throw refusal(400, 'This build was scanned again. Look at it once more.', 'check', 'changed');
}
