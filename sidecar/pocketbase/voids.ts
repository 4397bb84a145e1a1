/** The Voids port over the route of our hooks. */
import { z } from 'zod';
import type { VoidAnswer, VoidRequest } from '../../pb_hooks/lib/wire.ts';
import { ScanError } from '../scan/errors.ts';
import type { Voids } from '../scan/ports.ts';
import type { Session } from './session.ts';

/** Every build of an engine in one transaction. */
const TIMEOUT_MS = 60_000;
const MAX_REASON_CHARS = 500;

const voidAnswer: z.ZodType<VoidAnswer> = z.object({ closed: z.int().min(0), rescanned: z.int().min(0) });

export function createVoids(session: Pick<Session, 'send'>): Voids {
  return {
    async voidSince({ engine, since, reason }, signal) {
      const body: VoidRequest = { engine, reason: oneLine(reason), ...(since === null ? {} : { since }) };
      const answer = await session.send({ path: '/api/av/void', method: 'POST', body, timeoutMs: TIMEOUT_MS }, signal);
      const parsed = voidAnswer.safeParse(answer);
      if (!parsed.success) throw new ScanError('store-unavailable', 'what answered /api/av/void is not our hooks');
      return parsed.data;
    },
  };
}

function oneLine(text: string): string {
  const line = text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ');
  return line.length > MAX_REASON_CHARS ? `${line.slice(0, MAX_REASON_CHARS - 1)}…` : line;
}
