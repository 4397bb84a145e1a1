/** Release, close again, scan again: what they are called, whom they fit, and asking PocketBase for them as the operator. */
import { z } from 'zod';
import type { DecisionRequest } from '../../../pb_hooks/lib/wire.ts';
import { createHttpFetch } from '../../pocketbase/http-fetch.ts';
import { type CheckRow, isJudged } from './check-row.ts';

export const decisions = ['rescan', 'release', 'revoke'] as const;
export type Decision = (typeof decisions)[number];

export interface DecisionWords {
  /** On the button of one check. */
  readonly button: string;
  readonly buttonMany: string;
  /** `3 released`. */
  readonly done: string;
  readonly title: string;
  readonly titleMany: string;
  /** What follows, in a sentence or two. */
  readonly effect: string;
  readonly hint: string;
}

export const decisionWords: Readonly<Record<Decision, DecisionWords>> = {
  rescan: {
    button: 'Scan again',
    buttonMany: 'Scan these builds again',
    done: 'will be scanned again',
    title: 'Scan this build again?',
    titleMany: 'Scan these builds again?',
    effect: 'What is said now holds until the new verdict, which replaces it.',
    hint: 'For example: newer signatures are there.',
  },
  release: {
    button: 'Release this build',
    buttonMany: 'Release these builds',
    done: 'released',
    title: 'Release this build?',
    titleMany: 'Release these builds?',
    effect: 'Whoever may see a released build can download it, in spite of what is said below. What was downloaded cannot be called back.',
    hint: 'For example: the vendor confirmed a false alarm, ticket 1234.',
  },
  revoke: {
    button: 'Close again',
    buttonMany: 'Close these builds again',
    done: 'closed again',
    title: 'Close this build again?',
    titleMany: 'Close these builds again?',
    effect: 'Nobody can download a closed build. What was downloaded before stays out there.',
    hint: 'For example: the release was a mistake.',
  },
};

const PROBE = 'This build is the probe of the gate, which never opens.';

/** Why this decision does not fit the check, as the rules of the hooks will say too; null where it does. */
export function whyNotFit(
  decision: Decision,
  check: Pick<CheckRow, 'status' | 'reason' | 'release' | 'rescanAt'>,
  now: number,
): string | null {
  switch (decision) {
    case 'release':
      if (check.status !== 'infected' && check.status !== 'error')
        return 'Only a build that was found infected, or could not be judged, can be released.';
      if (check.reason === 'no-files') return 'This build has no files to let out.';
      if (check.reason === 'probe') return PROBE;
      return check.release === null ? null : 'This build is released already.';
    case 'revoke':
      return check.release === null ? 'This build is not released.' : null;
    case 'rescan':
      if (!isJudged(check)) return 'This build waits for its scan already.';
      if (check.reason === 'no-files') return 'This build has no files.';
      if (check.reason === 'probe') return PROBE;
      return check.rescanAt !== null && check.rescanAt.getTime() <= now ? 'This build waits for its next scan already.' : null;
    default:
      return decision satisfies never;
  }
}

export interface Order {
  readonly check: string;
  /** Of the scan that the operator has looked at: PocketBase refuses when there was another since. */
  readonly scanTime: string;
}

export type OrderResult = Order &
  ({ readonly outcome: 'done' | 'was-so' } | { readonly outcome: 'refused' | 'not-tried'; readonly why: string });

const TIMEOUT_MS = 10_000;
const answered = z.object({ code: z.string().optional() });
const refused = z.object({ message: z.string().catch('') });

export interface DecisionParts {
  readonly pocketbaseUrl: string;
  /** The operator's own. */
  readonly token: string;
  readonly decision: Decision;
  readonly reason: string;
}

const send = createHttpFetch();

/** One after the other. Never rejects; when PocketBase stops answering, the rest is not tried. */
export async function carryOut(orders: readonly Order[], parts: DecisionParts): Promise<OrderResult[]> {
  const results: OrderResult[] = [];
  let stopped: string | null = null;
  for (const order of orders) {
    if (stopped !== null) {
      results.push({ ...order, outcome: 'not-tried', why: stopped });
      continue;
    }
    const result: OrderResult | Error = await ask(order, parts).catch((thrown: unknown) =>
      thrown instanceof Error ? thrown : new Error(String(thrown)),
    );
    if (result instanceof Error) {
      // Nobody knows whether it was carried out: the connection ended before the answer.
      results.push({
        ...order,
        outcome: 'refused',
        why: `PocketBase did not answer (${result.message}). Look at this check before you try again.`,
      });
      stopped = 'Not tried, because PocketBase did not answer.';
    } else results.push(result);
  }
  return results;
}

async function ask(order: Order, { pocketbaseUrl, token, decision, reason }: DecisionParts): Promise<OrderResult> {
  const answer = await send(`${pocketbaseUrl.replace(/\/+$/, '')}/api/av/checks/${encodeURIComponent(order.check)}/${decision}`, {
    method: 'POST',
    headers: { Authorization: token, 'Content-Type': 'application/json' },
    body: JSON.stringify({ reason, scanTime: order.scanTime } satisfies DecisionRequest),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const body: unknown = await answer.json().catch(() => null);
  if (answer.status === 200 && body === null) throw new Error('what answered is not PocketBase');
  if (answer.status === 200) return { ...order, outcome: answered.parse(body).code === undefined ? 'done' : 'was-so' };
  return { ...order, outcome: 'refused', why: sentence(answer.status, refused.safeParse(body).data?.message ?? '') };
}

function sentence(status: number, message: string): string {
  if (status === 401) return 'Your login at PocketBase has ended. Log out and log in again.';
  if (status === 403) return 'PocketBase does not let you change checks: this needs a superuser.';
  if (status === 404) return 'This check is gone: its build was deleted.';
  return message === '' ? `PocketBase answered ${status}.` : message;
}
