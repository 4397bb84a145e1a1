/** The real worker in a process that can be paused and killed, behind a network that loses requests and answers. */
import { ScanError } from '../../../sidecar/scan/errors.ts';
import type { Check, Lease, Settlement } from '../../../sidecar/scan/model.ts';
import type { BuildStore, CheckQueue, FileStream, ScanInput, Scanner } from '../../../sidecar/scan/ports.ts';
import { Worker } from '../../../sidecar/scan/worker.ts';
import type { Random } from '../random.ts';
import { ProcessClock, type SimulatedTime } from './clock.ts';
import type { SimulatedEngine } from './engine.ts';
import type { SimulatedFile, SimulatedPocketBase } from './pocketbase.ts';

/** What stands between a sidecar and PocketBase at the moment. */
export interface Network {
  /** PocketBase takes no write before. */
  blockedUntil: number;
  /** Nothing arrives before. */
  awayUntil: number;
  /** Answers are lost before. */
  muteUntil: number;
}

export interface World {
  readonly time: SimulatedTime;
  readonly random: Random;
  readonly pocketbase: SimulatedPocketBase;
  readonly engine: SimulatedEngine;
  readonly network: Network;
  /** The files behind the streams that the scanner is given. */
  readonly files: WeakMap<AsyncIterable<Uint8Array>, SimulatedFile>;
  /** What broke a promise of the worker. */
  broken(what: string): void;
}

interface CallOptions {
  /** It needs no write. */
  readonly isRead?: boolean;
  /** What comes before its turn to write. */
  readonly arrived?: () => void;
  readonly timeoutMs?: number;
}

const LEASE_MS = 20_000;
const TIMEOUT_MS = 10_000;
const RESTART_MS = 2_000;
const SHA256 = 'a'.repeat(64);

export class SimulatedSidecar {
  readonly #world: World;
  readonly #name: string;
  #process: ProcessClock;
  #worker: Worker;
  #streams = 0;

  constructor(world: World, name: string) {
    this.#world = world;
    this.#name = name;
    this.#process = new ProcessClock(world.time);
    this.#worker = this.#boot();
  }

