/** What may stand in the history, and the one text that it is written as. */
import type { EngineInfo, EngineLimits, WireFileVerdict } from './wire.ts';

export interface HistoryEvent {
  event:
    | 'settled'
    | 'imported'
    | 'would-refuse'
    | 'infected-build-deleted'
    | 'failed'
    | 'released'
    | 'revoked'
    | 'rescan-requested'
    | 'voided'
    | 'restored'
    | 'second-lock-on'
    | 'second-lock-off';
  check: string;
  build: string;
  status?: string;
  open?: boolean;
  /** Whether its files could be downloaded until now; undefined for what was never judged before. */
  wasOpen?: boolean | undefined;
  /** Of what closes: how long it could be downloaded, and roughly how often it was. */
  openSeconds?: number | undefined;
  downloads?: number | undefined;
  reason?: string | undefined;
  virusName?: string | undefined;
  rescan?: boolean;
  revision?: number;
  engine?: EngineInfo | Pick<EngineInfo, 'name'>;
  /** Their `ms` is left out. */
  files?: WireFileVerdict[];
  worker?: string;
  code?: string;
  scanTime?: string;
  log?: string;
  /** Seconds it had waited for this end; undefined for a rescan, which nobody waits for. */
  waited?: number | undefined;
  /** Who decided, by e-mail, and why. */
  by?: string;
  note?: string;
  /** Of a decision about many builds, which names none: which ones, as JSON text, and how many they were. */
  filter?: string;
  count?: number;
}

/** Every key an entry may hold, at any depth, in the order in which it is written: the same event is the same text everywhere. */
const keys = [
  'at',
  'build',
  'by',
  'canaryAt',
  'check',
  'code',
  'count',
  'downloads',
  'engine',
  'event',
  'files',
  'filter',
  'limits',
  'log',
  'name',
  'note',
  'open',
  'openSeconds',
  'reason',
  'recursion',
  'rescan',
  'revision',
  'scan',
  'scanTime',
  'sha256',
  'signature',
  'signatures',
  'signaturesAt',
  'size',
  'status',
  'stream',
  'verdict',
  'version',
  'virusName',
  'waited',
  'wasOpen',
  'worker',
] as const satisfies (keyof HistoryEvent | keyof EngineInfo | keyof EngineLimits | Exclude<keyof WireFileVerdict, 'ms'> | 'at')[];

/** Canonical JSON: keys in one fixed order, nothing undefined, no spaces. */
export function entryText(event: HistoryEvent, at: string): string {
  return JSON.stringify({ ...event, at }, keys as unknown as string[]);
}

/** How long a check had waited that ends now; undefined for a rescan. */
export function waitedSeconds(state: { pendingSince: number }, now: number): number | undefined {
  return state.pendingSince === 0 ? undefined : Math.max(0, now - state.pendingSince) / 1000;
}
