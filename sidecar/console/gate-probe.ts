/**
 * Rattles the door: asks, as anybody could, for a file of a build that is closed. Whatever hooks, configuration or a proxy say of
 * themselves, one byte of it is proof that the gate stands open.
 */
import type { StoreHealth } from '../pocketbase/health.ts';
import { type CheckRow, namesOf } from './checks/check-row.ts';
import type { ChecksSource } from './checks/checks-source.ts';

export interface GateProbeParts {
  readonly source: Pick<ChecksSource, 'closed' | 'some' | 'buildsCollection'>;
  /** Where PocketBase is asked: where this process reaches it, and where browsers do, so through proxy and cache too. */
  readonly urls: readonly string[];
  /** As the hooks said last: whoever switched the gate to monitor or off knows that it is open, and is told elsewhere. */
  gate(): StoreHealth['gate'] | null;
  /** Unix milliseconds. */
  now(): number;
}

export interface OpenGate {
  readonly build: string;
  readonly file: string;
  /** Where it was handed out. */
  readonly url: string;
  readonly since: number;
}

/** Builds asked for in one look: the newest that are closed and have files. */
const BUILDS = 3;
const TIMEOUT_MS = 5000;

export class GateProbe {
  readonly #parts: GateProbeParts;
  #open: OpenGate | null = null;

  constructor(parts: GateProbeParts) {
    this.#parts = parts;
  }

  /** What was handed out at the last look; null while nothing was. */
  get open(): OpenGate | null {
    return this.#open;
  }

  /** Looks once. Rejects where PocketBase cannot be asked for checks; an address that does not answer proves nothing. */
  async look(signal: AbortSignal): Promise<void> {
    const { source, urls, gate, now } = this.#parts;
    const mode = gate();
    if (mode !== null && mode !== 'enforce') {
      this.#open = null;
      return;
    }
    const closed = (await source.closed(BUILDS)).filter((check) => namesOf(check).length > 0);
    const collection = closed.length === 0 ? '' : await source.buildsCollection();
    for (const url of new Set(urls)) {
      for (const check of closed) {
        const file = namesOf(check)[0] ?? '';
        const path = [collection, check.build, file].map(encodeURIComponent).join('/');
        if (!(await isHandedOut(`${url.replace(/\/+$/, '')}/api/files/${path}`, signal)) || !(await this.#isStillClosed(check))) continue;
        this.#open = this.#open ?? { build: check.build, file, url, since: now() };
        return;
      }
    }
    this.#open = null;
  }

  /** It may have been cleared, released or filled with other files while it was asked for. */
  async #isStillClosed({ id, revision }: CheckRow): Promise<boolean> {
    const [again] = await this.#parts.source.some([id]);
    return again !== undefined && !again.open && again.revision === revision;
  }
}

/** Whether anybody without a login gets so much as a byte; not where nobody answers. */
async function isHandedOut(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const late = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
    const answer = await fetch(url, { headers: { Range: 'bytes=0-0' }, redirect: 'follow', cache: 'no-store', signal: late });
    await answer.body?.cancel();
    return answer.ok;
  } catch {
    signal.throwIfAborted();
    return false;
  }
}
