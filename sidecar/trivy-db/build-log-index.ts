/**
 * Where the lines of a log begin, kept in a file beside it. A record for every 256th line, and at least for every 256 KiB, so that
 * reading from any line costs no more than that. The log alone is the truth: whatever is missing here is counted again from it.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { codeOf } from '../durable.ts';

/** Line number `line`, from 1, begins at byte `offset`. */
export interface Mark {
  readonly line: number;
  readonly offset: number;
}

export const MARK_LINES = 256;
export const MARK_BYTES = 256 * 1024;
export const START: Mark = { line: 1, offset: 0 };

export const INDEX_HEADER = Buffer.from('PWLOGIX1');
const RECORD_BYTES = 24;
const CLOSED = 1;

/** `isClosed`: the log ends there and nobody writes to it any more. */
export function indexRecord({ line, offset }: Mark, isClosed = false): Buffer {
  const record = Buffer.alloc(RECORD_BYTES);
  record.writeDoubleLE(line, 0);
  record.writeDoubleLE(offset, 8);
  record.writeUInt32LE(isClosed ? CLOSED : 0, 16);
  record.writeUInt32LE(crc32(record.subarray(0, 20)), 20);
  return record;
}

export interface LogEnd extends Mark {
  readonly isClosed: boolean;
}

/** Reads single records of the file; one that does not check out counts as not there. */
export class IndexFile {
  readonly #file: FileHandle;
  readonly #records: number;

  private constructor(file: FileHandle, records: number) {
    this.#file = file;
    this.#records = records;
  }

  /** Null where there is none, or none of ours. */
  static async open(path: string): Promise<IndexFile | null> {
    const file = await openToRead(path);
    if (file === null) return null;
    const header = Buffer.alloc(INDEX_HEADER.length);
    await file.read(header, 0, header.length, 0);
    if (!header.equals(INDEX_HEADER)) {
      await file.close();
      return null;
    }
    // What was torn off at the end is no record.
    return new IndexFile(file, Math.floor(((await file.stat()).size - INDEX_HEADER.length) / RECORD_BYTES));
  }

  /** The last record that is right and does not lie behind the end of the log; null where none is. */
  async last(logBytes: number): Promise<LogEnd | null> {
    let low = 0;
    let high = this.#records;
    while (low < high) {
      // The very last one nearly always; the file is ahead only of a log that lost its end in a power cut.
      const middle = high === this.#records ? high - 1 : (low + high) >>> 1;
      const mark = await this.#at(middle);
      if (mark === null) return null;
      if (mark.offset <= logBytes) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? null : this.#at(low - 1);
  }

  /** The last record at or before `line`; START where none is; null where a record on the way is damaged. */
  async before(line: number): Promise<Mark | null> {
    let low = 0;
    let high = this.#records;
    let found: Mark = START;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const mark = await this.#at(middle);
      if (mark === null) return null;
      if (mark.line <= line) {
        found = mark;
        low = middle + 1;
      } else high = middle;
    }
    return found;
  }

  async #at(index: number): Promise<LogEnd | null> {
    const record = Buffer.alloc(RECORD_BYTES);
    const { bytesRead } = await this.#file.read(record, 0, RECORD_BYTES, INDEX_HEADER.length + index * RECORD_BYTES);
    if (bytesRead < RECORD_BYTES || record.readUInt32LE(20) !== crc32(record.subarray(0, 20))) return null;
    return { line: record.readDoubleLE(0), offset: record.readDoubleLE(8), isClosed: record.readUInt32LE(16) === CLOSED };
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Null where there is no such file: a symbolic link is none. A pipe is not waited for. */
export async function openToRead(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (thrown) {
    const code = codeOf(thrown);
    if (code === 'ENOENT' || code === 'ELOOP') return null;
    throw thrown;
  }
}
