import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rm, statfs } from 'node:fs/promises';
import { platform } from 'node:process';
import { codeOf } from '../durable.ts';
import { LockChain } from './lock-chain.ts';
import { holderOf, type LockEntry, type LockRecord } from './lock-entry.ts';
import { feelPulse, type Pulse, startPulse } from './lock-pulse.ts';
import { fateOfScript } from './lock-script.ts';
import { BuilderRefusal, type LockState } from './model.ts';
import { fateOf, ownIdentity } from './process-identity.ts';

export interface HeldLock {
  readonly token: string;
  /** False once somebody has cleared it, which can happen to what is held from another machine (see BuildLock): then publish nothing. */
  isStillOurs(): Promise<boolean>;
  /** Removes it if it is still ours; harmless when repeated, and may be tried again after it rejected. */
  release(): Promise<void>;
}

type Taken = Exclude<LockState, { readonly kind: 'free' }>;

const BEAT_MS = 5000;
/** Without a sign of life for so long, an operator may clear a lock of which nothing can be proved. */
export const SILENT_MS = 10 * 60_000;
const MAX_ATTEMPTS = 1000;

/** File systems that one kernel alone can have mounted: ext, XFS, Btrfs, overlay, tmpfs, ZFS, F2FS (statfs(2)). */
const localTypes = new Set([0xef53, 0x58465342, 0x9123683e, 0x794c7630, 0x01021994, 0x2fc12fc1, 0xf2f52010]);

/**
 * One build at a time, over processes, containers and machines that share the folder of the lock.
 *
 * What is proved: a process in our pid namespace is dead when its number is free, or belongs to one with another start time. In another
 * namespace of the same kernel it is dead when nobody listens on its socket. Of another boot it is dead when the lock is on a local
 * disk, or machine-id and host name are ours. All else is `unknown` and never taken over by itself. An operator may clear it when it has
 * shown no sign of life for ten minutes (SILENT_MS). That is no proof, its holder may be a machine that sleeps; when that one wakes, it
 * finds its token gone and must not publish.
 * The old script's bare process number is looked up in our own namespace; a process that began after the file was written is not the one
 * (lock-script.ts).
 *
 * Why exactly one takes it over: whoever wants to follow the holder with key K links its own file, complete and on the disk, to
 * `<lock>.after-<K>`, which link(2) grants once. It holds the lock if the chain from the lock file over such links then still leads to
 * it; it moves its file into the place of the lock and removes the links. One that died on the way is followed in the same manner. No
 * key ever comes back, so that a link behind a lock that has gone leads nowhere, and its maker finds out by looking again.
 */
export class BuildLock {
  readonly #chain: LockChain;

  constructor(path: string) {
    this.#chain = new LockChain(path);
  }

  async inspect(): Promise<LockState> {
    return this.#judge(await this.#chain.walk());
  }

  /** Resolves with the lock, or with who has it. What is proved dead is taken over. Rejects with a sentence where no lock can be made. */
  async acquire(buildId: string): Promise<HeldLock | Taken> {
    const state = await this.inspect();
    // Asked for often while a build runs; then nothing is written.
    return state.kind === 'held' || state.kind === 'unknown' ? state : this.#take(buildId, false);
  }

  /** Rejects with the BuilderRefusal `lock-live` where the holder lives, or may live and was heard of within the last ten minutes. */
  async clear(): Promise<void> {
    if ((await this.inspect()).kind === 'free') return;
    const taken = await this.#take(null, true);
    if (!('kind' in taken)) return taken.release();
    const { kind, holder } = taken;
    const why = kind === 'unknown' ? taken.why : `Process ${holder?.pid} on ${holder?.host} holds it and runs. Cancel its build instead.`;
    throw new BuilderRefusal('lock-live', `The lock is not cleared. ${why}`);
  }

