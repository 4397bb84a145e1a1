/** Stand-ins for the ports, in memory and steered by hand. Each passes the contract suite of its port. */
import { createHash } from 'node:crypto';
import { ScanError } from './errors.ts';
import type { Answer, BuildFile, Check, Engine, Lease, Lie, Settlement } from './model.ts';
import type {
  BuildStore,
  CheckQueue,
  Claim,
  Clock,
  FileStream,
  ScanInput,
  Scanned,
  Scanner,
  SettleAnswer,
  Voided,
  Voids,
} from './ports.ts';

interface Sleeper {
  readonly at: number;
  readonly wake: () => void;
}

/** Time stands still until `advance`. */
export class ManualClock implements Clock {
  #now = 0;
  #sleepers: Sleeper[] = [];

  now(): number {
    return this.#now;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#sleepers = this.#sleepers.filter((each) => each !== sleeper);
      };
      const abort = () => {
        leave();
        reject(signal.reason);
      };
      const wake = () => {
        leave();
        signal.removeEventListener('abort', abort);
        resolve();
      };
      const sleeper: Sleeper = { at: this.#now + Math.max(0, ms), wake };
      signal.addEventListener('abort', abort, { once: true });
      this.#sleepers.push(sleeper);
    });
  }

  /** Wakes every sleeper whose time comes within `ms`, in order, and lets each do what it does before the next one. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await settled();
    for (;;) {
      const next = this.#sleepers.filter((each) => each.at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.at);
      next.wake();
      await settled();
    }
    this.#now = until;
  }
}

/** Lets everything run that needs no time. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

interface Row {
  readonly id: string;
  readonly files: readonly BuildFile[];
  readonly suspect: boolean;
  status: 'pending' | 'scanning' | 'settled';
  token: string;
}

/** A queue whose leases run out only when a test says so. */
export class FakeQueue implements CheckQueue {
  readonly #rows = new Map<string, Row>();
  #tokens = 0;
  readonly claims: { max: number; alone: boolean }[] = [];
  readonly renewals: (readonly string[])[] = [];
  readonly settleCalls: (readonly string[])[] = [];
  /** In the order in which they were stored. */
  readonly settlements: Settlement[] = [];
  /** Thrown by the next calls of that name, one each. */
  readonly failures: { claim: ScanError[]; renew: ScanError[]; settle: ScanError[] } = { claim: [], renew: [], settle: [] };
  /** Ids whose verdicts are refused as invalid. */
  readonly refusing = new Set<string>();
  /** While set, settle calls wait for it. */
  gate: Promise<void> | null = null;

  add(id: string, files: readonly BuildFile[], suspect = false): void {
    this.#rows.set(id, { id, files, suspect, status: 'pending', token: '' });
  }

  /** As when the lease ran out and somebody else took the check. */
  steal(id: string): void {
    this.#row(id).token = `stolen-${++this.#tokens}`;
  }

  statusOf(id: string): string {
    return this.#row(id).status;
  }

  settlementOf(id: string): Settlement | undefined {
    return this.settlements.findLast((each) => each.check.id === id);
  }

