/** Bodies and answers of the routes under /api/av: what the hooks speak and the sidecar checks. */
import type { GiveBackCode, UnscannableReason } from './reasons.ts';
import type { Status } from './rules.ts';

export interface WireFile {
  name: string;
  /** Bytes; 0 where PocketBase would have to open the file to know. */
  size: number;
}

export interface ClaimRequest {
  worker: string;
  /** 1–100. */
  max: number;
  /** 5–3600. */
  leaseSeconds: number;
  /** 1–100: counted failures before a check ends as `error`; expired leases are judged by it. */
  maxRetries: number;
  /** The worker holds no lease, so it may be given a suspect, which is scanned alone. */
  alone?: boolean;
  /** The lowest number of a signature set among the engines that take work; absent where one has none. A higher one is what rescans wait for. */
  signatures?: number;
}

export interface ClaimedCheck {
  id: string;
  build: string;
  /** Counted failures so far. */
  attempts: number;
  suspect: boolean;
  rescan: boolean;
  lease: string;
  /** ISO 8601, by PocketBase's clock. */
  leaseUntil: string;
  /** Seconds since it became pending, by PocketBase's clock. */
  waited: number;
  files: WireFile[];
}

export interface ClaimAnswer {
  checks: ClaimedCheck[];
  /** A suspect is due and waits until nobody holds a lease: finish what you have and claim with `alone`. */
  drain: boolean;
}

export interface LeaseRef {
  id: string;
  lease: string;
}

export interface RenewRequest {
  leaseSeconds: number;
  leases: LeaseRef[];
}

export interface RenewResult {
  id: string;
  ok: boolean;
  leaseUntil?: string;
  code?: 'lease_lost';
}

export interface EngineInfo {
  name: string;
  version: string;
  /** Number of the official signature set; `"test"` where there is none. */
  signatures: number | 'test';
  /** ISO 8601; null for a test set. */
  signaturesAt: string | null;
  /** What the engine was measured to look at, in bytes and levels. */
  limits: EngineLimits;
  /** ISO 8601, by the sidecar's clock: when it last gave the right answer to every canary before this verdict. */
  canaryAt: string;
}

export interface EngineLimits {
  /** Largest stream it takes. */
  stream: number;
  /** Largest file, with all that it unpacks to, that it looks at whole. */
  scan: number;
  /** Archives in archives that it follows. */
  recursion: number;
}

export interface WireFileVerdict {
  name: string;
  size: number;
  sha256: string;
  verdict: 'clean' | 'infected' | 'unscannable';
  signature?: string;
  reason?: UnscannableReason;
  ms: number;
  /** Who judged it, where that is not the engine of the verdict as it stands there: another one, or the same at another time. */
  engine?: EngineInfo;
}

export type SettleItem = LeaseRef &
  (
    | {
        verdict: 'clean' | 'infected' | 'unscannable';
        /** Of an unscannable build: the first file's. */
        reason?: UnscannableReason;
        /** Of an infected build: the first finding. */
        virusName?: string;
        files: WireFileVerdict[];
        engine: EngineInfo;
        /** For humans; the end of it is kept. */
        log: string;
      }
    | { giveBack: GiveBackCode; log: string }
  );

export interface SettleRequest {
  maxRetries: number;
  /** At most 100. */
  results: SettleItem[];
}

export interface SettleResult {
  id: string;
  ok: boolean;
  status?: string;
  /** `voided`: an engine that took part has answered a canary wrongly since, so this is no verdict; the lease has ended, uncounted. */
  code?: 'lease_lost' | 'invalid' | 'voided';
  /** With `invalid`: what was wrong. */
  message?: string;
}

export interface HealthAnswer {
  hooksVersion: string;
  schemaVersion: number;
  gate: 'enforce' | 'monitor' | 'off';
  /** Sentences about what is not as it should be; empty when all is well. */
  problems: string[];
  counts: Record<'pending' | 'scanning' | 'clean' | 'infected' | 'error', number>;
  /** Checks in `error`, by reason. */
  reasons: Record<string, number>;
  /** Seconds the oldest pending check has waited; 0 when none is. */
  oldestPendingSeconds: number;
  /** What the gate would have refused since PocketBase started; monitor mode alone. */
  wouldRefuse: {
    /** Downloads. */
    total: number;
    /** By the code of the refusal. */
    byCode: Record<string, number>;
    /** Of `scan_error`: by the reason of the check. */
    byReason: Record<string, number>;
    /** The line for PocketBase's environment that would let through what no engine could judge; '' where there was none. */
    policy: string;
  };
  /** Builds that could be downloaded until a rescan found something in them, since PocketBase started. */
  foundLater: number;
}