  /** Ends it in the middle of everything; it is started again after a while. */
  kill(): void {
    if (this.#process.isDead) return;
    this.#process.die();
    this.#world.time.at(this.#world.time.now() + RESTART_MS, () => {
      this.#process = new ProcessClock(this.#world.time);
      this.#streams = 0;
      this.#worker = this.#boot();
    });
  }

  pause(ms: number): void {
    const process = this.#process;
    process.pause();
    this.#world.time.at(this.#world.time.now() + ms, () => process.resume());
  }

  notify(): void {
    this.#process.wake(() => this.#worker.notify());
  }

  /** Nothing is held or open. */
  isIdle(): boolean {
    return this.#process.isDead || (this.#worker.state().held === 0 && this.#streams === 0);
  }

  #boot(): Worker {
    const process = this.#process;
    const { pocketbase, broken } = this.#world;
    const worker = new Worker(
      { concurrency: 3, leaseMs: LEASE_MS, pollMs: 5_000 },
      {
        clock: process,
        queue: this.#queue(process),
        store: this.#store(process),
        scanner: this.#scanner(process),
        events: {
          claimed: () => {},
          judged: (check) => {
            if (!pocketbase.settledBy.has(check.lease.token))
              broken(`${this.#name} says that ${check.id} is judged, and nothing was stored`);
          },
          givenBack: (check) => {
            if (!pocketbase.settledBy.has(check.lease.token))
              broken(`${this.#name} says that ${check.id} is given back, and nothing was stored`);
          },
          leftAlone: () => {},
          callFailed: () => {},
        },
      },
    );
    worker.start();
    return worker;
  }

  #queue(process: ProcessClock): CheckQueue {
    const { pocketbase } = this.#world;
    return {
      claim: ({ max, alone }, signal) =>
        this.#call(process, signal, () => {
          const { claimed, drain } = pocketbase.claim(max, alone, this.#name, LEASE_MS);
          const checks = claimed.map(({ row, token }): Check => {
            const { id, attempts, suspect } = row;
            const files = row.files.map(({ name }) => ({ name, size: 0 }));
            const rescan = row.status !== 'scanning';
            return { id, build: id, attempts, suspect, rescan, lease: { id, token }, waitedSeconds: 0, files };
          });
          return { checks, drain };
        }).then((answer) => {
          const kills = answer.checks.some(({ id }) => pocketbase.rows.get(id)?.files.some((file) => file.nature === 'kills claimer'));
          return kills ? this.#suicide(process) : answer;
        }),
      renew: (leases: readonly Lease[], signal) =>
        this.#call(process, signal, () => ({ lost: pocketbase.renew(leases, LEASE_MS) }), {
          arrived: () => pocketbase.askRenewal(leases),
          timeoutMs: LEASE_MS / 4,
        }),
      settle: (items: readonly Settlement[], signal) =>
        this.#call(process, signal, () => {
          const lost = new Set<string>();
          const refused = new Map<string, string>();
          for (const item of items) {
            const end = pocketbase.settle(item);
            if (end === 'lost') lost.add(item.check.id);
            if (end === 'refused') refused.set(item.check.id, 'a file is missing');
          }
          return { lost, refused };
        }),
    };
  }

  #store(process: ProcessClock): BuildStore {
    const { pocketbase } = this.#world;
    return {
      open: async (check, { name }, signal) => {
        const file = await this.#call(process, signal, () => pocketbase.open(check.id, check.lease.token, name), { isRead: true });
        if (file === 'lease-lost') throw new ScanError('lease-lost', 'the lease is lost');
        if (file === 'unknown') throw new ScanError('download', 'the build does not list the file');
        if (file.nature === 'missing') throw new ScanError('download:missing', 'the storage has lost the file');
        if (file.nature === 'kills worker') return this.#suicide(process);
        return this.#stream(process, file);
      },
    };
  }

  #stream(process: ProcessClock, file: SimulatedFile): FileStream {
    let isOpen = true;
    if (process === this.#process) this.#streams++;
    const bytes = (async function* () {})();
    this.#world.files.set(bytes, file);
    return {
      size: 0,
      bytes,
      position: 0,
      digest: () => ({ sha256: SHA256, bytes: 0 }),
      close: () => {
        if (isOpen && process === this.#process) this.#streams--;
        isOpen = false;
      },
    };
  }

  #scanner(process: ProcessClock): Scanner {
    const { engine, files } = this.#world;
    return {
      maxBytes: 1,
      ready: (signal) => engine.ready(process, signal),
      scan: (input: ScanInput, signal) => engine.look(files.get(input.bytes)!, process, signal),
    };
  }

  /** A request that arrives has its effect, whatever becomes of who sent it, and whether or not its answer comes back. */
  #call<T>(
    process: ProcessClock,
    signal: AbortSignal,
    effect: () => T,
    { isRead = false, arrived = () => {}, timeoutMs = TIMEOUT_MS }: CallOptions = {},
  ): Promise<T> {
    const { time, network, random } = this.#world;
    const there = random.whole(1, random.chance(0.05) ? 3_000 : 30);
    const back = random.whole(1, random.chance(0.05) ? 3_000 : 30);
    const sentAt = time.now();
    const isLost = sentAt < network.awayUntil;
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const unreachable = () => process.wake(() => reject(new ScanError('store-unavailable', 'PocketBase cannot be reached')));
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      if (isLost) return time.at(sentAt + there, unreachable);
      time.at(sentAt + timeoutMs, unreachable);
      const arrive = () => {
        // One writer at a time: what waited for it comes in any order.
        arrived();
        if (!isRead && time.now() < network.blockedUntil) return time.at(network.blockedUntil + random.whole(1, 50), arrive);
        const answer = effect();
        if (time.now() < network.muteUntil) time.at(time.now() + back, unreachable);
        else time.at(time.now() + back, () => process.wake(() => resolve(answer)));
      };
      time.at(sentAt + there, arrive);
    });
  }

  #suicide(process: ProcessClock): Promise<never> {
    if (process === this.#process) this.kill();
    return new Promise(() => {});
  }
}
