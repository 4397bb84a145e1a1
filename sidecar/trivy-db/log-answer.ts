/** Lines of a log as an answer, in memory that no log can fill: lines may be 64 KiB long, and those who ask many and slow. */
import { completeLength } from './lines.ts';
import type { BuildLogReader, LogLine } from './model.ts';

/** Of the texts of one answer. */
const MAX_ANSWER_BYTES = 2 * 1024 * 1024;
/** Lines are 64 KiB at most: the first reading holds half a MiB. Where lines are short, the next ones are of more lines. */
const FIRST_LINES = 8;
const MAX_LINES_AT_ONCE = 128;
const SHORT_LINE = 1024;
/** At a time, of all who ask. */
const MAX_READINGS = 2;

/** Readings beyond a few wait for their turn. */
export class LogAnswers {
  readonly #waiting: (() => void)[] = [];
  #busy = 0;

  /** Lines `from`…`to`, as many as MAX_ANSWER_BYTES hold, and at least the first one. */
  async lines(reader: BuildLogReader, from: number, to: number): Promise<readonly LogLine[]> {
    const lines: LogLine[] = [];
    let left = MAX_ANSWER_BYTES;
    for await (const read of this.#readings(reader, from, to)) {
      for (const line of read) {
        left -= Buffer.byteLength(line.text);
        if (left < 0 && lines.length > 0) return lines;
        lines.push(line);
      }
    }
    return lines;
  }

  /**
   * All of lines `from`…`to` within JSON that begins with `head` and ends with `tail`: as an array of what `show` makes of each. Where
   * they are longer than their share of MAX_ANSWER_BYTES, they are cut to it. Nothing is read before the other side takes it.
   */
  json(reader: BuildLogReader, from: number, to: number, frame: readonly [head: string, tail: string], show: (line: LogLine) => string) {
    const share = Math.floor(MAX_ANSWER_BYTES / Math.max(1, to - from + 1));
    const parts = this.#parts(reader, from, to, frame, (line) => show(cutTo(line, share)));
    return new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const { done, value } = await parts.next();
          if (done) return controller.close();
          controller.enqueue(Buffer.from(value));
        },
      },
      { highWaterMark: 0 },
    );
  }

  async *#parts(
    reader: BuildLogReader,
    from: number,
    to: number,
    [head, tail]: readonly [string, string],
    show: (line: LogLine) => string,
  ): AsyncGenerator<string, void> {
    let begun = head;
    for await (const lines of this.#readings(reader, from, to)) {
      yield begun + lines.map((line) => JSON.stringify(show(line))).join(',');
      begun = ',';
    }
    yield begun === head ? head + tail : tail;
  }

  async *#readings(reader: BuildLogReader, from: number, to: number): AsyncGenerator<readonly LogLine[], void> {
    let count = FIRST_LINES;
    for (let next = from; next <= to; ) {
      const lines = await this.#read(reader, next, Math.min(to, next + count - 1));
      if (lines.length === 0) return;
      yield lines;
      next += count;
      const characters = lines.reduce((sum, { text }) => sum + text.length, 0);
      count = characters < lines.length * SHORT_LINE ? Math.min(count * 4, MAX_LINES_AT_ONCE) : FIRST_LINES;
    }
  }

  async #read(reader: BuildLogReader, first: number, last: number): Promise<readonly LogLine[]> {
    if (this.#busy >= MAX_READINGS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#busy++;
    try {
      return await reader.read(first, last);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#busy--;
      else next();
    }
  }
}

/** At a whole character. */
function cutTo(line: LogLine, bytes: number): LogLine {
  const all = Buffer.byteLength(line.text);
  if (all <= bytes) return line;
  // No character is less than a byte. What it is a part of must not be kept: a string of its own is made of it.
  const kept = Buffer.from(line.text.slice(0, bytes)).subarray(0, bytes);
  const length = completeLength(kept);
  return { ...line, text: kept.toString('utf8', 0, length), cutBytes: line.cutBytes + all - length };
}
