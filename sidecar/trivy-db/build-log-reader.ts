import type { FileHandle } from 'node:fs/promises';
import { MAX_LINE_BYTES, parseLine } from './build-log-format.ts';
import { type Mark, openToRead } from './build-log-index.ts';
import { LogScan } from './build-log-scan.ts';
import { LogWatch } from './build-log-watch.ts';
import { LineSplitter } from './lines.ts';
import type { BuildLogReader, LogLine } from './model.ts';

const CHUNK_BYTES = 64 * 1024;
/** There may be a hundred who follow, and what each holds while it waits for the file outlives the young generation. */
const FOLLOWED_CHUNK_BYTES = 8 * 1024;
/** With its time. A file that somebody else wrote may have longer lines. */
const MAX_STORED_BYTES = MAX_LINE_BYTES + 64;

/** The text of a line begins with its time. A line that is not finished, as a power cut may leave one, is not shown. */
export class LogReader implements BuildLogReader {
  readonly path: string;
  readonly buildId: string;
  readonly #scan: LogScan;
  readonly #watch: LogWatch;

  constructor(buildId: string, path: string, indexPath: string) {
    this.buildId = buildId;
    this.path = path;
    this.#scan = new LogScan(path, indexPath);
    this.#watch = new LogWatch(path);
  }

  async exists(): Promise<boolean> {
    const file = await openToRead(this.path);
    const isFile = (await file?.stat())?.isFile() ?? false;
    await file?.close();
    return isFile;
  }

  async total(): Promise<number> {
    const shape = await this.#scan.shape();
    return shape === null ? 0 : shape.end.line - 1;
  }

  async read(first: number, last: number): Promise<readonly LogLine[]> {
    const upTo = Math.min(last, await this.total());
    const lines: LogLine[] = [];
    for await (const batch of this.#batches(Math.max(1, first), upTo, CHUNK_BYTES)) lines.push(...batch);
    return lines;
  }

  async *follow(after: number, signal: AbortSignal): AsyncGenerator<readonly LogLine[], void> {
    this.#watch.join();
    try {
      for (let next = Math.max(0, after) + 1; !signal.aborted; ) {
        const seen = this.#watch.changes;
        const shape = await this.#scan.shape();
        if (shape === null) return;
        for await (const batch of this.#batches(next, shape.end.line - 1, FOLLOWED_CHUNK_BYTES)) {
          if (signal.aborted) return;
          next += batch.length;
          yield batch;
        }
        if (shape.isClosed && next >= shape.end.line) return;
        await this.#watch.changed(seen, signal);
      }
    } finally {
      this.#watch.leave();
    }
  }

  /** By what one chunk of the file holds, so that a reader who takes his time keeps no more than that. */
  async *#batches(first: number, last: number, chunkBytes: number): AsyncGenerator<readonly LogLine[], void> {
    if (!(first <= last)) return;
    const start = await this.#scan.before(first);
    const file = await openToRead(this.path);
    if (file === null) return;
    try {
      yield* linesOf(file, start, first, last, chunkBytes);
    } finally {
      await file.close();
    }
  }
}

async function* linesOf(
  file: FileHandle,
  start: Mark,
  first: number,
  last: number,
  chunkBytes: number,
): AsyncGenerator<readonly LogLine[], void> {
  let number = start.line;
  let batch: LogLine[] = [];
  const splitter = new LineSplitter({
    maxBytes: MAX_STORED_BYTES,
    returns: false,
    onLine(bytes, cutHere) {
      if (number >= first && number <= last) {
        const { text, cutBytes } = parseLine(bytes.toString('utf8'));
        batch.push({ number, text, cutBytes: cutBytes + cutHere });
      }
      number++;
    },
  });
  const chunk = Buffer.allocUnsafe(chunkBytes);
  for (let position = start.offset; number <= last; ) {
    const { bytesRead } = await file.read(chunk, 0, chunk.length, position);
    if (bytesRead === 0) return;
    splitter.push(chunk.subarray(0, bytesRead));
    position += bytesRead;
    if (batch.length === 0) continue;
    yield batch;
    batch = [];
  }
}
