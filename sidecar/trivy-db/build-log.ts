/** Writing the log of a build, and finding it again. */
import { closeSync, constants, ftruncateSync, futimesSync, openSync, writeSync } from 'node:fs';
import { open, readdir, rm } from 'node:fs/promises';
import { codeOf } from '../durable.ts';
import { logPaths, storedLine } from './build-log-format.ts';
import { INDEX_HEADER, indexRecord, type Mark, START } from './build-log-index.ts';
import { LogReader } from './build-log-reader.ts';
import { countLines, isDue } from './build-log-scan.ts';
import type { BuildLogReader, BuildLogs } from './model.ts';

/** Logs of which is remembered what was counted. */
const MAX_KNOWN = 32;
const FLUSH_MS = 20;
const FLUSH_BYTES = 256 * 1024;
/** A program that prints for ever must not take the room of the databases. */
const MAX_LOG_BYTES = 2 * 1024 ** 3;
/** What shorten() leaves; a log that is not longer stays as it is. */
export const SHORT_BYTES = 1024 * 1024;

/**
 * Appends to the log of one build. Lines are gathered for 20 ms and then written at once and synchronously: in order, whole, in memory
 * that a program cannot fill by writing faster than the disk, and what was written survives a kill -9.
 * On a full disk lines are lost and counted, the build goes on, and the log says so when it can be written again. What comes after the
 * first 2 GiB is not kept, and a last line says so.
 */
export class BuildLogWriter {
  readonly #log: number;
  readonly #index: number;
  #indexBytes: number;
  /** The line that is written next. */
  #next: Mark;
  #marked: Mark;
  /** The last end of a line within the first SHORT_BYTES. */
  #short: Mark;
  readonly #maxBytes: number;
  #isFull = false;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #lost = 0;
  #timer: NodeJS.Timeout | null = null;
  #isClosed = false;

  private constructor(log: number, index: number, indexBytes: number, next: Mark, marks: readonly Mark[], maxBytes: number) {
    this.#log = log;
    this.#index = index;
    this.#indexBytes = indexBytes;
    this.#next = next;
    this.#marked = marks.at(-1) ?? START;
    this.#short = [...marks, next].findLast(({ offset }) => offset <= SHORT_BYTES) ?? START;
    this.#maxBytes = maxBytes;
  }

  /**
   * Begins the log, or goes on with one that was left: a line that was torn off ends where it is, and the index is made anew.
   * Rejects when the folder cannot be written, or the id can be none.
   */
  static async open(folder: string, buildId: string, maxBytes = MAX_LOG_BYTES): Promise<BuildLogWriter> {
    const paths = logPaths(folder, buildId);
    if (paths === null) throw new Error(`${JSON.stringify(buildId)} can be no id of a build`);
    const marks: Mark[] = [];
    const file = await open(paths.log, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644);
    let next: Mark;
    try {
      const { size } = await file.stat();
      next = await countLines(file, START, size, START, (mark) => marks.push(mark));
      if (next.offset < size) {
        await file.write('\n', size);
        next = { line: next.line + 1, offset: size + 1 };
      }
    } finally {
      await file.close();
    }
    const log = openSync(paths.log, constants.O_RDWR | constants.O_NOFOLLOW);
    try {
      const index = openSync(paths.index, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, 0o644);
      const known = Buffer.concat([INDEX_HEADER, ...marks.map((mark) => indexRecord(mark))]);
      writeWhole(index, known, 0);
      return new BuildLogWriter(log, index, known.length, next, marks, maxBytes);
    } catch (thrown) {
      closeSync(log);
      throw thrown;
    }
  }

