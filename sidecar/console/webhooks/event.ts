/** What a webhook tells: made of an entry of the history, or of what the console sees of the engines. */
import { z } from 'zod';

export const eventKinds = [
  'build.cleared',
  'build.infected',
  'build.infected_later',
  'build.error',
  'build.rescan_failed',
  'build.closed',
  'build.released',
  'build.closed_again',
  'engine.down',
  'engine.up',
  'signatures.old',
  'gate.open',
  'gate.open_by_probe',
  'gate.enforced',
  'history.broken',
] as const;
export type EventKind = (typeof eventKinds)[number];

export interface WebhookEvent {
  /** The same however often it is delivered: receivers know a repetition by it. */
  readonly id: string;
  readonly type: EventKind;
  /** ISO 8601, UTC. */
  readonly timestamp: string;
  readonly data: Readonly<Record<string, unknown>>;
}

const entry = z.object({
  at: z.string(),
  event: z.string(),
  build: z.string().optional(),
  check: z.string().optional(),
  status: z.string().optional(),
  open: z.boolean().optional(),
  wasOpen: z.boolean().optional(),
  openSeconds: z.number().optional(),
  downloads: z.number().optional(),
  rescan: z.boolean().optional(),
  reason: z.string().optional(),
  by: z.string().optional(),
  note: z.string().optional(),
  files: z.array(z.object({ name: z.string(), sha256: z.string(), signature: z.string().optional() })).optional(),
});
type Entry = z.infer<typeof entry>;

/** At most so many findings travel; `more` counts the rest. */
const MAX_FINDINGS = 20;

/** The event of one row of the history; null where nobody is told of it. Throws where the entry is none of ours. */
export function eventOf(seq: number, text: string): WebhookEvent | null {
  const parsed = entry.parse(JSON.parse(text));
  const type = kindOf(parsed);
  if (type === null) return null;
  const { build, check, at, open, wasOpen } = parsed;
  return { id: `history-${seq}`, type, timestamp: isoOf(at), data: { build, check, open, wasOpen, ...dataOf(type, parsed) } };
}

function kindOf({ event, status, open, wasOpen, rescan }: Entry): EventKind | null {
  switch (event) {
    case 'released':
      return 'build.released';
    case 'revoked':
      return 'build.closed_again';
    case 'failed':
      return rescan === true ? 'build.rescan_failed' : 'build.error';
    case 'voided':
    case 'restored':
      return wasOpen === true ? 'build.closed' : null;
    case 'settled':
      return verdictKindOf(status, open === true, wasOpen === true);
    default:
      return null;
  }
}

/** A verdict that leaves open what was open changes nothing for anybody: it is clean as before, or its release still holds. */
function verdictKindOf(status: string | undefined, open: boolean, wasOpen: boolean): EventKind | null {
  if (open && wasOpen) return null;
  switch (status) {
    case 'clean':
      return open ? 'build.cleared' : null;
    case 'infected':
      return wasOpen ? 'build.infected_later' : 'build.infected';
    case 'error':
      return wasOpen ? 'build.closed' : 'build.error';
    default:
      return null;
  }
}

function dataOf(type: EventKind, { event, reason, by, note, files = [], openSeconds, downloads }: Entry): Record<string, unknown> {
  switch (type) {
    case 'build.cleared':
      return { files: files.length };
    case 'build.infected':
    case 'build.infected_later': {
      const findings = files.flatMap(({ name, sha256, signature }) => (signature === undefined ? [] : [{ file: name, sha256, signature }]));
      const found = { findings: findings.slice(0, MAX_FINDINGS), more: Math.max(0, findings.length - MAX_FINDINGS) };
      return type === 'build.infected' ? found : { ...found, openSeconds, downloads };
    }
    case 'build.error':
    case 'build.rescan_failed':
      return { reason };
    case 'build.closed':
      return { reason: event === 'settled' ? reason : event, note, openSeconds, downloads };
    default:
      return { by, reason: note };
  }
}

/** PocketBase writes a space where ISO 8601 has a T. */
function isoOf(at: string): string {
  return new Date(at.replace(' ', 'T')).toISOString();
}
