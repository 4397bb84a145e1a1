import { ScanError } from './errors.ts';
import { fold } from './fold.ts';
import type { Answer, BuildFile, Check, Engine, FileVerdict, Verdict } from './model.ts';
import { LARGE_BYTES, type Permit, type Permits } from './permits.ts';
import type { BuildStore, Clock, Digest, FileStream, Scanned, Scanner } from './ports.ts';
import type { Story } from './story.ts';

export interface ScanTools {
  readonly store: BuildStore;
  readonly scanner: Scanner;
  readonly clock: Clock;
  readonly permits: Permits;
}

/** What the worker wants to know while a scan is under way. */
export interface ScanProgress {
  readonly story: Story;
  /** A file waits for a permit for large files. */
  parked(): void;
  /** A file got its permit: from here on PocketBase may have been asked for bytes. */
  begun(): void;
  /** Its bytes are on their way from here until `closed`. */
  opened(name: string, stream: FileStream): void;
  closed(name: string): void;
}

/**
 * Judges every file of a build, in parallel as far as the shared permits go. Clean only if each was read to its announced end and
 * answered. Throws a ScanError where there is no verdict; once `signal` has aborted that is the signal's reason.
 */
export async function scanBuild(check: Check, tools: ScanTools, progress: ScanProgress, signal: AbortSignal): Promise<Verdict> {
  const results = await Promise.all(
    check.files.map(async (file) => {
      try {
        const judged = await scanFile(check, file, tools, progress, signal);
        progress.story.fileJudged(judged);
        return judged;
      } catch (thrown) {
        const error = failureOf(thrown, signal);
        progress.story.fileFailed(file.name, error);
        return error;
      }
    }),
  );
  const noneAsked = results.length > 0 && results.every((result) => !(result instanceof ScanError) && result.engine === null);
  return fold(results, noneAsked ? await anyEngine(tools.scanner, signal) : null);
}

/** A stop or a lost lease must never be reported as a failure of the engine or of the store. */
function failureOf(thrown: unknown, signal: AbortSignal): ScanError {
  return ScanError.from(signal.aborted ? signal.reason : thrown);
}

async function scanFile(
  check: Check,
  file: BuildFile,
  tools: ScanTools,
  progress: ScanProgress,
  signal: AbortSignal,
): Promise<FileVerdict> {
  const { scanner, clock } = tools;
  if (file.size > scanner.maxBytes) return tooLarge(file.name, file.size, 0);
  const { stream, permit, since } = await open(check, file, tools, progress, signal);
  progress.opened(file.name, stream);
  try {
    if (stream.size > scanner.maxBytes) return tooLarge(file.name, stream.size, clock.now() - since);
    const { answer, engine, sent } = await scanner.scan(stream, signal);
    signal.throwIfAborted();
    const judged = { name: file.name, size: stream.size, answer, ms: Math.round(clock.now() - since), engine };
    return { ...judged, sha256: isRefusedUnread(answer, sent, stream) ? '' : covered(stream, sent) };
  } finally {
    progress.closed(file.name);
    stream.close();
    permit.release();
  }
}

interface Opened {
  readonly stream: FileStream;
  readonly permit: Permit;
  readonly since: number;
}

/** Where the size is unknown the file counts as small until it is open; a large one then hands its place back and queues as what it is. */
async function open(check: Check, file: BuildFile, tools: ScanTools, progress: ScanProgress, signal: AbortSignal): Promise<Opened> {
  const isLarge = file.size > LARGE_BYTES;
  if (isLarge) progress.parked();
  const permit = await tools.permits.acquire(isLarge ? 'large' : 'small', signal);
  try {
    progress.begun();
    const since = tools.clock.now();
    const stream = await tools.store.open(check, file, signal);
    if (file.size > 0 && stream.size !== file.size) {
      stream.close();
      throw new ScanError('download', `PocketBase announced ${file.size} bytes and then ${stream.size}`);
    }
    if (isLarge || stream.size <= LARGE_BYTES || stream.size > tools.scanner.maxBytes || permit.enlarge()) return { stream, permit, since };
    stream.close();
    permit.release();
    return await open(check, { name: file.name, size: stream.size }, tools, progress, signal);
  } catch (thrown) {
    permit.release();
    throw thrown;
  }
}

/** Too large for each engine that there is: that may be said of what nobody has read. */
function isRefusedUnread(answer: Answer, sent: Scanned['sent'], stream: FileStream): boolean {
  return answer.kind === 'unscannable' && answer.reason === 'unscannable:too-large' && sent === 0 && stream.position === 0;
}

/**
 * The digest of a file of which every byte that was announced was downloaded, sent and hashed, each counted by whoever did it.
 * @throws ScanError where any two differ: no verdict, whatever the engine said.
 */
function covered(stream: FileStream, sent: number): string {
  const { size: announced, position: downloaded } = stream;
  if (downloaded > announced) throw new ScanError('download', `${announced} bytes were announced and ${downloaded} downloaded`);
  if (downloaded < announced)
    throw new ScanError('engine-reply', `the engine answered when ${downloaded} of ${announced} bytes had been downloaded`);
  if (sent !== announced) throw new ScanError('engine-reply', `${announced} bytes were announced and ${sent} sent to the engine`);
  const { sha256, bytes } = digestOf(stream);
  if (bytes !== announced) throw new ScanError('download', `${announced} bytes were announced and ${bytes} hashed`);
  return sha256;
}

function digestOf(stream: FileStream): Digest {
  try {
    return stream.digest();
  } catch (thrown) {
    throw new ScanError('download', 'a file that was read to its end has no digest', { cause: thrown });
  }
}

function tooLarge(name: string, size: number, ms: number): FileVerdict {
  const answer = { kind: 'unscannable', reason: 'unscannable:too-large' } as const;
  return { name, size, sha256: '', answer, ms: Math.round(ms), engine: null };
}

/** A verdict names the engine whose limits it rests on; one that answers nothing at all is ready and has passed its canaries. */
async function anyEngine(scanner: Scanner, signal: AbortSignal): Promise<Engine> {
  const nothing = { size: 0, bytes: (async function* () {})() };
  try {
    return (await scanner.scan(nothing, signal)).engine;
  } catch (thrown) {
    throw failureOf(thrown, signal);
  }
}