  /** One line, whatever the text holds; line breaks in it become spaces. `cutBytes`: what was cut off its end before. Never throws. */
  write(text: string, cutBytes = 0): void {
    if (this.#isClosed || this.#isFull) return;
    const line = storedLine(text, cutBytes);
    this.#isFull = this.#next.offset + this.#pendingBytes + line.length > this.#maxBytes;
    this.#take(this.#isFull ? storedLine('The log is full: the rest is not kept.', 0) : line);
  }

  #take(line: Buffer): void {
    this.#pending.push(line);
    this.#pendingBytes += line.length;
    if (this.#pendingBytes >= FLUSH_BYTES) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS);
  }

  /**
   * Keeps the first mebibyte, for a disk that is full: the room is worth more than the rest. A line says what is gone. A shorter log stays
   * as it is. Never throws.
   */
  shorten(): void {
    if (this.#isClosed) return;
    this.#flush();
    const gone = this.#next.offset - this.#short.offset;
    if (this.#next.offset <= SHORT_BYTES) return;
    try {
      ftruncateSync(this.#log, this.#short.offset);
      ftruncateSync(this.#index, INDEX_HEADER.length);
    } catch {
      return;
    }
    this.#next = this.#short;
    this.#marked = START;
    this.#indexBytes = INDEX_HEADER.length;
    this.#take(storedLine(`The disk is full: ${gone.toLocaleString('en')} bytes of the log were removed here.`, 0));
  }

  /** Writes what is left and marks the log as ended, for those who follow it. Harmless when repeated. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#flush();
    if (this.#lost > 0) this.#flush();
    this.#writeIndex(indexRecord(this.#next, true));
    try {
      // Wakes those who watch the log for changes; else they look by themselves a second later.
      futimesSync(this.#log, new Date(), new Date());
    } finally {
      closeSync(this.#log);
      closeSync(this.#index);
    }
  }

  #flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const lost = this.#lost === 0 ? [] : [storedLine(`${this.#lost} lines are missing here: they could not be written to the disk`, 0)];
    const lines = [...lost, ...this.#pending];
    this.#pending = [];
    this.#pendingBytes = 0;
    if (lines.length === 0) return;
    try {
      writeWhole(this.#log, Buffer.concat(lines), this.#next.offset);
    } catch {
      this.#lost += lines.length - lost.length;
      this.#takeBack();
      return;
    }
    this.#lost = 0;
    this.#count(lines);
  }

  /** Half a batch would look like a torn line; the next one is written over it in any case. */
  #takeBack(): void {
    try {
      ftruncateSync(this.#log, this.#next.offset);
    } catch {
      // Nothing is lost by it.
    }
  }

  #count(lines: readonly Buffer[]): void {
    const records: Buffer[] = [];
    for (const { length } of lines) {
      this.#next = { line: this.#next.line + 1, offset: this.#next.offset + length };
      if (this.#next.offset <= SHORT_BYTES) this.#short = this.#next;
      if (!isDue(this.#marked, this.#next)) continue;
      this.#marked = this.#next;
      records.push(indexRecord(this.#next));
    }
    if (records.length > 0) this.#writeIndex(Buffer.concat(records));
  }

  /** What cannot be written is missed by nobody but the clock: a reader counts those lines itself. */
  #writeIndex(records: Buffer): void {
    try {
      writeWhole(this.#index, records, this.#indexBytes);
      this.#indexBytes += records.length;
    } catch {
      // Written over by the next ones.
    }
  }
}

function writeWhole(file: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, position + done);
}

/** The logs of one folder. Everything that reads them should share one of these: what was counted for one reader serves the others. */
export class BuildLogFiles implements BuildLogs {
  readonly #folder: string;
  readonly #known = new Map<string, LogReader>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Null also for what can be no id of a build. */
  async of(buildId: string): Promise<BuildLogReader | null> {
    return this.#of(buildId);
  }

  /** The one with the greatest id: ids sort by time, and there is only ever one running. */
  async latest(): Promise<(BuildLogReader & { readonly buildId: string }) | null> {
    const ids = (await this.#names()).filter((name) => name.endsWith('.log')).map((name) => name.slice(0, -'.log'.length));
    for (const id of ids.sort().reverse()) {
      const reader = await this.#of(id);
      if (reader !== null) return reader;
    }
    return null;
  }

  /** Harmless when repeated. Who reads it at the moment may find it ends early. */
  async remove(buildId: string): Promise<void> {
    const paths = logPaths(this.#folder, buildId);
    if (paths === null) return;
    this.#known.delete(buildId);
    await rm(paths.log, { force: true });
    await rm(paths.index, { force: true });
  }

  async #of(buildId: string): Promise<LogReader | null> {
    const paths = logPaths(this.#folder, buildId);
    if (paths === null) return null;
    const reader = this.#known.get(buildId) ?? new LogReader(buildId, paths.log, paths.index);
    this.#known.delete(buildId);
    if (!(await reader.exists())) return null;
    this.#known.set(buildId, reader);
    const [oldest] = this.#known.keys();
    if (this.#known.size > MAX_KNOWN && oldest !== undefined) this.#known.delete(oldest);
    return reader;
  }

  async #names(): Promise<string[]> {
    return readdir(this.#folder).catch((thrown) => {
      if (codeOf(thrown) === 'ENOENT') return [];
      throw thrown;
    });
  }
}
