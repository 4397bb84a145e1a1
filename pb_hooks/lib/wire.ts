/** Bodies and answers of the worker routes under /api/av: what the hooks speak and the sidecar checks. */
import type { GiveBackCode, UnscannableReason } from './reasons.ts';

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
}

export interface WireFileVerdict {
  name: string;
  size: number;
  sha256: string;
  verdict: 'clean' | 'infected' | 'unscannable';
  signature?: string;
  reason?: UnscannableReason;
  ms: number;
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
  code?: 'lease_lost' | 'invalid';
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
  /** Downloads the gate would have refused since PocketBase started; monitor mode alone. */
  wouldRefuse: number;
}

/** Of our compiled hooks and of the sidecar that speaks to them; raised when a route changes its meaning. */
export const HOOKS_VERSION = '1';
