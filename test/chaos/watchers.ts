/** Strangers who rattle at the gate all the time, with names that they could not know: those on the disk of PocketBase. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { digestOf } from './content.ts';
import type { Ledger } from './ledger.ts';
import type { Random } from './random.ts';

export interface Site {
  readonly url: string;
  readonly storage: string;
  /** Id of the builds collection. */
  readonly collection: string;
}

/** Names of stored files; empty where there is no such folder. */
export async function storedNames(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile() && !entry.name.endsWith('.attrs')).map((entry) => entry.name);
}

/** Asks anonymously for every file of this round's builds, and now and then for an older one, until `signal` aborts. */
export async function rattle(site: Site, ledger: Ledger, round: number, random: Random, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const ids = ledger.ofRound(round).map((build) => build.id);
    if (random.chance(0.2) && ledger.builds.size > 0) ids.push(random.pick([...ledger.builds.keys()]));
    for (const id of ids) {
      for (const name of await storedNames(join(site.storage, site.collection, id))) {
        if (signal.aborted) return;
        await ask(site, ledger, id, name, random);
      }
    }
    // PocketBase may be away, and a loop that never waits would starve the writers.
    await sleep(5);
  }
}

async function ask(site: Site, ledger: Ledger, id: string, name: string, random: Random): Promise<void> {
  const collection = random.chance(0.5) ? 'app_builds' : site.collection;
  const query = random.pick(['', '', '?download=1', '?thumb=100x100', '?token=x']);
  const headers: Record<string, string> = random.chance(0.3) ? { Range: 'bytes=0-' } : random.chance(0.3) ? { Range: 'bytes=0-9' } : {};
  const sentAt = Date.now();
  ledger.counts.downloads++;
  try {
    const answer = await fetch(`${site.url}/api/files/${collection}/${id}/${name}${query}`, {
      headers,
      signal: AbortSignal.timeout(20_000),
    });
    const headAt = Date.now();
    const isServed = answer.status === 200 || answer.status === 206;
    const note = (sha256: string | null) => {
      ledger.counts.served++;
      ledger.served.push({ build: id, name, sentAt, headAt, sha256 });
    };
    const body = await answer.bytes().catch(() => null);
    if (isServed) note(body !== null && headers['Range'] !== 'bytes=0-9' ? digestOf(body) : null);
  } catch {
    // Refused, cut off or paused: nothing came.
  }
}
