/**
 * ar archives (.deb, static libraries), which clamd does not open: each member is asked about as a stream of its own, beside the whole.
 * The format: ar(5) of FreeBSD; long names: `#1/length` of BSD in front of the content, the table `//` of GNU as a member.
 */
import { PassThrough } from 'node:stream';
import { ScanError } from '../scan/errors.ts';
import type { Answer } from '../scan/model.ts';
import type { ScanInput } from '../scan/ports.ts';

/** What a file begins with that this module can open. */
export const arMagic = Buffer.from('!<arch>\n', 'latin1');

/** One question to the engine, with our own look at what it may not have seen; of the whole archive that look knows nothing. */
export type AskAbout = (input: ScanInput, part: 'whole' | 'member', signal: AbortSignal) => Promise<Answer>;

const headerLength = 60;
/** As clamd's MaxFiles for what it opens itself. */
const maxMembers = 10_000;
/** Members under scan at once: the next one waits for the first to end. */
const maxOpen = 4;
/** The connection of the whole archive stands still while a member waits, and must not be taken for stalled. */
const patienceMs = 10_000;

/** Whether the bytes are an ar archive, and the same input with nothing of it taken. */
export async function recognized(
  input: ScanInput,
  stallMs: number,
  signal: AbortSignal,
): Promise<{ readonly isAr: boolean; readonly input: ScanInput }> {
  const source = input.bytes[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  let head = Buffer.alloc(0);
  while (head.length < arMagic.length) {
    const { done, value } = await nextInTime(source, stallMs, signal);
    if (done) break;
    first.push(value);
    head = Buffer.concat([head, value.subarray(0, arMagic.length)]);
  }
  const bytes = async function* () {
    yield* first;
    yield* { [Symbol.asyncIterator]: () => source };
  };
  return { isAr: head.subarray(0, arMagic.length).equals(arMagic), input: replaced(input, closing(bytes(), source)) };
}

/** @throws ScanError `download` when nothing comes for so long; the signal's reason; what the source throws. The source is let go. */
async function nextInTime(source: AsyncIterator<Uint8Array>, stallMs: number, signal: AbortSignal): Promise<IteratorResult<Uint8Array>> {
  const stopped = Promise.withResolvers<never>();
  const abort = () => stopped.reject(signal.reason);
  const late = () => stopped.reject(new ScanError('download', `no byte came for ${stallMs} ms`));
  const timer = setTimeout(late, stallMs);
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([stopped.promise, source.next()]);
  } catch (thrown) {
    // Not awaited: a source that hangs answers this only when it stops hanging.
    source.return?.().catch(() => {});
    throw thrown;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}

/** Found beats unscannable beats clean, over the archive and all its members. Rejects like `ask`, and like the source. */
export async function scanAr(input: ScanInput, ask: AskAbout, signal: AbortSignal): Promise<Answer> {
  const failing = new AbortController();
  const either = AbortSignal.any([signal, failing.signal]);
  const members = new Members(
    (member) => ask(member, 'member', either),
    (thrown) => failing.abort(thrown),
  );
  const source = input.bytes[Symbol.asyncIterator]();
  const whole = replaced(input, closing(through(source, members), source));
  try {
    const answer = await ask(whole, 'whole', either);
    return worst([answer, ...(await members.answers())]);
  } catch (thrown) {
    failing.abort(thrown);
    members.abandon();
    throw failing.signal.reason;
  }
}

/** Member by member: of an input that is an instance, a spread would take none of its getters and methods. */
function replaced(input: ScanInput, bytes: AsyncIterable<Uint8Array>): ScanInput {
  return { size: input.size, bytes, spent: (chunk) => input.spent?.(chunk) };
}

/** A generator that is returned before its first byte was asked for closes nothing by itself. */
function closing(bytes: AsyncGenerator<Uint8Array>, source: AsyncIterator<Uint8Array>): AsyncIterable<Uint8Array> {
  const end = async (): Promise<IteratorResult<Uint8Array>> => {
    await Promise.all([source.return?.(), bytes.return(undefined)]);
    return { done: true, value: undefined };
  };
  return { [Symbol.asyncIterator]: () => ({ next: () => bytes.next(), return: end }) };
}

async function* through(source: AsyncIterator<Uint8Array>, members: Members): AsyncGenerator<Uint8Array> {
  for await (const chunk of { [Symbol.asyncIterator]: () => source }) {
    await members.push(chunk);
    yield chunk;
  }
  members.end();
}

function worst(answers: readonly Answer[]): Answer {
  const first = (kind: Answer['kind']) => answers.find((answer) => answer.kind === kind);
  return first('infected') ?? first('unscannable') ?? { kind: 'clean' };
}

/** Cuts the bytes of an archive into members and has each judged while it comes. */
class Members {
  readonly #judge: (member: ScanInput) => Promise<Answer>;
  readonly #failed: (thrown: unknown) => void;
  readonly #scans: Promise<Answer>[] = [];
  readonly #running = new Set<Promise<unknown>>();
  #magic = arMagic.length;
  #header = Buffer.alloc(0);
  #left = 0;
  #name = 0;
  #padded = false;
  #member: { readonly bytes: PassThrough; readonly scan: Promise<Answer> } | null = null;
  #refusal: Answer | null = null;

  constructor(judge: (member: ScanInput) => Promise<Answer>, failed: (thrown: unknown) => void) {
    this.#judge = judge;
    this.#failed = failed;
  }

  /** Resolves when the members have taken what is theirs. Never rejects: what a scan meets comes with its answer. */
  async push(chunk: Uint8Array): Promise<void> {
    let rest = chunk;
    while (rest.length > 0 && this.#refusal === null) {
      if (this.#magic > 0) rest = this.#skip(rest);
      else if (this.#left > 0) rest = await this.#fill(rest);
      else rest = await this.#open(rest);
    }
  }

  end(): void {
    // Some writers leave out the last byte of padding; nothing else may be missing.
    const isWhole = this.#magic === 0 && this.#left === 0 && (this.#header.length === 0 || isPadding(this.#header));
    if (!isWhole) this.#refuse('unscannable:damaged');
  }

  async answers(): Promise<Answer[]> {
    const answers = await Promise.all(this.#scans);
    return this.#refusal === null ? answers : [...answers, this.#refusal];
  }

  /** Nobody waits for the answers any more. */
  abandon(): void {
    this.#member?.bytes.destroy();
    for (const scan of this.#scans) scan.catch(() => {});
  }

  #skip(chunk: Uint8Array): Uint8Array {
    const length = Math.min(this.#magic, chunk.length);
    this.#magic -= length;
    return chunk.subarray(length);
  }

  async #open(chunk: Uint8Array): Promise<Uint8Array> {
    const from = this.#padded ? 1 : 0;
    this.#padded = false;
    const taken = chunk.subarray(from, from + headerLength - this.#header.length);
    this.#header = Buffer.concat([this.#header, taken]);
    const rest = chunk.subarray(from + taken.length);
    if (this.#header.length < headerLength) return rest;
    const header = readHeader(this.#header);
    this.#header = Buffer.alloc(0);
    if (header === null) this.#refuse('unscannable:damaged');
    else if (this.#scans.length >= maxMembers) this.#refuse('unscannable:too-many-files');
    else await this.#begin(header);
    return rest;
  }

  async #begin({ size, name }: Header): Promise<void> {
    this.#left = size;
    this.#name = name;
    this.#padded = size % 2 === 1;
    if (size === name) return;
    if (this.#running.size >= maxOpen && !(await within(patienceMs, Promise.race(this.#running))))
      return this.#refuse('unscannable:too-slow');
    const bytes = new PassThrough();
    const scan = this.#judge({ size: size - name, bytes });
    this.#member = { bytes, scan };
    this.#scans.push(scan);
    // A scan that ended early takes no more; what is left of its member passes by.
    const ended = scan.then(
      () => bytes.destroy(),
      (thrown) => {
        bytes.destroy();
        if (this.#scans.includes(scan)) this.#failed(thrown);
      },
    );
    this.#running.add(ended);
    void ended.then(() => this.#running.delete(ended));
  }

  async #fill(chunk: Uint8Array): Promise<Uint8Array> {
    const part = chunk.subarray(0, this.#left);
    this.#left -= part.length;
    const name = part.subarray(0, this.#name);
    this.#name -= name.length;
    const content = part.subarray(name.length);
    // Copied: the chunk's memory is used again once the whole archive's connection has sent it.
    if (content.length > 0 && this.#member !== null) await write(this.#member.bytes, Buffer.from(content));
    if (this.#left === 0) {
      this.#member?.bytes.end();
      this.#member = null;
    }
    return chunk.subarray(part.length);
  }

  #refuse(reason: 'unscannable:damaged' | 'unscannable:too-many-files' | 'unscannable:too-slow'): void {
    this.#refusal ??= { kind: 'unscannable', reason };
    const cut = this.#member;
    if (cut === null) return;
    // Its scan would wait for the rest, and answers for nothing whole.
    this.#member = null;
    this.#scans.splice(this.#scans.indexOf(cut.scan), 1);
    cut.scan.catch(() => {});
    cut.bytes.destroy();
  }
}

interface Header {
  /** Of the data, in bytes. */
  readonly size: number;
  /** Bytes of the data that are a long name. */
  readonly name: number;
}

function readHeader(bytes: Buffer): Header | null {
  const text = bytes.toString('latin1');
  const size = /^(\d{1,10}) *$/.exec(text.slice(48, 58))?.[1];
  if (text.slice(58) !== '`\n' || size === undefined) return null;
  const name = Number(/^#1\/(\d{1,13}) *$/.exec(text.slice(0, 16))?.[1] ?? 0);
  return name > Number(size) ? null : { size: Number(size), name };
}

function isPadding(bytes: Buffer): boolean {
  return bytes.length === 1 && bytes[0] === 0x0a;
}

/** Resolves when there is room for more, or when nobody takes any. */
async function write(stream: PassThrough, bytes: Uint8Array): Promise<void> {
  if (stream.destroyed || stream.write(bytes)) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.once('drain', resolve).once('close', resolve);
  await promise;
  stream.off('drain', resolve).off('close', resolve);
}

async function within(ms: number, work: Promise<unknown>): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = setTimeout(() => late.resolve(false), ms);
  try {
    return await Promise.race([work.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
