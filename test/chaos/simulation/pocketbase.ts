/**
 * The checks of a PocketBase in memory: rows change by the real rules.ts alone, and what stands around them (who may claim what, who
 * holds a lease) is as in the hooks. Every write is looked at: what may never be so is thrown at once.
 */
import {
  begin,
  type CheckState,
  claimed,
  filesChanged,
  gaveBack,
  isRescan,
  lapsed,
  type Patch,
  released,
  rescanAsked,
  revoked,
  settled,
} from '../../../pb_hooks/lib/rules.ts';
import type { Lease, Settlement } from '../../../sidecar/scan/model.ts';
import type { Random } from '../random.ts';

/** What a file does to whoever looks at it. */
export type Nature = 'clean' | 'infected' | 'unscannable' | 'kills engine' | 'hangs engine' | 'kills worker' | 'kills claimer' | 'missing';

export interface SimulatedFile {
  readonly name: string;
  readonly nature: Nature;
  /** How long an engine looks at it. */
  readonly ms: number;
}

export interface Row extends CheckState {
  readonly id: string;
  files: readonly SimulatedFile[];
  open: boolean;
  notBefore: number;
  leaseUntil: number;
  updated: number;
  releasedAt: number;
  releaseReason: string;
  scanTime: number;
  /** Times that this obligation came to an end; begins anew when the files change. */
  ends: number;
}

interface ClaimedRow {
  readonly row: Row;
  readonly token: string;
}

const SUSPECT_PATIENCE_MS = 300_000;

export class SimulatedPocketBase {
  readonly rows = new Map<string, Row>();
  /** Tokens under which a verdict or a give-back was stored. */
  readonly settledBy = new Set<string>();
  /** Checks against which a failure was ever counted. */
  readonly blamed = new Set<string>();
  readonly #begun = new Set<string>();
  readonly #renewing = new Set<string>();
  readonly #maxRetries: number;
  readonly #now: () => number;
  readonly #random: Random;
  #tokens = 0;

  constructor(maxRetries: number, now: () => number, random: Random) {
    this.#maxRetries = maxRetries;
    this.#now = now;
    this.#random = random;
  }

