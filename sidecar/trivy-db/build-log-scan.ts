/** What the index does not tell: counted from the log itself, from where it was last looked at. */
import type { FileHandle } from 'node:fs/promises';
import { IndexFile, MARK_BYTES, MARK_LINES, type Mark, openToRead, START } from './build-log-index.ts';

const CHUNK_BYTES = 256 * 1024;
const LF = 0x0a;

/**
 * Counts whole lines from `from` to `end`; resolves with where the first unfinished one begins. `onMark` gets those that an index would
 * keep, when `marked` is the last that is kept.
 */
export async function countLines(file: FileHandle, from: Mark, end: number, marked: Mark, onMark: (mark: Mark) => void): Promise<Mark> {
  const buffer = Buffer.alloc(Math.min(CHUNK_BYTES, Math.max(1, end - from.offset)));
  let reached = from;
  let kept = marked;
  for (let position = from.offset; position < end; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, end - position), position);
    if (bytesRead === 0) break;
    const chunk = buffer.subarray(0, bytesRead);
    for (let at = chunk.indexOf(LF); at !== -1; at = chunk.indexOf(LF, at + 1)) {
      reached = { line: reached.line + 1, offset: position + at + 1 };
      if (!isDue(kept, reached)) continue;
      kept = reached;
      onMark(reached);
    }
    position += bytesRead;
  }
  return reached;
}

/** Whether the index keeps `next` when the last one that it keeps is `marked`. */
export function isDue(marked: Mark, next: Mark): boolean {
  return next.line - marked.line >= MARK_LINES || next.offset - marked.offset >= MARK_BYTES;
}

export interface LogShape {
  /** Where the next line begins: its number is one more than there are lines. */
  readonly end: Mark;
  readonly isClosed: boolean;
}

/**
 * What is known of one log, shared by all who read it: what the index tells, and from there on what was counted once. Without a usable
 * index the whole log is counted, once in the life of this object. Nothing is ever written.
 */
export class LogScan {
  readonly #logPath: string;
  readonly #indexPath: string;
  #inode: number | null = null;
  #end: Mark = START;
  /** Where the index ends; null without a usable one. */
  #indexed: Mark | null = null;
  /** Behind the end of the index. */
  #marks: Mark[] = [];
  #asked: Promise<LogShape | null> | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(logPath: string, indexPath: string) {
    this.#logPath = logPath;
    this.#indexPath = indexPath;
  }

  /** Null where there is no log. */
  shape(): Promise<LogShape | null> {
    this.#asked ??= this.#inTurn(() => {
      // Whoever asks from now on may know of lines that this look does not see.
      this.#asked = null;
      return this.#shape();
    });
    return this.#asked;
  }

  /** Where to begin reading to get at `line`, which must be within the log. */
  before(line: number): Promise<Mark> {
    return this.#inTurn(() => this.#before(line));
  }

  /** One after the other, so that what two ask for at once is counted once. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #shape(): Promise<LogShape | null> {
    const file = await openToRead(this.#logPath);
    if (file === null) return null;
    try {
      const { size, ino } = await file.stat();
      if (ino !== this.#inode || size < this.#end.offset) this.#reset(ino);
      const isClosed = await this.#goByIndex(file, size);
      const marked = this.#marks.at(-1) ?? this.#indexed ?? START;
      if (size > this.#end.offset) this.#end = await countLines(file, this.#end, size, marked, (mark) => this.#marks.push(mark));
      return { end: this.#end, isClosed };
    } finally {
      await file.close();
    }
  }

  /** Goes as far as the index does; answers whether it says that the log is closed. */
  async #goByIndex(file: FileHandle, size: number): Promise<boolean> {
    const index = await IndexFile.open(this.#indexPath);
    const last = await index?.last(size);
    await index?.close();
    if (last == null || !(await beginsLine(file, last.offset))) {
      if (this.#indexed !== null) this.#reset(this.#inode);
      return false;
    }
    if (last.offset >= this.#end.offset) {
      this.#end = last;
      this.#indexed = last;
      this.#marks = [];
    }
    return last.isClosed && last.offset === size;
  }

  #reset(inode: number | null): void {
    this.#inode = inode;
    this.#end = START;
    this.#indexed = null;
    this.#marks = [];
  }

  async #before(line: number): Promise<Mark> {
    const near = this.#marks.findLast((mark) => mark.line <= line);
    if (near !== undefined || this.#indexed === null) return near ?? START;
    const index = await IndexFile.open(this.#indexPath);
    const mark = await index?.before(line);
    await index?.close();
    // Damaged behind our back: from the beginning is slow, and right.
    return mark ?? START;
  }
}

async function beginsLine(file: FileHandle, offset: number): Promise<boolean> {
  if (offset === 0) return true;
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, offset - 1);
  return byte[0] === LF;
}
