/** The one build that runs here: what it has done so far, kept in memory, in its record and in its log. */
import type { BuildRecords, StoredRecord } from './build-records.ts';
import type { Outcome, Phase, PhaseRecord } from './model.ts';
import { retried } from './retry.ts';

/** What a build writes its log to. */
export interface LogSink {
  /** One line; it adds the time. `cutBytes`: what was cut off its end before. */
  write(text: string, cutBytes?: number): void;
  /** Gives the room of a long log back: keeps its beginning, and says what is gone. */
  shorten(): void;
  close(): void | Promise<void>;
}

type Ended = Pick<StoredRecord, 'exitCode' | 'signal'>;
type Facts = Pick<StoredRecord, 'databaseBytes' | 'archiveBytes' | 'rows' | 'digest'>;

const LAST_LINES = 20;
/** A hostile line may have any length; in the record it is only a hint. */
const MAX_LINE_CHARS = 500;
const SAVE_EVERY_MS = 1000;
/** trivy-db ends a failure with a hundred of these, which would push out what it is about. */
const STACK = /^\s+(?:--- at |Thrown: )/;

export class RunningBuild {
  readonly #records: BuildRecords;
  readonly #log: LogSink;
  readonly #now: () => Date;
  readonly #lastLines: string[] = [];
  #record: StoredRecord;
  #saving: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;

  constructor(record: StoredRecord, records: BuildRecords, log: LogSink, now: () => Date = () => new Date()) {
    this.#record = record;
    this.#records = records;
    this.#log = log;
    this.#now = now;
  }

  get id(): string {
    return this.#record.id;
  }

  get record(): StoredRecord {
    return { ...this.#record, lastLines: [...this.#lastLines] };
  }

  get phase(): Phase | null {
    return this.#record.phases.at(-1)?.name ?? null;
  }

  /** Writes one line to the log, under the name of the phase. */
  line(text: string, cutBytes = 0): void {
    const line = `${this.phase ?? 'start'}: ${text}`;
    this.#log.write(line, cutBytes);
    if (STACK.test(text)) return;
    this.#lastLines.push(line.length > MAX_LINE_CHARS ? `${line.slice(0, MAX_LINE_CHARS)}…` : line);
    if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
  }

  async begin(name: Phase, detail: string): Promise<void> {
    const phase = { name, startedAt: this.#now().toISOString(), endedAt: null, exitCode: null, signal: null, detail, progress: null };
    this.#change({ phases: [...this.#record.phases, phase] });
    this.line(detail);
    await this.save();
  }

  /** What the phase does now. Progress is from 0 to 1. */
  detail(detail: string, progress: number | null): void {
    this.#changePhase({ detail, progress });
    this.#timer ??= setTimeout(() => void this.save().catch(() => {}), SAVE_EVERY_MS);
  }

  async end(detail: string, exitCode: number | null): Promise<void> {
    this.line(detail);
    this.#changePhase({ endedAt: this.#now().toISOString(), exitCode, detail, progress: 1 });
    await this.save();
  }

  facts(facts: Partial<Facts>): void {
    this.#change(facts);
  }

  publishedAt(time: string): void {
    this.#change({ publishedAt: [...this.#record.publishedAt, time] });
  }

  /** Where the disk is full, a log is part of what fills it. */
  shortenLog(): void {
    this.#log.shorten();
  }

  /** For a build of which it could not be told whether it is published: its record stays open, for whoever looks next. */
  async abandon(why: string): Promise<void> {
    this.line(why);
    await this.#log.close();
  }

  /** Closes phase, record and log, the log also where the record cannot be saved. The record is on the disk when it resolves. */
  async finish(outcome: Outcome, error: string | null, ended: Ended): Promise<StoredRecord> {
    const endedAt = this.#now().toISOString();
    this.line(lastWords(outcome, error));
    if (this.#record.phases.at(-1)?.endedAt === null) this.#changePhase({ ...ended, endedAt });
    this.#change({ ...ended, endedAt, outcome, error });
    try {
      await retried(() => this.save());
    } finally {
      await this.#log.close();
    }
    return this.record;
  }

  /** One after the other, each with what is known when it begins. */
  save(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const saved = this.#saving.then(() => this.#records.save(this.record));
    // A full disk must not end the process; the step that waits for this one hears of it.
    this.#saving = saved.catch(() => {});
    return saved;
  }

  #changePhase(change: Partial<PhaseRecord>): void {
    const phases = [...this.#record.phases];
    const last = phases.pop();
    if (last !== undefined) this.#change({ phases: [...phases, { ...last, ...change }] });
  }

  #change(change: Partial<StoredRecord>): void {
    this.#record = { ...this.#record, ...change };
  }
}

/** Everybody may read the log, and only who is logged in learns who cancelled a build. */
function lastWords(outcome: Outcome, error: string | null): string {
  if (error === null) return `The build ${outcome}.`;
  if (outcome === 'cancelled') return 'The build was cancelled.';
  return `The build ${outcome === 'failed' ? 'failed' : `ended: ${outcome}`}. ${error}`;
}
