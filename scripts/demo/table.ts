import { type Colour, paint } from '../start/log.ts';

export interface Row {
  readonly title: string;
  readonly build: string;
  readonly status: string;
  readonly finding: string;
  /** From the answer to the upload; null while nothing was uploaded. */
  readonly seconds: number | null;
}

const COLOUR_OF: Readonly<Record<string, Colour>> = {
  clean: 'green',
  infected: 'red',
  error: 'red',
  scanning: 'yellow',
  pending: 'yellow',
};
const WIDTHS = [16, 17, 10, 32, 8] as const;

/** Redraws itself in a terminal; elsewhere prints a line whenever the status of a row changed. */
export class LiveTable {
  readonly #write: (text: string) => void;
  readonly #live: boolean;
  readonly #seen = new Map<string, string>();
  #drawn = 0;

  constructor(write: (text: string) => void, live: boolean) {
    this.#write = write;
    this.#live = live;
  }

  show(rows: readonly Row[]): void {
    if (this.#live) {
      const up = this.#drawn === 0 ? '' : `\u001b[${this.#drawn}A`;
      const lines = [header(), ...rows.map(line)];
      this.#write(up + lines.map((text) => `\u001b[2K${text}\n`).join(''));
      this.#drawn = lines.length;
      return;
    }
    if (this.#seen.size === 0) this.#write(`${header()}\n`);
    for (const row of rows) {
      if (this.#seen.get(row.title) === row.status) continue;
      this.#seen.set(row.title, row.status);
      this.#write(`${line(row)}\n`);
    }
  }
}

function header(): string {
  return paint('bold', cells(['what', 'build', 'status', 'finding', 'seconds']));
}

function line(row: Row): string {
  const seconds = row.seconds === null ? '' : row.seconds.toFixed(1);
  const text = cells([row.title, row.build, row.status, row.finding, seconds]);
  const colour = COLOUR_OF[row.status];
  return colour === undefined ? text : text.replace(row.status, paint(colour, row.status));
}

function cells(texts: readonly string[]): string {
  return texts.map((text, column) => text.slice(0, WIDTHS[column]).padEnd(WIDTHS[column] ?? 0)).join('  ');
}
