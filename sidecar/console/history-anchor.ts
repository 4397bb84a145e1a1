/**
 * The last entry of the scan history that was seen, kept outside PocketBase: whoever can write to its database can compute no hash without
 * the key, and cannot take the history back to an earlier state without the anchor noticing. A second place walks through all of it again
 * and again, so that an old entry that is changed is noticed too.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeDurably } from '../durable.ts';
import type { Session } from '../pocketbase/session.ts';

export interface HistoryAnchorParts {
  readonly session: Pick<Session, 'send'>;
  /** Created when it is missing. */
  readonly folder: string;
}

const anchor = z.object({ seq: z.number(), hash: z.string() });
type Anchor = z.infer<typeof anchor>;
/** `walk`: up to where the round through all entries has come; null at its beginning. */
const kept = anchor.extend({ walk: anchor.nullable().default(null) });

export interface Broken {
  /** Of the entry that does not verify; 0 where PocketBase does not say which. */
  readonly seq: number;
  readonly why: string;
}
const verified = z.object({
  ok: z.boolean(),
  more: z.boolean(),
  last: anchor,
  broken: z.object({ seq: z.number(), why: z.string() }).nullable(),
});

const FILE = 'history-anchor.json';
const TIMEOUT_MS = 15_000;

export class HistoryAnchor {
  readonly #parts: HistoryAnchorParts;
  #anchor: Anchor | null = null;
  #walk: Anchor | null = null;
  #isLoaded = false;
  #broken: Broken | null = null;

  constructor(parts: HistoryAnchorParts) {
    this.#parts = parts;
  }

  /** Set once the history is proved broken; it stays until the process is restarted on a history that verifies. */
  get broken(): Broken | null {
    return this.#broken;
  }

  /**
   * Goes on with the round through all entries by one call (5,000 rows), then verifies what is new and moves the anchor on. Rejects where
   * PocketBase or the folder cannot be asked.
   */
  async check(signal: AbortSignal): Promise<void> {
    if (this.#broken !== null) return;
    await this.#load();
    if (this.#broken !== null) return;
    await this.#walkOn(signal);
    // Second, since it proves the entry of the anchor: where the walk has passed it, the chain that was walked is the one that was there.
    if (this.#broken === null) await this.#follow(signal);
  }

  async #walkOn(signal: AbortSignal): Promise<void> {
    if (this.#anchor === null) return;
    const answer = await this.#verify(this.#walk, signal);
    if (answer === null) return;
    const { last, more } = answer;
    if (last.seq === this.#anchor.seq && last.hash !== this.#anchor.hash) {
      this.#broken = { seq: last.seq, why: `entry ${last.seq} is not the one that was there` };
      return;
    }
    const next = more ? last : null;
    if (next?.seq !== this.#walk?.seq) await this.#keep(this.#anchor, next);
  }

  async #follow(signal: AbortSignal): Promise<void> {
    for (;;) {
      const answer = await this.#verify(this.#anchor, signal);
      if (answer === null) return;
      if (answer.last.seq > (this.#anchor?.seq ?? 0)) await this.#keep(answer.last, this.#walk);
      if (!answer.more) return;
    }
  }

  /** Null where it does not verify, which is noted. */
  async #verify(known: Anchor | null, signal: AbortSignal): Promise<{ readonly last: Anchor; readonly more: boolean } | null> {
    const path = `/api/av/history/verify?after=${known?.seq ?? 0}${known === null ? '' : `&hash=${known.hash}`}`;
    const answer = verified.parse(await this.#parts.session.send({ path, method: 'GET', timeoutMs: TIMEOUT_MS }, signal));
    if (answer.ok) return answer;
    this.#broken = { seq: answer.broken?.seq ?? 0, why: problemOf(answer.broken, known) };
    return null;
  }

  async #load(): Promise<void> {
    if (this.#isLoaded) return;
    const text = await readFile(join(this.#parts.folder, FILE), 'utf8').catch((thrown: NodeJS.ErrnoException) => {
      if (thrown.code === 'ENOENT') return null;
      throw thrown;
    });
    const known = text === null ? null : keptIn(text);
    if (known === undefined) {
      this.#broken = { seq: 0, why: UNREADABLE };
      return;
    }
    this.#anchor = known === null ? null : { seq: known.seq, hash: known.hash };
    this.#walk = known?.walk ?? null;
    this.#isLoaded = true;
  }

  /** Whole or not at all, also when the machine stops. */
  async #keep(next: Anchor, walk: Anchor | null): Promise<void> {
    const { folder } = this.#parts;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeDurably(join(folder, FILE), JSON.stringify({ ...next, walk }), 0o600);
    this.#anchor = next;
    this.#walk = walk;
  }
}

function problemOf(broken: { seq: number; why: string } | null, known: Anchor | null): string {
  if (broken === null) return 'it does not verify, and PocketBase does not say where';
  if (known === null || broken.seq !== known.seq) return `entry ${broken.seq} does not verify: it is ${broken.why}`;
  return broken.why === 'missing'
    ? `entry ${broken.seq} was there and is gone: the history was cut or put back`
    : `entry ${broken.seq} is not the one that was there`;
}

const UNREADABLE = `${FILE} in CONSOLE_DATA_DIR holds nonsense, so that nobody can say whether entries were cut off; verify the history, then remove the file`;

function keptIn(text: string): z.infer<typeof kept> | undefined {
  try {
    return kept.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
