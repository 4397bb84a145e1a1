/**
 * Payloads whose right answer is known. PING answers PONG with no signature loaded, and stock settings answer OK to whatever
 * they did not look at; only these prove that an engine detects, looks into archives and says when it could not.
 */
import { randomBytes } from 'node:crypto';
import { ScanError } from '../scan/errors.ts';
import type { Answer } from '../scan/model.ts';
import { eicar } from './eicar.ts';
import { hollowTar, nestedZip, rarOf, zipOf } from './payloads.ts';
import { parseReply, quote } from './protocol.ts';

/** One question to the engine, by way of the adapter that uploads take: its reply as it came. */
export type AskEngine = (payload: Buffer) => Promise<string>;

export interface Canary {
  readonly name: string;
  payload(): Buffer;
  /** Is this the right answer? */
  accepts(answer: Answer): boolean;
  /** What is wrong with an engine that answers anything else, and what to do. */
  readonly complaint: string;
}

/** Beyond what any setting of ClamAV lets through. */
const beyondAnyLimit = 2_147_483_647;

export function createCanaries(): readonly Canary[] {
  const fixed = (name: string, payload: Buffer, accepts: Canary['accepts'], complaint: string): Canary => ({
    name,
    payload: () => payload,
    accepts,
    complaint,
  });
  return [
    {
      name: 'benign',
      // Fresh each time, so that no cache answers.
      payload: () => Buffer.from(`benign canary ${randomBytes(16).toString('hex')}`),
      accepts: (answer) => answer.kind === 'clean',
      complaint: 'it finds something in harmless bytes',
    },
    fixed('eicar', eicar(), isRealFinding, 'it misses the EICAR test file: load signatures (freshclam)'),
    fixed(
      'eicar-in-zip',
      zipOf({ name: 'eicar.com', data: eicar() }),
      isRealFinding,
      'it does not look into archives: set ScanArchive yes',
    ),
    fixed(
      'encrypted-zip',
      zipOf({ name: 'secret', data: Buffer.alloc(16, 'x'), method: 0, flags: 1 }),
      isUnscannable('unscannable:encrypted'),
      'it calls encrypted archives clean: set AlertEncrypted yes',
    ),
    // Deeper than the 100 levels that MaxRecursion may be set to.
    fixed('deep-zip', nestedZip(110), isUnscannable('unscannable:too-deep'), 'it is silent about its limits: set AlertExceedsMax yes'),
    fixed(
      'oversize-tar',
      hollowTar(beyondAnyLimit),
      isUnscannable('unscannable:too-large'),
      'it is silent about its size limits: set AlertExceedsMax yes',
    ),
  ];
}

function isRealFinding(answer: Answer): boolean {
  return answer.kind === 'infected' && !answer.signature.startsWith('Heuristics.');
}

function isUnscannable(reason: string): Canary['accepts'] {
  return (answer) => answer.kind === 'unscannable' && answer.reason === reason;
}

/** @throws ScanError `engine-unavailable`, saying what is wrong, when a canary is answered wrongly. */
export async function checkCanaries(ask: AskEngine, canaries: readonly Canary[]): Promise<void> {
  for (const canary of canaries) {
    const reply = await ask(canary.payload());
    if (!canary.accepts(parseReply(reply)))
      throw new ScanError('engine-unavailable', `${canary.complaint} (canary ${canary.name} answered ${quote(reply)})`);
  }
}

/** Whether this build of ClamAV unpacks RAR: Debian's does not. */
export async function unpacksRar(ask: AskEngine): Promise<boolean> {
  return isRealFinding(parseReply(await ask(rarOf('eicar.com', eicar()))));
}

/**
 * A compressed zip member beyond MaxFileSize is cut there and the rest is never looked at, without any alert, unless it then
 * exceeds MaxScanSize (ClamAV pull request 1832). So the size limit that is met first must be MaxScanSize; it is found by
 * bisection with archives that claim a size and hold nothing.
 * @throws ScanError `engine-unavailable` when MaxFileSize is met first.
 */
export async function checkSizeLimits(ask: AskEngine): Promise<void> {
  let judged = 0;
  let refused = beyondAnyLimit;
  let reply = await ask(hollowTar(refused));
  while (refused - judged > 1) {
    const size = Math.floor((judged + refused) / 2);
    const tried = await ask(hollowTar(size));
    if (parseReply(tried).kind === 'clean') judged = size;
    else [refused, reply] = [size, tried];
  }
  if (!reply.includes('.MaxScanSize ')) {
    throw new ScanError('engine-unavailable', `it cuts zip members silently at ${judged} bytes: set MaxFileSize above MaxScanSize`);
  }
}
