/**
 * Payloads whose right answer is known. PING answers PONG with no signature loaded, and stock settings answer OK to whatever
 * they did not look at; only these prove that an engine detects, looks into archives and says when it could not.
 */
import { randomBytes } from 'node:crypto';
import { ScanError } from '../scan/errors.ts';
import type { Answer, UnscannableReason } from '../scan/model.ts';
import { eicar } from './eicar.ts';
import { hollowTar, nestedZip, rarOf, zipOf } from './payloads.ts';
import { parseReply, quote } from './protocol.ts';

/** One question to the engine, by way of the adapter that uploads take: its reply as it came. */
export type AskEngine = (payload: Buffer) => Promise<string>;

/** What an engine does wrong, found by a canary. */
export interface Fault {
  readonly canary: CanaryName;
  /** What it does, for people. */
  readonly what: string;
  /** What to write into clamd.conf, one line each; empty where no setting is to blame. */
  readonly settings: readonly string[];
  readonly reply: string;
}

type Complaint = Pick<Fault, 'what' | 'settings'>;

interface Canary {
  readonly name: CanaryName;
  payload(nonce: string): Buffer;
  /** What is wrong with an engine that answers this; null for the right answer. */
  judge(answer: Answer): Complaint | null;
}

/** `size-limits`, `rar` and `signatures` are judged by more than one answer: see calibration.ts and engine.ts. */
export const canaryNames = [
  'benign',
  'eicar',
  'eicar-in-zip',
  'encrypted-zip',
  'deep-zip',
  'size-over',
  'size-limits',
  'rar',
  'signatures',
] as const;
export type CanaryName = (typeof canaryNames)[number];

/** Beyond what any setting of ClamAV lets through. */
export const beyondAnySize = 2_147_483_647;
/** MaxRecursion may be set to 100. */
export const beyondAnyDepth = 110;

const alerts: Complaint = { what: 'it is silent about its limits', settings: ['AlertExceedsMax yes'] };

/** In this order: what the next one rests on comes first. */
const canaries: readonly Canary[] = [
  {
    name: 'benign',
    payload: (nonce) => Buffer.from(`benign canary ${nonce}`),
    judge: (answer) => (answer.kind === 'clean' ? null : { what: 'it finds something in harmless bytes', settings: [] }),
  },
  {
    name: 'eicar',
    // Found at the first byte alone, so without a nonce; what is found is never answered from a cache.
    payload: () => eicar(),
    judge: (answer) =>
      isRealFinding(answer) ? null : { what: 'it misses the EICAR test file: load signatures (freshclam)', settings: [] },
  },
  {
    name: 'eicar-in-zip',
    payload: (nonce) => zipOf({ name: `${nonce}.com`, data: eicar() }),
    judge(answer) {
      if (isRealFinding(answer)) return null;
      if (isUnscannable(answer, 'unscannable:too-deep')) return { what: 'it follows no archive', settings: ['MaxRecursion 17'] };
      return { what: 'it does not look into archives', settings: ['ScanArchive yes'] };
    },
  },
  {
    name: 'encrypted-zip',
    payload: (nonce) => zipOf({ name: nonce, data: Buffer.from(nonce.slice(0, 16)), method: 0, flags: 1 }),
    judge: (answer) =>
      isUnscannable(answer, 'unscannable:encrypted')
        ? null
        : { what: 'it calls encrypted archives clean', settings: ['AlertEncrypted yes'] },
  },
  {
    name: 'deep-zip',
    payload: (nonce) => nestedZip(beyondAnyDepth, Buffer.from(nonce)),
    // Where MaxScanSize is tiny, that is met before.
    judge: (answer) => (isUnscannable(answer, 'unscannable:too-deep', 'unscannable:too-large') ? null : alerts),
  },
  {
    name: 'size-over',
    payload: (nonce) => hollowTar(beyondAnySize, nonce),
    judge: (answer) => (isUnscannable(answer, 'unscannable:too-large') ? null : alerts),
  },
];

/** The largest payload: an engine that takes no stream of this length cannot be asked. */
export const largestCanaryBytes = Math.max(...canaries.map((canary) => canary.payload(freshNonce()).length));

/** New for each question, so that no cache knows the answer. */
export function freshNonce(): string {
  return randomBytes(16).toString('hex');
}

/** What it answered wrongly: all of it, so that all that is wrong is known at once. Throws what `ask` throws: no answer is no lie. */
export async function askCanaries(ask: AskEngine): Promise<readonly Fault[]> {
  const faults: Fault[] = [];
  const failed = (name: CanaryName) => faults.some(({ canary }) => canary === name);
  for (const { name, payload, judge } of canaries) {
    // What misses EICAR misses it in archives too, and may look into them all the same.
    if (name === 'eicar-in-zip' && failed('eicar')) continue;
    const { reply, answer } = await answered(ask, payload(freshNonce()));
    const complaint = judge(answer);
    if (complaint !== null) faults.push({ canary: name, ...complaint, reply });
    // The answers to come would only blame settings that may well be right.
    if (failed('benign') || failed('eicar-in-zip')) break;
  }
  return faults;
}

/** Whether an engine with these faults can still be asked for its limits. */
export function speaksOfLimits(faults: readonly Fault[]): boolean {
  const silent: readonly CanaryName[] = ['benign', 'eicar-in-zip', 'deep-zip', 'size-over'];
  return !faults.some(({ canary }) => silent.includes(canary));
}

/** Whether this build of ClamAV unpacks RAR: Debian's does not. */
export async function unpacksRar(ask: AskEngine): Promise<boolean> {
  return isRealFinding((await answered(ask, rarOf(`${freshNonce()}.com`, eicar()))).answer);
}

/** @throws ScanError `engine-unavailable` where it ran out of time: that is no answer, and so no wrong one. */
export async function answered(ask: AskEngine, payload: Buffer): Promise<{ reply: string; answer: Answer }> {
  const reply = await ask(payload);
  const answer = parseReply(reply);
  if (isUnscannable(answer, 'unscannable:too-slow'))
    throw new ScanError('engine-unavailable', 'it takes longer than MaxScanTime for a few kilobytes: set MaxScanTime 300000');
  return { reply, answer };
}

/** For logs and /readyz: each fault once, with what mends it. */
export function describeFaults(faults: readonly Fault[]): string {
  const sentences = faults.map(({ canary, what, settings, reply }) => {
    const advice = settings.length === 0 ? '' : `: set ${settings.join(' and ')}`;
    return reply === '' ? `${what}${advice}` : `${what}${advice} (canary ${canary} answered ${quote(reply)})`;
  });
  const isFirst = (at: number) => faults.findIndex(({ what }) => what === faults[at]!.what) === at;
  return sentences.filter((_, at) => isFirst(at)).join('; ');
}

/** What must change in clamd.conf, as it is to be written there, each line once. */
export function settingsOf(faults: readonly Fault[]): readonly string[] {
  return [...new Set(faults.flatMap(({ settings }) => settings))];
}

function isRealFinding(answer: Answer): boolean {
  return answer.kind === 'infected' && !answer.signature.startsWith('Heuristics.');
}

function isUnscannable(answer: Answer, ...reasons: readonly UnscannableReason[]): boolean {
  return answer.kind === 'unscannable' && reasons.includes(answer.reason);
}
