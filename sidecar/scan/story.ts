import type { ScanError } from './errors.ts';
import type { Answer, Engine, FileVerdict } from './model.ts';
import type { Clock } from './ports.ts';

/** PocketBase keeps the log of many scans in one text field: each scan may fill only a part of it. */
const MAX_CHARS = 4000;
const MAX_NAME_CHARS = 120;

/** What happened during one scan, for the humans who read the check's log: one event a line, seconds since the claim in front. */
export class Story {
  readonly #clock: Clock;
  readonly #begun: number;
  readonly #lines: string[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#begun = clock.now();
  }

  add(text: string): void {
    const seconds = ((this.#clock.now() - this.#begun) / 1000).toFixed(3);
    this.#lines.push(`+${seconds}s ${oneLine(text)}`);
  }

  fileJudged(file: FileVerdict): void {
    const { engine } = file;
    const by = engine === null ? 'not read' : `by ${engineText(engine)}`;
    this.add(`${quoted(file.name)}: ${answerText(file.answer)}, ${file.size} bytes, ${by}`);
  }

  fileFailed(name: string, error: ScanError): void {
    this.add(`${quoted(name)}: not judged, ${error.code}: ${error.message}`);
  }

  /** The whole story, or where that is too long, its end. */
  text(): string {
    let chars = 0;
    let first = this.#lines.length;
    while (first > 0 && chars + this.#lines[first - 1]!.length + 1 <= MAX_CHARS - 40) chars += this.#lines[--first]!.length + 1;
    const kept = this.#lines.slice(first);
    return (first > 0 ? [`(${first} earlier lines left out)`, ...kept] : kept).join('\n');
  }
}

function answerText(answer: Answer): string {
  switch (answer.kind) {
    case 'clean':
      return 'clean';
    case 'infected':
      return `infected with ${answer.signature}`;
    case 'unscannable':
      return answer.reason;
    default:
      return answer satisfies never;
  }
}

function engineText(engine: Engine): string {
  return `${engine.name} (ClamAV ${engine.version}, signatures ${engine.signatures})`;
}

/** Names come from uploaders: quoted, so that no name can pass for another line or for our own words. */
function quoted(name: string): string {
  return JSON.stringify(name.length > MAX_NAME_CHARS ? `${name.slice(0, MAX_NAME_CHARS)}…` : name);
}

function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get through
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g, ' ').slice(0, 1000);
}