/** Body of `POST /api/av/void`: an engine answered a canary wrongly, so nothing counts that it said since it last answered it right. */
export interface VoidRequest {
  /** Name of the engine, as it stands in the verdicts and in their files. */
  engine: string;
  /**
   * ISO 8601: verdicts whose `canaryAt`, or that of one of their files by this engine, is this or later are void, those of settles
   * still under way too. Absent from a sidecar that has never seen this engine answer rightly: since the newest `canaryAt` that a
   * verdict of this engine carries, which is when it was last known to be good.
   */
  since?: string;
  /** What it answered wrongly, for the history; 3–500 characters. What no line can show becomes spaces. */
  reason: string;
}

export interface VoidAnswer {
  /** Builds that were open and are closed now, waiting for a new scan. */
  closed: number;
  /** Checks that were closed before and are scanned again. */
  rescanned: number;
}

/** Body of `release`, `revoke` and `rescan`. */
export interface DecisionRequest {
  /** 3–500 characters, one line. */
  reason: string;
  /** `scan_time` of the check as the decider saw it; refused with `changed` when it was scanned since. */
  scanTime?: string;
}

export interface DecisionAnswer {
  id: string;
  build: string;
  status: Status;
  open: boolean;
  /** Nothing was changed or recorded, because it is so already. */
  code?: string;
}

/** Which checks; what is left out does not matter, so that one with nothing in it is refused. */
export interface RescanFilter {
  status?: Status;
  /** Machine code, as the check has it. */
  reason?: string;
  /** The whole name of the signature that was found. */
  virusName?: string;
  /** Name of an engine that took part in the verdict. */
  engine?: string;
  /** Judged by a set with a lower number; test signatures count as 0. */
  signaturesBelow?: number;
  /** ISO 8601 in UTC: last scanned at this moment or later. */
  since?: string;
  /** The same: last scanned before this moment. */
  until?: string;
}

/** Body of `POST /api/av/rescan`: many builds, by one decision that is one row of the history. */
export type RescanManyRequest = {
  /** 3–500 characters, one line. */
  reason: string;
} & ({ filter: RescanFilter } | { all: true });

export interface RescanManyAnswer {
  /** Checks that wait for another scan from now on. */
  asked: number;
  /** Checks that were waiting for a scan anyway. */
  waiting: number;
}

export interface VerifyAnswer {
  ok: boolean;
  /** First and last row that this call proved; `to` is below `from` where it proved none. */
  from: number;
  to: number;
  /** Keep it outside PocketBase and pass it as `after` and `hash`: rows cut off at the end are found by that alone. */
  last: { seq: number; hash: string };
  /** Ask again with `after` = `last.seq`. */
  more: boolean;
  /** `changed`: the row does not follow from the one before: its text, hash, time or place is not what it was. */
  broken: { seq: number; why: 'changed' | 'missing' | 'inserted' } | null;
}

export interface BuildAnswer {
  build: string;
  /** Name of the builds collection. */
  collection: string;
  /** Id of its check, for following it live; null until the sweep has made it. */
  check: string | null;
  status: Status;
  /** Whether its files can be downloaded. */
  open: boolean;
  reason: string;
  /** What an honest 'cannot judge' means and what to do, in English; a fault is the operator's matter and has none. */
  text?: string;
  /** In the queue, 1 is next; null unless pending. */
  position: number | '>1000' | null;
  /** ISO 8601: since when it waits, or when it was judged. */
  since: string | null;
  /** From upload to verdict; null before there was one. */
  usualSeconds: number | null;
  /** For superusers alone; roughly how often it was downloaded since it was last opened. */
  virusName?: string;
  downloads?: number;
}

export interface ProbeRequest {
  /** Also among the builds of a host, who sees one more record; otherwise only in an `app_builds` that we have made. */
  anywhere: boolean;
}

export interface ProbeAnswer {
  /** The id of the build; null where there is none. */
  build: string | null;
  /** Why there is none, as a sentence. */
  why?: string;
}

/** Numbers of one span of time. */
export interface StatsBucket {
  /** ISO 8601, its begin. */
  at: string;
  /** Builds that began to wait. */
  arrivals: number;
  clean: number;
  infected: number;
  unscannable: number;
  /** Ended without a verdict. */
  failed: number;
  /** Of `infected`: builds that could be downloaded until then. */
  foundLater: number;
  /** Length of the queue at its end. */
  waiting: number;
}

export interface StatsAnswer {
  hours: number;
  bucketSeconds: number;
  from: string;
  /** False where the span holds more verdicts than are counted; the oldest are left out. */
  complete: boolean;
  buckets: StatsBucket[];
}

/** Of our compiled hooks and of the sidecar that speaks to them; raised when a route changes its meaning. */
export const HOOKS_VERSION = '2';
