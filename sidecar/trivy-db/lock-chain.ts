/** The files of a lock, and the one order in which they may change. BuildLock tells why exactly one can take a lock over. */
import { link, lstat, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { codeOf } from '../durable.ts';
import { type LockEntry, readEntry } from './lock-entry.ts';

const LEFTOVER_MS = 60 * 60_000;
const MAX_LINKS = 1000;

export class LockChain {
  readonly path: string;
  readonly folder: string;

  constructor(path: string) {
    this.path = path;
    this.folder = dirname(path);
  }

  /** The name of the file that becomes a lock, and of the socket beside it. */
  newFile(token: string): string {
    return `${this.path}.${token}.new`;
  }

  socketName(token: string): string {
    return `${basename(this.path)}.${token}.alive`;
  }

  #after(key: string): string {
    return `${this.path}.after-${key}`;
  }

  /** From the lock to its last successor, who is the one that counts; empty when it is free. */
  async walk(): Promise<readonly LockEntry[]> {
    for (let attempt = 0; attempt < MAX_LINKS; attempt++) {
      const chain = await this.#walkOnce();
      if (chain.length === 0) return chain;
      // Somebody may have moved into the place of the lock meanwhile, and taken the links away.
      if ((await readEntry(this.path))?.key === chain[0]?.key) return chain;
    }
    throw new Error(`The lock ${this.path} changes all the time. Look for a program that writes it beside Pocketwarden.`);
  }

  async #walkOnce(): Promise<LockEntry[]> {
    const chain: LockEntry[] = [];
    for (let path = this.path; chain.length < MAX_LINKS; ) {
      const entry = await readEntry(path);
      if (entry === null) return chain;
      // Behind itself stands a lock that is being released; see release().
      const isAgain = entry.key === chain.at(-1)?.key;
      const key = isAgain ? `${entry.key}r` : entry.key;
      chain.push({ ...entry, key });
      if (entry.says.kind === 'unreadable' && !entry.says.isFile) return chain;
      path = this.#after(key);
    }
    throw new Error(`${this.path}.after-* has more links than can be. Remove them when no build runs.`);
  }

  /** Takes the place behind the last of `chain` for the new file of `token`; false when somebody else was first. */
  async follow(chain: readonly LockEntry[], token: string): Promise<boolean> {
    const last = chain.at(-1);
    if (last === undefined) {
      if (!(await linkOnce(this.newFile(token), this.path))) return false;
      // It is ours from here on; a name too many is removed with what others left.
      await rm(this.newFile(token), { force: true }).catch(() => {});
      return true;
    }
    const place = this.#after(last.key);
    if (!(await linkOnce(this.newFile(token), place))) return false;
    try {
      if (!(await this.#is([...keys(chain), token]))) {
        await rm(place, { force: true });
        return false;
      }
      await rename(this.newFile(token), this.path);
    } catch (thrown) {
      await rm(place, { force: true }).catch(() => {});
      throw thrown;
    }
    return true;
  }

  /**
   * Removes the lock of `token`, unless somebody has followed it. The place behind it is taken first, with the lock's own file, so that
   * nobody can follow between the look and the removal; that needs no space on a disk that is full.
   */
  async release(token: string): Promise<void> {
    const chain = keys(await this.walk()).join();
    // An earlier attempt may have failed half way; then the place is taken already.
    const isHalfDone = chain === [token, `${token}r`].join();
    if (!isHalfDone && !(chain === token && (await linkOnce(this.path, this.#after(token))))) return;
    if (await this.#is([token, `${token}r`])) await rm(this.path, { force: true });
    await rm(this.#after(token), { force: true });
  }

  async #is(wanted: readonly string[]): Promise<boolean> {
    return keys(await this.walk()).join() === wanted.join();
  }

  /** For the holder: removes what earlier ones left. Links behind any key but its own lead nowhere for ever. */
  async sweep(token: string, dead: readonly LockEntry[]): Promise<void> {
    for (const { key } of dead) await rm(join(this.folder, this.socketName(key)), { force: true });
    const base = basename(this.path);
    for (const name of await readdir(this.folder)) {
      const rest = name.startsWith(base) ? name.slice(base.length) : '';
      const path = join(this.folder, name);
      const after = /^\.after-([0-9a-f]{32})r?$/.exec(rest)?.[1];
      const of = /^\.([0-9a-f]{32})\.(?:new|alive)$/.exec(rest)?.[1];
      const isLink = after !== undefined && after !== token;
      // Somebody may be about to try with it.
      const isOld = of !== undefined && of !== token && (await ageOf(path)) > LEFTOVER_MS;
      if (isLink || isOld) await rm(path, { force: true });
    }
  }
}

function keys(chain: readonly LockEntry[]): string[] {
  return chain.map(({ key }) => key);
}

async function linkOnce(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (thrown) {
    if (codeOf(thrown) !== 'EEXIST') throw thrown;
    return isSameFile(from, to);
  }
}

/** Milliseconds; 0 for what has gone. */
async function ageOf(path: string): Promise<number> {
  const found = await lstat(path).catch(() => null);
  return found === null ? 0 : Date.now() - found.mtimeMs;
}

/** NFS may say that the name exists when it has just made it: the answer to the first attempt was lost (open(2), O_EXCL). */
async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((path) => lstat(path, { bigint: true }).catch(() => null)));
  return a != null && b != null && a.ino === b.ino && a.dev === b.dev;
}