  async claim(options: { max: number; alone: boolean }, signal: AbortSignal): Promise<Claim> {
    this.claims.push(options);
    await turn(signal);
    throwNext(this.failures.claim);
    const rows = [...this.#rows.values()];
    const pending = rows.filter((row) => row.status === 'pending');
    const suspect = pending.find((row) => row.suspect);
    const isAlone = options.alone && !rows.some((row) => row.status === 'scanning');
    if (suspect !== undefined) return isAlone ? { checks: [this.#lease(suspect)], drain: false } : { checks: [], drain: true };
    return { checks: pending.slice(0, options.max).map((row) => this.#lease(row)), drain: false };
  }

  async renew(leases: readonly Lease[], signal: AbortSignal): Promise<{ lost: ReadonlySet<string> }> {
    this.renewals.push(leases.map((lease) => lease.id));
    await turn(signal);
    throwNext(this.failures.renew);
    return { lost: new Set(leases.filter((lease) => this.#row(lease.id).token !== lease.token).map((lease) => lease.id)) };
  }

  async settle(items: readonly Settlement[], signal: AbortSignal): Promise<SettleAnswer> {
    this.settleCalls.push(items.map((item) => item.check.id));
    await turn(signal);
    if (this.gate !== null) await this.gate;
    throwNext(this.failures.settle);
    const lost = new Set<string>();
    const refused = new Map<string, string>();
    for (const item of items) {
      const row = this.#row(item.check.id);
      if (row.token !== item.check.lease.token) lost.add(row.id);
      else if (item.outcome.kind === 'verdict' && this.refusing.has(row.id)) refused.set(row.id, 'not what was expected');
      else if (row.status === 'scanning') this.#end(row, item);
    }
    return { lost, refused };
  }

  #end(row: Row, item: Settlement): void {
    this.settlements.push(item);
    row.status = 'settled';
  }

  #lease(row: Row): Check {
    row.status = 'scanning';
    row.token = `token-${++this.#tokens}`;
    const lease = { id: row.id, token: row.token };
    return {
      id: row.id,
      build: `build-${row.id}`,
      attempts: 0,
      suspect: row.suspect,
      rescan: false,
      lease,
      waitedSeconds: 0,
      files: row.files,
    };
  }

  #row(id: string): Row {
    const row = this.#rows.get(id);
    if (row === undefined) throw new Error(`no check ${id}`);
    return row;
  }
}

interface Judged {
  readonly id: string;
  readonly engine: string;
  readonly canaryAt: string;
  readonly kind: 'clean' | 'infected';
}

/** Verdicts by engine and canary, as a test gives them. */
export class FakeVoids implements Voids {
  readonly calls: Lie[] = [];
  /** Thrown by the next calls, one each. */
  readonly failures: ScanError[] = [];
  readonly #standing = new Map<string, Judged>();

  judged(engine: string, canaryAt: string, kind: Judged['kind']): string {
    const id = `build-${this.#standing.size}-${engine}`;
    this.#standing.set(id, { id, engine, canaryAt, kind });
    return id;
  }

  stands(id: string): boolean {
    return this.#standing.has(id);
  }

  async voidSince(lie: Lie, signal: AbortSignal): Promise<Voided> {
    this.calls.push(lie);
    await turn(signal);
    throwNext(this.failures);
    const own = [...this.#standing.values()].filter(({ engine }) => engine === lie.engine);
    const newest = own.map(({ canaryAt }) => canaryAt).reduce((a, b) => (a > b ? a : b), '');
    const voided = own.filter(({ canaryAt }) => canaryAt >= (lie.since ?? newest));
    for (const { id } of voided) this.#standing.delete(id);
    const closed = voided.filter(({ kind }) => kind === 'clean').length;
    return { closed, rescanned: voided.length - closed };
  }
}

/** Files by name; an error in the place of bytes is thrown by open. */
export class FakeStore implements BuildStore {
  readonly files = new Map<string, Uint8Array | ScanError>();
  readonly opened: string[] = [];
  /** Streams not closed yet. */
  streams = 0;

  async open(_check: Check, file: BuildFile, signal: AbortSignal): Promise<FileStream> {
    this.opened.push(file.name);
    await turn(signal);
    const bytes = this.files.get(file.name);
    if (bytes === undefined) throw new ScanError('download:missing', `${file.name} is not there`);
    if (bytes instanceof ScanError) throw bytes;
    this.streams++;
    return this.#stream(bytes);
  }

  #stream(bytes: Uint8Array): FileStream {
    const hash = createHash('sha256');
    let position = 0;
    let isOpen = true;
    const chunks = async function* () {
      for (let at = 0; at < bytes.length; at += 65_536) {
        const chunk = bytes.subarray(at, at + 65_536);
        hash.update(chunk);
        position += chunk.length;
        yield chunk;
      }
    };
    return {
      size: bytes.length,
      bytes: chunks(),
      get position() {
        return position;
      },
      digest: () => {
        if (position < bytes.length) throw new Error('not read to its end');
        return { sha256: hash.copy().digest('hex'), bytes: position };
      },
      close: () => {
        if (isOpen) this.streams--;
        isOpen = false;
      },
    };
  }
}

export const fakeEngine: Engine = {
  name: 'fake',
  version: '1.4.3',
  signatures: 27_000,
  signaturesAt: '2026-01-01T00:00:00.000Z',
  limits: { stream: 2_147_483_645, scan: 2_147_483_644, recursion: 16 },
  canaryAt: '2026-01-02T00:00:00.000Z',
};

/** Reads everything and then answers as `answer` says; by default that all is clean. */
export class FakeScanner implements Scanner {
  maxBytes = 1024 * 1024 * 1024;
  inFlight = 0;
  mostInFlight = 0;
  answer: (bytes: Uint8Array, signal: AbortSignal) => Promise<Answer> = async () => ({ kind: 'clean' });
  engine: Engine = fakeEngine;
  #ready = Promise.withResolvers<void>();

  constructor() {
    this.#ready.resolve();
  }

  unready(): void {
    this.#ready = Promise.withResolvers<void>();
  }

  becomeReady(): void {
    this.#ready.resolve();
  }

  ready(signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<never>();
    if (signal.aborted) aborted.reject(signal.reason);
    else signal.addEventListener('abort', () => aborted.reject(signal.reason), { once: true });
    return Promise.race([this.#ready.promise, aborted.promise]);
  }

  async scan(input: ScanInput, signal: AbortSignal): Promise<Scanned> {
    this.inFlight++;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    try {
      const chunks: Uint8Array[] = [];
      for await (const chunk of input.bytes) {
        signal.throwIfAborted();
        chunks.push(chunk);
      }
      const bytes = Buffer.concat(chunks);
      return { answer: await this.answer(bytes, signal), engine: this.engine, sent: bytes.length };
    } finally {
      this.inFlight--;
    }
  }
}

async function turn(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await Promise.resolve();
}

function throwNext(failures: ScanError[]): void {
  const failure = failures.shift();
  if (failure !== undefined) throw failure;
}
