/** The CheckQueue port over the worker routes of our hooks. */
import { z } from 'zod';
import type { ClaimAnswer, ClaimRequest, RenewRequest, SettleItem, SettleRequest, WireFileVerdict } from '../../pb_hooks/lib/wire.ts';
import { ScanError } from '../scan/errors.ts';
import type { Check, Engine, FileVerdict, Lease, Settlement, Verdict } from '../scan/model.ts';
import type { CheckQueue, SettleAnswer } from '../scan/ports.ts';
import type { Session } from './session.ts';

export interface CheckQueueOptions {
  readonly session: Pick<Session, 'send'>;
  /** Name under which leases are shown. */
  readonly worker: string;
  readonly leaseSeconds: number;
  readonly maxRetries: number;
  /** The lowest number of a signature set among the engines that take work; null where one has none. */
  readonly signatures: () => number | null;
}

const CLAIM_TIMEOUT_MS = 10_000;
const RENEW_TIMEOUT_MS = 5_000;
/** A lease counts from before the call that grants it, so that a late answer would leave too little of it. */
const CLAIM_PER_LEASE = 1 / 2;
/** While PocketBase writes nothing, each held lease must have been asked for at least once before it is over. */
const RENEWAL_PER_LEASE = 1 / 4;
const SETTLE_TIMEOUT_MS = 15_000;

const id = z.string().min(1).max(100);
const claimAnswer: z.ZodType<ClaimAnswer> = z.object({
  checks: z.array(
    z.object({
      id,
      build: id,
      attempts: z.number().min(0),
      suspect: z.boolean(),
      rescan: z.boolean(),
      lease: z.string().min(1),
      leaseUntil: z.string(),
      waited: z.number(),
      files: z.array(z.object({ name: z.string().min(1), size: z.int().min(0) })),
    }),
  ),
  drain: z.boolean(),
});
const renewAnswer = z.object({ results: z.array(z.object({ id, ok: z.boolean() })) });
const settleAnswer = z.object({
  results: z.array(z.object({ id, ok: z.boolean(), code: z.string().optional(), message: z.string().optional() })),
});
type RenewResults = z.infer<typeof renewAnswer>['results'];
type SettleResults = z.infer<typeof settleAnswer>['results'];

export function createCheckQueue({ session, worker, leaseSeconds, maxRetries, signatures }: CheckQueueOptions): CheckQueue {
  const post = async <T>(path: string, body: object, schema: z.ZodType<T>, timeoutMs: number, signal: AbortSignal): Promise<T> =>
    understood(path, schema, await session.send({ path, method: 'POST', body, timeoutMs }, signal));
  const claimTimeoutMs = Math.min(CLAIM_TIMEOUT_MS, leaseSeconds * 1000 * CLAIM_PER_LEASE);
  const renewTimeoutMs = Math.min(RENEW_TIMEOUT_MS, leaseSeconds * 1000 * RENEWAL_PER_LEASE);
  return {
    async claim({ max, alone }, signal) {
      const number = signatures();
      const body: ClaimRequest = { worker, max, leaseSeconds, maxRetries, alone, ...(number === null ? {} : { signatures: number }) };
      const answer = await post('/api/av/claim', body, claimAnswer, claimTimeoutMs, signal);
      return { checks: answer.checks.map(checkOf), drain: answer.drain };
    },
    async renew(leases, signal) {
      const body: RenewRequest = { leaseSeconds, leases: leases.map((lease) => ({ id: lease.id, lease: lease.token })) };
      const { results } = await post('/api/av/renew', body, renewAnswer, renewTimeoutMs, signal);
      return { lost: lostOf(leases, results) };
    },
    async settle(items, signal) {
      const body: SettleRequest = { maxRetries, results: items.map(itemOf) };
      const { results } = await post('/api/av/settle', body, settleAnswer, SETTLE_TIMEOUT_MS, signal);
      return settleAnswerOf(items, results);
    },
  };
}

/** A 2xx that is not ours comes from something between us and PocketBase, and asking again is harmless. */
function understood<T>(path: string, schema: z.ZodType<T>, answer: unknown): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  const problem = parsed.error.issues
    .map((issue) => `${issue.path.join('.')}: ${issue.message}`)
    .slice(0, 3)
    .join('; ');
  throw new ScanError('store-unavailable', `what answered ${path} is not our hooks: ${problem}`);
}

function checkOf(claimed: ClaimAnswer['checks'][number]): Check {
  const { build, attempts, suspect, rescan, files } = claimed;
  const lease = { id: claimed.id, token: claimed.lease };
  return { id: claimed.id, build, attempts, suspect, rescan, lease, waitedSeconds: claimed.waited, files };
}

/** A lease that the answer does not mention is not known to be ours any more. */
function lostOf(leases: readonly Lease[], results: RenewResults): Set<string> {
  const kept = new Set(results.filter((result) => result.ok).map((result) => result.id));
  return new Set(leases.map((lease) => lease.id).filter((each) => !kept.has(each)));
}

function settleAnswerOf(items: readonly Settlement[], results: SettleResults): SettleAnswer {
  const byId = new Map(results.map((result) => [result.id, result]));
  const lost = new Set<string>();
  const refused = new Map<string, string>();
  for (const { check } of items) {
    const result = byId.get(check.id);
    if (result === undefined) throw new ScanError('store-unavailable', 'PocketBase did not say what became of a settled check');
    if (result.ok) continue;
    if (result.code === 'lease_lost' || result.code === 'voided') lost.add(check.id);
    else refused.set(check.id, result.message ?? result.code ?? 'without a reason');
  }
  return { lost, refused };
}

function itemOf({ check, outcome, log }: Settlement): SettleItem {
  const lease = { id: check.lease.id, lease: check.lease.token };
  if (outcome.kind === 'give-back') return { ...lease, giveBack: outcome.code, log };
  return { ...lease, ...verdictOf(outcome.verdict), log };
}

function verdictOf(verdict: Verdict): Omit<Extract<SettleItem, { verdict: string }>, 'id' | 'lease' | 'log'> {
  const { kind, engine } = verdict;
  const item = { verdict: kind, files: verdict.files.map((file) => fileOf(file, engine)), engine };
  for (const { answer } of verdict.files) {
    if (kind === 'infected' && answer.kind === 'infected') return { ...item, virusName: answer.signature };
    if (kind === 'unscannable' && answer.kind === 'unscannable') return { ...item, reason: answer.reason };
  }
  return item;
}

function fileOf({ name, size, sha256, answer, ms, engine }: FileVerdict, usual: Engine): WireFileVerdict {
  const by = engine === null || isSame(engine, usual) ? {} : { engine };
  const file = { name, size, sha256, verdict: answer.kind, ms, ...by };
  if (answer.kind === 'infected') return { ...file, signature: answer.signature };
  return answer.kind === 'unscannable' ? { ...file, reason: answer.reason } : file;
}

function isSame(a: Engine, b: Engine): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
