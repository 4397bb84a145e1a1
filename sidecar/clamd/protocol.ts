/** What clamd says, taken at its word only where it is one known form from the first byte to the last. */
import { ScanError } from '../scan/errors.ts';
import type { Answer, EngineVersion, UnscannableReason } from '../scan/model.ts';

/** clamd names a signature in far less; more is not a name. */
const found = /^stream: ([^\p{Cc}]{1,512}) FOUND\0$/u;

const limits: Readonly<Record<string, UnscannableReason>> = {
  MaxFileSize: 'unscannable:too-large',
  MaxScanSize: 'unscannable:too-large',
  MaxRecursion: 'unscannable:too-deep',
  MaxFiles: 'unscannable:too-many-files',
  MaxScanTime: 'unscannable:too-slow',
};

/**
 * The reply to `zINSTREAM`, a reply being everything up to the end of the connection. Names of limits, of encryption and of damage are no
 * findings: the engine says that it has not seen everything.
 * @throws ScanError `engine-busy` or `engine-reply` for anything that is not an answer.
 */
export function parseReply(reply: string): Answer {
  if (reply === 'stream: OK\0') return { kind: 'clean' };
  const signature = found.exec(reply)?.[1];
  if (signature === undefined) throw replyError(reply, `the engine answered ${quote(reply)}`);
  const reason = unscannable(signature);
  return reason === null ? { kind: 'infected', signature } : { kind: 'unscannable', reason };
}

/** For a full disk, while clamd receives or unpacks; measured on 1.4.6. */
const noRoom = /(?:Error writing to temporary file|Can't (?:write to|create temporary|create new) (?:file|directory)) ERROR\0?$/;

export function isNoRoom(reply: string): boolean {
  return noRoom.test(reply);
}

/** What is no answer, as a ScanError: `engine-busy` where the engine has no room just now, else `engine-reply`. */
export function replyError(reply: string, message: string): ScanError {
  return new ScanError(isNoRoom(reply) ? 'engine-busy' : 'engine-reply', message);
}

function unscannable(signature: string): UnscannableReason | null {
  if (signature.startsWith('Heuristics.Encrypted.')) return 'unscannable:encrypted';
  // A program or picture that is cut short or malformed: honest releases ship such test data, and it is no malware that was found.
  if (signature.startsWith('Heuristics.Broken.')) return 'unscannable:damaged';
  // More memory than it allows itself: nothing of the file was unpacked.
  if (signature === 'Heuristics.XZ.DicSizeLimit') return 'unscannable:xz-filter';
  const limit = /^Heuristics\.Limits\.(?:Exceeded\.)?(.+)$/.exec(signature)?.[1];
  if (limit === undefined) return null;
  return Object.hasOwn(limits, limit) ? limits[limit]! : 'unscannable:limits';
}

const versionReply = /^ClamAV ([^\s/]{1,64})(?:\/(\d{1,10})\/([^\p{Cc}]{1,32}))?\0$/u;

/** What clamd says instead of a number when a failed reload has cost it its signatures. */
const lostEngine = '4294967295';

/**
 * The reply to `zVERSION`. Without an official set clamd names no number: `test`.
 * @throws ScanError `engine-unavailable` when the engine has lost its signatures, `engine-reply` for anything else.
 */
export function parseVersion(reply: string): EngineVersion {
  const match = versionReply.exec(reply);
  if (match === null) throw new ScanError('engine-reply', `the engine answered VERSION with ${quote(reply)}`);
  const [, version, number, date] = match;
  if (number === lostEngine)
    throw new ScanError('engine-unavailable', 'the engine has lost its signatures in a failed reload: restart clamd');
  if (number === undefined || date === undefined) return { version: version!, signatures: 'test', signaturesAt: null };
  return { version: version!, signatures: Number(number), signaturesAt: parseDate(date) };
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** ctime() of clamd, which names no zone; every clamd of ours runs in UTC. */
function parseDate(text: string): string {
  const match = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) [ \d](\d) (\d\d):(\d\d):(\d\d) (\d{4})$/.exec(text);
  const month = months.indexOf(match?.[1] ?? '');
  if (match === null || month < 0) throw new ScanError('engine-reply', `the engine dates its signatures ${quote(text)}`);
  const day = Number(text.slice(8, 10));
  const [hour, minute, second, year] = match.slice(3).map(Number) as [number, number, number, number];
  return new Date(Date.UTC(year, month, day, hour, minute, second)).toISOString();
}

/**
 * From the reply to `zSTATS`: bytes in the memory pool that the engine keeps its signatures in, or null where this build of ClamAV
 * does not tell. clamd names the number of a set but not how many signatures it holds; this grows and falls with them.
 */
export function parseSignatureBytes(reply: string): number | null {
  const megabytes = /\bpools_used (\d{1,7}\.\d{3})M\b/.exec(reply)?.[1];
  return megabytes === undefined ? null : Math.round(Number(megabytes) * 1024 * 1024);
}

/** For messages: short, on one line, harmless. */
export function quote(text: string): string {
  return text === '' ? 'nothing' : JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}