  async #take(buildId: string | null, maySilent: boolean): Promise<HeldLock | Taken> {
    const claim = await makeClaim(this.#chain, buildId);
    try {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const chain = await this.#chain.walk();
        const state = await this.#judge(chain);
        const mayFollow = state.kind === 'unknown' ? maySilent && isSilent(chain, claim.now) : state.kind !== 'held';
        if (state.kind !== 'free' && !mayFollow) {
          await claim.drop();
          return state;
        }
        if (!(await this.#chain.follow(chain, claim.token))) continue;
        await this.#chain.sweep(claim.token, chain).catch(() => {});
        return hold(this.#chain, claim);
      }
      throw new Error(`The lock ${this.#chain.path} changes all the time. Look for a program that writes it beside Pocketwarden.`);
    } catch (thrown) {
      await claim.drop();
      if (codeOf(thrown) === null) throw thrown;
      const advice = 'Its folder needs a file system with hard links, and what lies there must belong to this user.';
      throw new Error(`The lock ${this.#chain.path} cannot be taken: ${messageOf(thrown)}. ${advice}`, { cause: thrown });
    }
  }

  async #judge(chain: readonly LockEntry[]): Promise<LockState> {
    const last = chain.at(-1);
    if (last === undefined) return { kind: 'free' };
    const { says, touchedAtMs } = last;
    if (says.kind === 'unreadable')
      return { kind: 'unknown', holder: null, why: `The lock ${this.#chain.path} ${says.why}. ${adviceOn(last)}` };
    const holder = holderOf(says, touchedAtMs);
    const fate = says.kind === 'record' ? await this.#fateOf(says.record) : await fateOfScript(says.pid, touchedAtMs);
    if (fate !== 'unknown') return { kind: fate === 'alive' ? 'held' : 'stale', holder };
    const why = `Whether process ${holder.pid} on ${holder.host} still runs cannot be seen from here. ${adviceOn(last)}`;
    return { kind: 'unknown', holder, why };
  }

  async #fateOf(record: LockRecord): Promise<'alive' | 'dead' | 'unknown'> {
    const { folder } = this.#chain;
    const { type } = await statfs(folder);
    const fate = await fateOf(record, platform === 'linux' && localTypes.has(type));
    if (fate !== 'elsewhere') return fate;
    return record.hasPulse ? feelPulse(folder, this.#chain.socketName(record.token)) : 'unknown';
  }
}

function adviceOn({ says, touchedAtMs }: LockEntry): string {
  if (!canBeReplaced(says)) return 'Remove it by hand when no build runs.';
  const minutes = Math.max(0, Math.floor((Date.now() - touchedAtMs) / 60_000));
  const limit = SILENT_MS / 60_000;
  return minutes >= limit
    ? `Its last sign of life is ${minutes} minutes old: clear it if no build runs.`
    : `It can be cleared when it has given no sign of life for ${limit} minutes; now it is ${minutes}.`;
}

function canBeReplaced(says: LockEntry['says']): boolean {
  return says.kind !== 'unreadable' || says.isFile;
}

function isSilent(chain: readonly LockEntry[], now: number): boolean {
  const last = chain.at(-1);
  return last !== undefined && canBeReplaced(last.says) && now - last.touchedAtMs >= SILENT_MS;
}

interface Claim {
  readonly token: string;
  readonly file: FileHandle;
  readonly pulse: Pulse | null;
  /** By the clock of the file system, which may be another machine's. */
  readonly now: number;
  drop(): Promise<void>;
}

/** Our file, complete and on the disk under a name of its own, and the socket beside it: so nobody ever sees half a lock. */
async function makeClaim(chain: LockChain, buildId: string | null): Promise<Claim> {
  const token = randomBytes(16).toString('hex');
  const path = chain.newFile(token);
  const pulse = await startPulse(chain.folder, chain.socketName(token));
  let file: FileHandle | undefined;
  const drop = async () => {
    await file?.close().catch(() => {});
    await rm(path, { force: true }).catch(() => {});
    await pulse?.stop().catch(() => {});
  };
  try {
    const record: LockRecord = { ...(await ownIdentity()), token, buildId, since: new Date().toISOString(), hasPulse: pulse !== null };
    file = await open(path, 'wx', 0o644);
    await file.writeFile(`${JSON.stringify(record)}\n`);
    await file.sync();
    return { token, file, pulse, now: (await file.stat()).mtimeMs, drop };
  } catch (thrown) {
    await drop();
    const advice = 'Check that the folder exists, can be written and has space.';
    throw new Error(`No lock can be made in ${chain.folder}: ${messageOf(thrown)}. ${advice}`, { cause: thrown });
  }
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

function hold(chain: LockChain, { token, file, pulse }: Claim): HeldLock {
  // The same byte again: the file system stamps it with its own clock, and it is our file whatever stands in its place meanwhile.
  const beat = setInterval(() => void file.write('{', 0).catch(() => {}), BEAT_MS).unref();
  let releasing: Promise<void> | null = null;
  const release = async () => {
    await chain.release(token);
    clearInterval(beat);
    await file.close();
    await pulse?.stop();
  };
  return {
    token,
    async isStillOurs() {
      const entries = await chain.walk();
      return entries.length === 1 && entries[0]?.key === token;
    },
    release() {
      releasing ??= release().catch((thrown) => {
        releasing = null;
        throw thrown;
      });
      return releasing;
    },
  };
}
