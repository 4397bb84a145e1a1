/** Every metric of the sidecar, as data: the instruments are made from it, and whatever documents or draws them reads it. */
import { giveBackCodes } from '../../pb_hooks/lib/reasons.ts';
import { canaryNames } from '../clamd/canary.ts';

export interface MetricDefinition {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** With the values that exist from the start, or null where only the running system knows them. */
  readonly labels?: Readonly<Record<string, readonly string[] | null>>;
  readonly buckets?: readonly number[];
}

const statuses = ['pending', 'scanning', 'clean', 'infected', 'error'];
const verdicts = ['clean', 'infected', 'unscannable'];
const latencyBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const waitBuckets = [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 600, 1800, 3600, 86_400];

export const catalogue = {
  buildInfo: {
    name: 'pocketwarden_build_info',
    help: 'Version of the sidecar; always 1.',
    type: 'gauge',
    labels: { version: null, hooks_version: null },
  },
  checks: { name: 'pocketwarden_checks', help: 'Checks in PocketBase by status.', type: 'gauge', labels: { status: statuses } },
  errors: { name: 'pocketwarden_checks_failed', help: 'Checks with the status error by reason.', type: 'gauge', labels: { reason: null } },
  oldestPending: { name: 'pocketwarden_oldest_pending_seconds', help: 'How long the oldest pending check has waited.', type: 'gauge' },
  wouldRefuse: {
    name: 'pocketwarden_gate_would_refuse',
    help: 'Downloads that a gate in monitor mode let through since PocketBase started, by the code it would have refused them with and by the reason of a check that failed.',
    type: 'gauge',
    labels: { code: null, reason: null },
  },
  foundLater: {
    name: 'pocketwarden_builds_found_later',
    help: 'Builds that could be downloaded until a rescan found something in them, since PocketBase started.',
    type: 'gauge',
  },
  gateEnforced: { name: 'pocketwarden_gate_enforced', help: '1 while the gate refuses what is not open.', type: 'gauge' },
  pocketbaseUp: { name: 'pocketwarden_pocketbase_up', help: '1 while PocketBase answers with hooks of our version.', type: 'gauge' },
  verdicts: { name: 'pocketwarden_verdicts_total', help: 'Verdicts stored.', type: 'counter', labels: { verdict: verdicts } },
  giveBacks: {
    name: 'pocketwarden_give_backs_total',
    help: 'Leases ended without a verdict.',
    type: 'counter',
    labels: { code: giveBackCodes },
  },
  leftAlone: {
    name: 'pocketwarden_leases_left_total',
    help: 'Leases that were lost, or left to run out because PocketBase could not be reached.',
    type: 'counter',
    labels: { code: ['lease-lost', 'store-unavailable', 'interrupted', 'unexpected'] },
  },
  callFailures: {
    name: 'pocketwarden_queue_call_failures_total',
    help: 'Calls to the queue in PocketBase that failed.',
    type: 'counter',
    labels: { call: ['claim', 'renew', 'settle'] },
  },
  notifications: {
    name: 'pocketwarden_notifications_total',
    help: 'Notifications received.',
    type: 'counter',
    labels: { result: ['accepted', 'refused'] },
  },
  queueWait: {
    name: 'pocketwarden_queue_wait_seconds',
    help: 'From the moment a check became pending to its claim.',
    type: 'histogram',
    buckets: waitBuckets,
  },
  scanDuration: {
    name: 'pocketwarden_scan_duration_seconds',
    help: 'From the first stream of a build to its stored verdict.',
    type: 'histogram',
    buckets: latencyBuckets,
  },
  scannedFiles: { name: 'pocketwarden_scanned_files_total', help: 'Files of stored verdicts.', type: 'counter' },
  scannedBytes: { name: 'pocketwarden_scanned_bytes_total', help: 'Bytes that engines judged for stored verdicts.', type: 'counter' },
  leasesHeld: { name: 'pocketwarden_leases_held', help: 'Checks this process holds a lease on.', type: 'gauge' },
  buildsScanning: { name: 'pocketwarden_builds_scanning', help: 'Builds with at least one file in a stream.', type: 'gauge' },
  workerReady: { name: 'pocketwarden_worker_ready', help: '1 while the worker takes checks.', type: 'gauge' },
  engineUp: { name: 'pocketwarden_engine_up', help: '1 while the engine passes its canaries.', type: 'gauge', labels: { engine: null } },
  canaryFailures: {
    name: 'pocketwarden_canary_failures_total',
    help: 'Canaries that an engine answered wrongly.',
    type: 'counter',
    labels: { canary: canaryNames },
  },
  canaryTimestamp: {
    name: 'pocketwarden_engine_canary_timestamp_seconds',
    help: 'When the engine last began a round of canaries that it answered rightly; absent before the first.',
    type: 'gauge',
    labels: { engine: null },
  },
  streamLimit: {
    name: 'pocketwarden_engine_stream_limit_bytes',
    help: 'Largest stream that the engine was measured to take.',
    type: 'gauge',
    labels: { engine: null },
  },
  scanLimit: {
    name: 'pocketwarden_engine_scan_limit_bytes',
    help: 'Largest file, with all that it unpacks to, that the engine was measured to look at whole.',
    type: 'gauge',
    labels: { engine: null },
  },
  recursionLimit: {
    name: 'pocketwarden_engine_recursion_limit',
    help: 'Archives in archives that the engine was measured to follow.',
    type: 'gauge',
    labels: { engine: null },
  },
  voidedBuilds: {
    name: 'pocketwarden_voided_builds_total',
    help: 'Builds whose verdict was taken back because its engine answered a canary wrongly, by whether they could be downloaded.',
    type: 'counter',
    labels: { was: ['open', 'closed'] },
  },
  voidsWaiting: {
    name: 'pocketwarden_voids_waiting',
    help: 'Engines found lying whose verdicts PocketBase has not taken back yet.',
    type: 'gauge',
  },
  engineInFlight: {
    name: 'pocketwarden_engine_scans_in_flight',
    help: 'Files being streamed to the engine.',
    type: 'gauge',
    labels: { engine: null },
  },
  engineInfo: {
    name: 'pocketwarden_engine_info',
    help: 'Version and signatures of the engine; always 1.',
    type: 'gauge',
    labels: { engine: null, version: null, signatures: null },
  },
  signatureTimestamp: {
    name: 'pocketwarden_engine_signatures_timestamp_seconds',
    help: 'When the signatures of the engine were published; absent for a test set.',
    type: 'gauge',
    labels: { engine: null },
  },
  signatureAge: {
    name: 'pocketwarden_engine_signatures_age_seconds',
    help: 'Age of the signatures of the engine; absent for a test set.',
    type: 'gauge',
    labels: { engine: null },
  },
} as const satisfies Record<string, MetricDefinition>;
