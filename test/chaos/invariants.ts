/** What must be so after a round, whatever was killed in it. Each function answers a sentence for every violation. */
import { isInfectedName, plannedName } from './content.ts';
import type { Settled, StoredCheck } from './database.ts';
import type { Change, KnownBuild, Ledger, Served } from './ledger.ts';

/** By kind, as the summary counts them. */
export type Kind = 'refused' | 'lost' | 'doubled' | 'wrong' | 'early' | 'stuck' | 'history' | 'left behind' | 'died';

export interface Violation {
  readonly kind: Kind;
  readonly what: string;
}

/** No byte of an infected file ever, and none of any file before a clean verdict on the files that the build had then. */
export function downloadsBeforeOpen(served: readonly Served[], ledger: Ledger, history: readonly Settled[]): Violation[] {
  const verdicts = Map.groupBy(
    history.filter((entry) => entry.event === 'settled' && entry.status === 'clean' && entry.open),
    (entry) => entry.build,
  );
  return served.flatMap((one): Violation[] => {
    const early = (what: string): Violation[] => [{ kind: 'early', what: `${one.name} of ${one.build} was served ${what}` }];
    if (isInfectedName(one.name)) return early('although it is infected');
    const known = ledger.builds.get(one.build);
    if (known === undefined) return early('and nobody has uploaded its build');
    if (!(verdicts.get(one.build) ?? []).some((verdict) => allows(verdict, one, known))) {
      return early(`at ${new Date(one.headAt).toISOString()}, before a clean verdict on it`);
    }
    const expected = ledger.digests.get(plannedName(one.name));
    return one.sha256 !== null && one.sha256 !== expected ? early('with other bytes than were uploaded') : [];
  });
}

function allows(verdict: Settled, { name, sentAt, headAt }: Served, { changes }: KnownBuild): boolean {
  const judged = new Set(verdict.files.map((file) => file.name));
  if (verdict.at > headAt || !judged.has(name)) return false;
  // A build is closed when a change of it is answered at the latest: a verdict from before allows nothing any more.
  const last = changes.findLast((change) => change.ackedAt < sentAt && change.added.length > 0);
  if (last === undefined) return true;
  const removed = removedBy(changes, headAt);
  return verdict.at >= last.sentAt && last.added.every((each) => judged.has(each) || removed.has(each));
}

function removedBy(changes: readonly Change[], time: number): Set<string> {
  return new Set(changes.filter((change) => change.sentAt <= time).flatMap((change) => change.removed));
}

/** Everything that was answered is there, with one check each. */
export function lostBuilds(ledger: Ledger, builds: ReadonlyMap<string, readonly string[]>, checks: readonly StoredCheck[]): Violation[] {
  const byBuild = Map.groupBy(checks, (check) => check.build);
  const violations: Violation[] = [];
  for (const [id, known] of ledger.builds) {
    if (known.isAcked && !known.isDeletionSent && !builds.has(id)) violations.push({ kind: 'lost', what: `the build ${id} is gone` });
  }
  for (const [id, files] of builds) {
    const count = byBuild.get(id)?.length ?? 0;
    if (count === 0) violations.push({ kind: 'lost', what: `the build ${id} has no check` });
    if (count > 1) violations.push({ kind: 'doubled', what: `the build ${id} has ${count} checks` });
    violations.push(...lostFiles(ledger.builds.get(id), files));
  }
  for (const id of byBuild.keys()) if (!builds.has(id)) violations.push({ kind: 'lost', what: `a check has lost its build ${id}` });
  return violations;
}

function lostFiles(known: KnownBuild | undefined, files: readonly string[]): Violation[] {
  if (known === undefined) return [];
  const removed = removedBy(known.changes, Number.POSITIVE_INFINITY);
  const lost = known.changes
    .filter((change) => Number.isFinite(change.ackedAt))
    .flatMap((change) => change.added)
    .filter((name) => !removed.has(name) && !files.includes(name));
  return lost.map((name) => ({ kind: 'lost', what: `${known.id} does not list ${name} any more` }));
}

/** The state that a check must have in the end follows from the files that its build has. */
export function wrongStates(builds: ReadonlyMap<string, readonly string[]>, checks: readonly StoredCheck[]): Violation[] {
  return checks.flatMap((check): Violation[] => {
    const files = builds.get(check.build) ?? [];
    const status = files.length === 0 ? 'error' : files.some(isInfectedName) ? 'infected' : 'clean';
    const reason = files.length === 0 ? 'no-files' : '';
    if (check.status === status && check.reason === reason && Boolean(check.open) === (status === 'clean')) return [];
    const is = `${check.status} ${check.reason} ${check.open ? 'open' : 'closed'}`;
    return [{ kind: 'wrong', what: `${check.build} is ${is} and should be ${status} ${reason}:\n${check.log}` }];
  });
}

/** Each verdict fits the files it names, whatever became of the build later; no obligation was settled twice. */
export function wrongVerdicts(history: readonly Settled[], ledger: Ledger): Violation[] {
  const violations: Violation[] = [];
  const seen = new Set<string>();
  for (const entry of history) {
    const { seq, build, revision, status, files } = entry;
    const where = `row ${seq} of the history, on ${build}`;
    if (entry.event === 'failed' || (status !== 'clean' && status !== 'infected')) {
      violations.push({ kind: 'wrong', what: `${where}: ended as ${entry.event} ${status}` });
      continue;
    }
    const isInfected = files.some((file) => isInfectedName(file.name));
    if (isInfected !== (status === 'infected')) violations.push({ kind: 'wrong', what: `${where}: ${status}` });
    for (const { name, sha256 } of files) {
      const expected = ledger.digests.get(plannedName(name));
      if (sha256 !== expected) violations.push({ kind: 'wrong', what: `${where}: ${name} was judged by other bytes than were uploaded` });
    }
    const obligation = JSON.stringify([build, revision, files.map((file) => file.name).sort()]);
    if (seen.has(obligation) && !entry.rescan) violations.push({ kind: 'doubled', what: `${where}: settled before` });
    seen.add(obligation);
  }
  return violations;
}
