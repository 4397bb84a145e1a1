/** What receivers were told last, read from the outbox, so that a restart of the console neither repeats it nor forgets its end. */
import { z } from 'zod';
import type { Outbox } from './outbox.ts';

/** Newest deliveries of a kind that are looked at: of 14 days, and of few events. */
const LOOKED_AT = 500;

const engineBody = z.object({ data: z.object({ engine: z.string(), since: z.string().optional() }) });
const gateBody = z.object({ data: z.object({ gate: z.enum(['enforce', 'monitor', 'off']) }) });

/** Engines whose newest event says that they are down, with since when in Unix milliseconds. */
export async function enginesToldDown(outbox: Pick<Outbox, 'newestOf'>, signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
  const newest = new Map<string, number | null>();
  for (const { kind, body } of await outbox.newestOf('engine', LOOKED_AT, signal)) {
    const parsed = engineBody.safeParse(jsonOf(body));
    if (!parsed.success || newest.has(parsed.data.data.engine)) continue;
    const { engine, since = '' } = parsed.data.data;
    newest.set(engine, kind === 'engine.down' ? Date.parse(since) || 0 : null);
  }
  return new Map([...newest].flatMap(([engine, since]) => (since === null ? [] : [[engine, since]])));
}

/** The mode of the gate that was told last; `enforce` where none was. */
export async function gateTold(outbox: Pick<Outbox, 'newestOf'>, signal: AbortSignal): Promise<'enforce' | 'monitor' | 'off'> {
  const bodies = (await outbox.newestOf('gate', LOOKED_AT, signal)).map(({ body }) => gateBody.safeParse(jsonOf(body)));
  return bodies.find(({ success }) => success)?.data?.data.gate ?? 'enforce';
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
