/**
 * Rattles the door: asks, as anybody could, for files of builds that are closed, above all of the one that is there for it. Whatever
 * hooks, configuration or a proxy say of themselves, one byte is proof that the gate stands open.
 */
import type { StoreHealth } from '../pocketbase/health.ts';
import type { CheckRow } from './checks/check-row.ts';
import type { ChecksSource } from './checks/checks-source.ts';
import type { Doors, ProbeBuild } from './probe-build.ts';

export interface GateProbeParts {
  readonly source: Pick<ChecksSource, 'closed' | 'some'>;
  readonly build: Pick<ProbeBuild, 'doors' | 'doorsOf' | 'why'>;
  /** Where PocketBase is asked: where this process reaches it, and where browsers do, so through proxy and cache too. */
  readonly urls: readonly string[];
  /** As the hooks said last: whoever switched the gate to monitor or off knows that it is open, and is told elsewhere. */
  gate(): StoreHealth['gate'] | null;
  /** As the hooks said last. */
  counts(): StoreHealth['counts'] | null;
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

/** Builds asked for in one look beside the one that is there for it: the newest that are closed and have files. */
const BUILDS = 3;
const TIMEOUT_MS = 5000;
/** With a look each minute, what is open is known within 90 s. */
const LOOK_MS = 25_000;
const AT_ONCE = 8;
const PNG = [0x89, 0x50, 0x4e, 0x47];

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

  /** Why it has no build of its own to ask for; null where it has, or where none is wanted. */
  get why(): string | null {
    return this.#parts.build.why;
  }

  /** Looks once. Rejects where PocketBase cannot be asked for checks; an address that does not answer proves nothing. */
  async look(signal: AbortSignal): Promise<void> {
    const { gate, now, urls } = this.#parts;
    const mode = gate();
    if (mode !== null && mode !== 'enforce') {
      this.#open = null;
      return;
    }
    const until = AbortSignal.any([signal, AbortSignal.timeout(LOOK_MS)]);
    const knocks = (await this.#doors(signal)).flatMap((doors) =>
      [...new Set(urls)].flatMap((url) =>
        doors.paths.map((path) => ({ doors, url, address: `${url.replace(/\/+$/, '')}/api/files/${path}` })),
      ),
    );
    for (let from = 0; from < knocks.length && !until.aborted; from += AT_ONCE) {
      const some = knocks.slice(from, from + AT_ONCE);
      const handedOut = await Promise.all(some.map(({ address, doors }) => isHandedOut(address, doors.isOwn, until)));
      signal.throwIfAborted();
      for (const { doors, url } of some.filter((_, i) => handedOut[i])) {
        if (!(await this.#isStillClosed(doors.check))) continue;
        this.#open = this.#open ?? { build: doors.check.build, file: doors.file, url, since: now() };
        return;
      }
    }
    this.#open = null;
  }

  async #doors(signal: AbortSignal): Promise<Doors[]> {
    const { source, build, counts } = this.#parts;
    const { pending = 0, scanning = 0, infected = 0, error = 0 } = counts() ?? {};
    const own = await build.doors(signal);
    const others = (await source.closed(BUILDS, pending + scanning + infected + error)).filter(({ id }) => id !== own?.check.id);
    const all = [own, ...(await Promise.all(others.map((check) => build.doorsOf(check, signal))))];
    return all.filter((doors) => doors !== null);
  }

  /** It may have been cleared, released or filled with other files while it was asked for. */
  async #isStillClosed({ id, revision }: CheckRow): Promise<boolean> {
    const [again] = await this.#parts.source.some([id]);
    return again !== undefined && !again.open && again.revision === revision;
  }
}

/**
 * Whether anybody without a login gets so much as a byte; not where nobody answers. Asked as a browser would ask, since a cache keeps
 * what it once had for those who do not insist on more. Of our own file the bytes are known, so that the page of a login is none.
 */
async function isHandedOut(address: string, isOwn: boolean, until: AbortSignal): Promise<boolean> {
  try {
    const answer = await fetch(address, { redirect: 'follow', signal: AbortSignal.any([until, AbortSignal.timeout(TIMEOUT_MS)]) });
    const type = answer.headers.get('content-type') ?? '';
    if (!answer.ok || !isOwn || type.startsWith('image/')) {
      await answer.body?.cancel();
      return answer.ok && (isOwn || !answer.redirected || !type.startsWith('text/html'));
    }
    const reader = answer.body?.getReader();
    const first = (await reader?.read())?.value ?? new Uint8Array();
    await reader?.cancel();
    return first.length > 0 && PNG.slice(0, first.length).every((byte, i) => first[i] === byte);
  } catch {
    return false;
  }
}