  create(id: string, files: readonly SimulatedFile[]): void {
    const none = {
      lapses: 0,
      leaseUntil: 0,
      updated: 0,
      notBefore: 0,
      releasedAt: 0,
      releaseReason: '',
      scanTime: 0,
      findings: '',
      ends: 0,
    };
    const row = { ...none, ...begin(files.length > 0, 1, this.#now()), id, files } as Row;
    this.rows.set(id, row);
    this.#write(row, {});
  }

  changeFiles(id: string, files: readonly SimulatedFile[]): void {
    const row = this.rows.get(id);
    if (row === undefined) return;
    const known = new Set(row.files.map((file) => file.name));
    const isAdded = files.some((file) => !known.has(file.name));
    row.files = files;
    const patch = filesChanged(row, isAdded ? 'added' : 'removed', files.length > 0, this.#now());
    if (patch === null) return;
    row.ends = 0;
    row.findings = '';
    this.#write(row, patch);
  }

  delete(id: string): void {
    this.rows.delete(id);
  }

  decide(id: string, what: 'release' | 'revoke' | 'rescan'): void {
    const row = this.rows.get(id);
    if (row === undefined) return;
    const decisions = {
      release: () => released(row, 'someone', 'because', this.#now()),
      revoke: () => revoked(row, 'someone'),
      rescan: () => rescanAsked(row, this.#now()),
    };
    const patch = decisions[what]();
    if (typeof patch !== 'string') this.#write(row, patch);
  }

  /** Notes in memory are gone. */
  crash(): void {
    this.#begun.clear();
    this.#renewing.clear();
  }

  sweep(): void {
    for (const row of this.rows.values()) {
      if (row.leaseUntil === 0 || row.leaseUntil >= this.#now()) continue;
      const begun = this.#begun.delete(row.leaseToken) && !this.#renewing.has(row.leaseToken);
      const patch = lapsed(row, begun, this.#maxRetries, this.#now(), this.#random.next());
      this.#ended(row, patch);
      this.#write(row, patch);
    }
  }

  claim(max: number, alone: boolean, worker: string, leaseMs: number): { claimed: ClaimedRow[]; drain: boolean } {
    this.sweep();
    const { rows, drain } = this.#choose(max, alone);
    const taken = rows.map((row) => {
      const token = `token-${++this.#tokens}`;
      this.#write(row, claimed(row, { token, until: this.#now() + leaseMs, worker }));
      return { row, token };
    });
    return { claimed: taken, drain };
  }

  /** A renewal has arrived, and is written now or when PocketBase writes again. */
  askRenewal(leases: readonly Lease[]): void {
    for (const { token } of leases) this.#renewing.add(token);
  }

  renew(leases: readonly Lease[], leaseMs: number): Set<string> {
    const lost = new Set<string>();
    for (const { id, token } of leases) {
      const row = this.rows.get(id);
      this.#renewing.delete(token);
      if (row === undefined || !holds(row, token)) {
        lost.add(id);
        continue;
      }
      if (row.leaseUntil < this.#now()) this.#begun.delete(token);
      this.#write(row, { leaseUntil: this.#now() + leaseMs });
    }
    return lost;
  }

  /** Answers whether the lease was the sender's. */
  settle({ check, outcome }: Settlement): 'stored' | 'lost' | 'refused' {
    const { token } = check.lease;
    const row = this.rows.get(check.id);
    if (row === undefined) return 'lost';
    if (token === row.leaseToken && row.leaseUntil === 0) return 'stored';
    if (!holds(row, token)) return 'lost';
    if (outcome.kind === 'verdict' && outcome.verdict.kind === 'clean') {
      const clean = new Set(outcome.verdict.files.map((file) => file.name));
      if (row.files.length === 0 || row.files.some((file) => !clean.has(file.name))) return 'refused';
    }
    this.#must(!this.settledBy.has(token), `the lease ${token} of ${row.id} was settled twice`);
    this.settledBy.add(token);
    this.#begun.delete(token);
    const patch =
      outcome.kind === 'verdict'
        ? this.#judged(row, outcome.verdict)
        : gaveBack(row, outcome.code, this.#maxRetries, this.#now(), this.#random.next());
    this.#ended(row, patch);
    this.#write(row, patch);
    return 'stored';
  }

  /** The file route. Answers the file as it is now, or why not. */
  open(id: string, token: string, name: string): SimulatedFile | 'lease-lost' | 'unknown' {
    const row = this.rows.get(id);
    if (row === undefined || !holds(row, token)) return 'lease-lost';
    this.#begun.add(token);
    return row.files.find((file) => file.name === name) ?? 'unknown';
  }

  live(): Row[] {
    return [...this.rows.values()].filter((row) => row.leaseUntil !== 0);
  }

  /** Nothing waits, nobody holds a lease, no rescan is due. */
  isQuiet(): boolean {
    for (const row of this.rows.values()) {
      if (row.status === 'pending' || row.status === 'scanning' || row.leaseUntil !== 0) return false;
      if (row.rescanAt !== 0 && row.rescanAt <= this.#now()) return false;
    }
    return true;
  }

  #choose(max: number, alone: boolean): { rows: Row[]; drain: boolean } {
    const now = this.#now();
    const live = this.live();
    if (live.some((row) => row.suspect)) return { rows: [], drain: false };
    const all = [...this.rows.values()].filter((row) => row.leaseUntil === 0);
    const isDue = (row: Row) => row.rescanAt !== 0 && row.rescanAt <= now;
    const suspect = all
      .filter((row) => row.suspect && row.notBefore <= now && (row.status === 'pending' || (row.status !== 'scanning' && isDue(row))))
      .sort((a, b) => Number(isRescan(a)) - Number(isRescan(b)) || a.updated - b.updated)[0];
    const isFree = alone && live.length === 0;
    const forSuspect = (row: Row) => (isFree ? { rows: [row], drain: false } : { rows: [], drain: true });
    if (suspect !== undefined && !isRescan(suspect) && suspect.updated < now - SUSPECT_PATIENCE_MS) return forSuspect(suspect);
    const uploads = all.filter((row) => row.status === 'pending' && !row.suspect && row.notBefore <= now);
    if (uploads.length > 0) return { rows: uploads.sort((a, b) => a.pendingSince - b.pendingSince).slice(0, max), drain: false };
    if (suspect !== undefined) return forSuspect(suspect);
    return { rows: all.filter((row) => isRescan(row) && isDue(row) && !row.suspect).slice(0, max), drain: false };
  }

  #judged(row: Row, verdict: Extract<Settlement['outcome'], { kind: 'verdict' }>['verdict']): Patch {
    const findings = verdict.files
      .filter((file) => file.answer.kind !== 'clean')
      .map((file) => JSON.stringify([file.name, file.answer]))
      .join('\n');
    const patch = settled(row, wordsOf(verdict), findings, this.#now());
    row.findings = findings;
    return patch;
  }

  #ended(row: Row, patch: Patch): void {
    const isEnd = patch.status !== undefined && patch.status !== 'pending' && patch.status !== 'scanning';
    if (!isEnd || isRescan(row)) return;
    row.ends++;
    this.#must(row.ends === 1, `the obligation ${row.id} ended ${row.ends} times`);
  }

  #write(row: Row, patch: Patch): void {
    Object.assign(row, patch, { updated: this.#now() });
    if (row.attempts > 0) this.blamed.add(row.id);
    const isClean = row.files.length > 0 && row.files.every((file) => file.nature === 'clean');
    this.#must(!row.open || isClean || row.releasedBy !== '', `${row.id} is open and not clean`);
    this.#must(!row.open || row.status === 'clean' || row.releasedBy !== '', `${row.id} is open and ${row.status}`);
    this.#must(row.attempts <= this.#maxRetries, `${row.id} was tried ${row.attempts} times`);
    const live = this.live();
    this.#must(live.length < 2 || !live.some((each) => each.suspect), 'a suspect is looked at beside another');
  }

  #must(holdsTrue: boolean, what: string): void {
    if (!holdsTrue) throw new InvariantError(what);
  }
}

export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

function holds(row: Row, token: string): boolean {
  return row.leaseUntil !== 0 && row.leaseToken === token;
}

function wordsOf(verdict: Extract<Settlement['outcome'], { kind: 'verdict' }>['verdict']): Parameters<typeof settled>[1] {
  const first = verdict.files.find((file) => file.answer.kind === verdict.kind)?.answer;
  if (first?.kind === 'infected') return { kind: 'infected', virusName: first.signature };
  return first?.kind === 'unscannable' ? { kind: 'unscannable', reason: first.reason } : { kind: 'clean' };
}
