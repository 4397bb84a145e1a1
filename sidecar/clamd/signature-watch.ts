/** Notices an engine that knows less than before. */
import type { EngineVersion } from '../scan/model.ts';
import type { Fault } from './canary.ts';

interface Seen {
  readonly version: EngineVersion;
  /** Of the memory pool of its signatures, null where it does not tell. */
  readonly bytes: number | null;
}

/**
 * clamd tells the number of its daily set and not how many signatures it has loaded, so that a set which lost `main.cvd` keeps its
 * number. What it does tell, in most builds, is how large the memory pool of its signatures is: one that fell by half holds far
 * fewer. Measured on 1.4.6: 1.85 MiB empty, and some 150 bytes for each hash. Where STATS has no such line, the number and the
 * canaries are all there is. Compared is with what this process accepted last: a smaller set that is wanted needs a restart of the
 * sidecar.
 */
export class SignatureWatch {
  #accepted: Seen | null = null;
  #latest: Seen | null = null;

  compare(version: EngineVersion, bytes: number | null): readonly Fault[] {
    const before = this.#accepted;
    this.#latest = { version, bytes };
    // Another build of ClamAV keeps its signatures in another way.
    if (before === null || before.version.version !== version.version) return [];
    const again = '; if that is intended, restart the sidecar';
    const fault = (what: string): Fault => ({ canary: 'signatures', what: what + again, settings: [], reply: '' });
    if (isOlder(version.signatures, before.version.signatures))
      return [fault(`its signatures went back from ${before.version.signatures} to ${version.signatures}: run freshclam`)];
    if (before.bytes !== null && bytes !== null && bytes < before.bytes / 2)
      return [fault(`its signatures take ${bytes} bytes of memory where they took ${before.bytes}: load them again (freshclam)`)];
    return [];
  }

  /** What was compared last is what later ones are compared with. */
  accept(): void {
    this.#accepted = this.#latest;
  }
}

function isOlder(now: number | 'test', before: number | 'test'): boolean {
  if (before === 'test') return false;
  return now === 'test' || now < before;
}
