/** What an engine really looks at, measured with questions that cost a few kilobytes: whatever its clamd.conf says. */
import { ScanError } from '../scan/errors.ts';
import type { EngineLimits } from '../scan/model.ts';
import { type AskEngine, answered, beyondAnyDepth, beyondAnySize, type Fault, freshNonce, largestCanaryBytes } from './canary.ts';
import { hollowTar, hollowTarBytes, nestedZip } from './payloads.ts';

/** The largest file that an engine with these limits looks at. */
export function wholeBytes({ stream, scan }: EngineLimits): number {
  return Math.min(stream, scan, mostJudgedBytes);
}

export interface Questions {
  readonly ask: AskEngine;
  /** Whether a stream of so many bytes would be taken; no byte of it is sent. */
  acceptsStream(bytes: number): Promise<boolean>;
}

export interface Calibration {
  readonly limits: EngineLimits;
  readonly faults: readonly Fault[];
}

/** ClamAV looks at 2 GiB − 3 bytes of a file at most; MaxScanSize must be less than that (see `sizeFaults`). */
export const mostJudgedBytes = 2_147_483_644;

/** The largest length that a stream can announce. */
const longestStream = 4_294_967_295;

/** Limits of the shared clamd.conf: tried first, since most engines have them. */
const usual: EngineLimits = { stream: 2_147_483_645, scan: mostJudgedBytes, recursion: 16 };

/**
 * @throws ScanError `engine-unavailable` when it takes too short streams for a canary.
 */
export async function measureStream({ acceptsStream }: Questions): Promise<number> {
  const stream = await largest({ low: 0, high: longestStream + 1, guess: usual.stream }, acceptsStream);
  if (stream >= largestCanaryBytes) return stream;
  throw new ScanError(
    'engine-unavailable',
    `it takes streams of ${stream} bytes at most, too few to be asked: set StreamMaxLength 2147483645`,
  );
}

/**
 * Of an engine that speaks about its limits, as its canaries have proved. Not measured: MaxFiles and MaxScanTime, which alert as
 * the others do, and the limits of single steps (MaxHTMLNormalize and the like), which ClamAV keeps to in silence.
 */
export async function measureLimits(questions: Questions, stream: number): Promise<Calibration> {
  const { ask } = questions;
  const size = { low: 0, high: beyondAnySize, guess: usual.scan - hollowTarBytes };
  const claimed = await largest(size, async (bytes) => (await sizeReply(ask, bytes)) === 'stream: OK\0');
  const recursion = await largest({ low: 0, high: beyondAnyDepth, guess: usual.recursion }, (depth) => follows(ask, depth));
  const reply = await sizeReply(ask, claimed + 1);
  return { limits: { stream, scan: claimed + hollowTarBytes, recursion }, faults: sizeFaults(claimed, reply) };
}

/** Whether the limits are still what they were: a clamd that was started again within seconds may have others. */
export async function limitsHold({ ask, acceptsStream }: Questions, { stream, scan, recursion }: EngineLimits): Promise<boolean> {
  const claimed = scan - hollowTarBytes;
  return (
    (await acceptsStream(stream)) &&
    (stream === longestStream || !(await acceptsStream(stream + 1))) &&
    (await sizeReply(ask, claimed)) === 'stream: OK\0' &&
    isMaxScanSize(await sizeReply(ask, claimed + 1)) &&
    (await follows(ask, recursion)) &&
    !(await follows(ask, recursion + 1))
  );
}

/**
 * A compressed zip member beyond MaxFileSize is cut there and the rest is never looked at, without any alert, unless it then
 * exceeds MaxScanSize (ClamAV pull request 1832). So the size limit that is met first must be MaxScanSize.
 */
function sizeFaults(judged: number, reply: string): readonly Fault[] {
  if (isMaxScanSize(reply)) return [];
  const what = `it cuts zip members silently at ${judged} bytes, because MaxFileSize is not above MaxScanSize`;
  return [{ canary: 'size-limits', what, settings: ['MaxFileSize 2147483645', 'MaxScanSize 2147483644'], reply }];
}

function isMaxScanSize(reply: string): boolean {
  return reply.includes('.MaxScanSize ');
}

async function sizeReply(ask: AskEngine, claimed: number): Promise<string> {
  return (await answered(ask, hollowTar(claimed, freshNonce()))).reply;
}

async function follows(ask: AskEngine, depth: number): Promise<boolean> {
  return (await answered(ask, nestedZip(depth, Buffer.from(freshNonce())))).answer.kind === 'clean';
}

/** The largest number in [low, high) that fits, where `low` is known to and `high` is known not to. `guess` saves the search when right. */
async function largest(range: { low: number; high: number; guess: number }, fits: (value: number) => Promise<boolean>): Promise<number> {
  let { low, high } = range;
  if (await fits(range.guess)) {
    low = range.guess;
    if (range.guess + 1 === high || !(await fits(range.guess + 1))) return low;
    low += 1;
  } else high = range.guess;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (await fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}
