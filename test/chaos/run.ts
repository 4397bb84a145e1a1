/** Rounds of uploads, strangers at the gate, and kills; after each everything is counted. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { upload } from '../harness/builds.ts';
import { type RunningClamd, startClamd } from '../harness/clamd.ts';
import { eventually } from '../harness/eventually.ts';
import { freePort, type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';
import { notifySecret, type RunningSidecar, startSidecar } from '../harness/sidecar.ts';
import { digestOf } from './content.ts';
import { type Settled, Stored } from './database.ts';
import { Faults } from './faults.ts';
import { downloadsBeforeOpen, type Kind, lostBuilds, type Violation, wrongStates, wrongVerdicts } from './invariants.ts';
import { Ledger } from './ledger.ts';
import { LEASE_SECONDS, type Plan, planOf } from './plan.ts';
import { Random } from './random.ts';
import { rattle, type Site, storedNames } from './watchers.ts';
import { write } from './writers.ts';

export interface ChaosOptions {
  readonly seed: number;
  readonly rounds: number;
  /** No round begins after so long. */
  readonly maxMs: number;
  /** One line after each round. */
  readonly report: (line: string) => void;
}

export interface ChaosResult {
  readonly seed: number;
  readonly rounds: number;
  readonly counts: Ledger['counts'];
  readonly faults: Faults['counts'];
  readonly violations: readonly Violation[];
  readonly verdicts: number;
  /** Left by PocketBase: folders without a build, files without a mention, parts of uploads. */
  readonly orphans: { readonly folders: number; readonly files: number; readonly uploads: number };
  /** Left by clamd in its own folder. */
  readonly clamdFiles: number;
  /** Longest from the end of the load to the last verdict. */
  readonly slowestMs: number;
  /** Kept where something was violated. */
  readonly folder: string | null;
}

/** Where sidecars, and where PocketBase, would put temporary files. */
interface Folders {
  readonly all: string;
  readonly sidecar: string;
  readonly pocketbase: string;
}

const WATCHERS = 2;
const QUIET_MS = 90_000;
/** Kills of the innocent are counted against a check as well; here none may end as an error because of them. */
const MAX_RETRIES = 50;

/** Stops after the first round with a violation. Rejects only where a part cannot be started. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const scene = await Scene.open();
  const since = performance.now();
  let rounds = 0;
  try {
    while (rounds < options.rounds && scene.violations.length === 0 && performance.now() - since < options.maxMs) {
      rounds++;
      const plan = planOf(options.seed, rounds);
      await scene.play(plan);
      options.report(scene.line(plan));
    }
    return await scene.result(options.seed, rounds);
  } finally {
    await scene.close();
  }
}

class Scene {
  readonly #pb: RunningPocketBase;
  readonly #clamd: RunningClamd;
  readonly #sidecars: readonly RunningSidecar[];
  readonly #stored: Stored;
  readonly #site: Site;
  readonly #folders: Folders;
  readonly #ledger = new Ledger();
  readonly #faults: Faults;
  readonly violations: Violation[] = [];
  readonly #history: Settled[] = [];
  #head = { seq: 0, hash: '' };
  #quietMs = 0;
  #slowestMs = 0;

  private constructor(pb: RunningPocketBase, clamd: RunningClamd, sidecars: readonly RunningSidecar[], folders: Folders) {
    this.#pb = pb;
    this.#clamd = clamd;
    this.#sidecars = sidecars;
    this.#folders = folders;
    this.#stored = new Stored(pb.dir);
    this.#site = { url: pb.url, storage: join(pb.dir, 'pb_data/storage'), collection: this.#stored.collectionId() };
    const [one, other] = sidecars as [RunningSidecar, RunningSidecar];
    this.#faults = new Faults({ pocketbase: pb, clamd, 'sidecar-1': one, 'sidecar-2': other });
  }

  static async open(): Promise<Scene> {
    const all = await mkdtemp(join(tmpdir(), 'pocketwarden-chaos-'));
    const folders = { all, sidecar: join(all, 'sidecar'), pocketbase: join(all, 'pocketbase') };
    await using started = new AsyncDisposableStack();
    started.defer(() => rm(all, { recursive: true, force: true }));
    await mkdir(folders.sidecar);
    await mkdir(folders.pocketbase);
    const port = await freePort();
    const env = { AV_SIDECAR_URL: `http://127.0.0.1:${port}`, AV_NOTIFY_SECRET: notifySecret, TMPDIR: folders.pocketbase };
    const pb = started.use(await startPocketBase({ env }));
    const clamd = started.use(await startClamd());
    const own = { TMPDIR: folders.sidecar, HOME: folders.sidecar };
    const limits = { LEASE_SECONDS: `${LEASE_SECONDS}`, POLL_SECONDS: '1', MAX_RETRIES: `${MAX_RETRIES}` };
    const start = (options: { port?: number }) =>
      startSidecar({ pocketbase: pb, clamd, until: 'listening', env: { ...own, ...limits }, ...options });
    const sidecars = [started.use(await start({ port })), started.use(await start({}))];
    started.move();
    return new Scene(pb, clamd, sidecars, folders);
  }

  async play({ round, writers, faults }: Plan): Promise<void> {
    const watching = new AbortController();
    const random = new Random(round);
    const watchers = Array.from({ length: WATCHERS }, () => rattle(this.#site, this.#ledger, round, random.fork(), watching.signal));
    const strikes = this.#faults.strike(faults).catch((thrown) => this.#violate('died', String(thrown)));
    await Promise.all(writers.map((steps) => write(this.#pb.client, this.#ledger, round, steps)));
    await strikes;
    const since = performance.now();
    await this.#quiet();
    this.#quietMs = performance.now() - since;
    this.#slowestMs = Math.max(this.#slowestMs, this.#quietMs);
    watching.abort();
    await Promise.all(watchers);
    await this.#judge(round);
  }

  line({ round, faults }: Plan): string {
    const hits = faults.map(({ kind, targets, downMs }) => `${kind} ${targets.join('+')} ${downMs} ms`).join(', ');
    const { uploads, changes, served } = this.#ledger.counts;
    const total = `${uploads} uploads, ${changes} changes, ${this.#history.length} verdicts, ${served} downloads served`;
    return `round ${round}: ${hits}; quiet after ${(this.#quietMs / 1000).toFixed(1)} s; so far ${total}, ${this.violations.length} violations`;
  }

  async result(seed: number, rounds: number): Promise<ChaosResult> {
    const isKept = this.violations.length > 0;
    if (isKept) await this.#keepEvidence();
    return {
      seed,
      rounds,
      counts: this.#ledger.counts,
      faults: this.#faults.counts,
      violations: this.violations,
      verdicts: this.#history.length,
      orphans: await this.#orphans(),
      clamdFiles: (await readdir(join(this.#clamd.dir, 'tmp'))).length,
      slowestMs: this.#slowestMs,
      folder: isKept ? this.#pb.dir : null,
    };
  }

  async close(): Promise<void> {
    this.#stored.close();
    for (const sidecar of this.#sidecars) await sidecar[Symbol.asyncDispose]();
    await this.#clamd[Symbol.asyncDispose]();
    await this.#pb.stop({ keep: this.violations.length > 0 });
    await rm(this.#folders.all, { recursive: true, force: true });
  }

  /** Every check has come to its end and nobody holds a lease. */
  async #quiet(): Promise<void> {
    const isQuiet = () => this.#stored.unfinished().length === 0;
    await eventually('every check ends', isQuiet, QUIET_MS).catch(() => {
      for (const check of this.#stored.unfinished()) this.#violate('stuck', JSON.stringify(check));
    });
  }

  async #judge(round: number): Promise<void> {
    for (const target of this.#faults.ended()) this.#violate('died', `${target} ended by itself`);
    this.#history.push(...this.#stored.history(this.#history.at(-1)?.seq ?? 0));
    const builds = this.#stored.builds();
    const checks = this.#stored.checks();
    const served = this.#ledger.served.splice(0);
    this.violations.push(
      ...downloadsBeforeOpen(served, this.#ledger, this.#history),
      ...lostBuilds(this.#ledger, builds, checks),
      ...wrongStates(builds, checks),
      ...wrongVerdicts(this.#history, this.#ledger),
    );
    for (const what of this.#ledger.refusals.splice(0)) this.#violate('refused', what);
    for (const name of await readdir(this.#folders.sidecar)) this.#violate('left behind', `a sidecar left ${name}`);
    await this.#verify();
    await this.#following(round);
  }

  /** From the last known head on, as the console does: a lost tail would show as well. */
  async #verify(): Promise<void> {
    for (let more = true; more; ) {
      const { seq, hash } = this.#head;
      const answer = await this.#pb.client.send(`/api/av/history/verify?after=${seq}&hash=${hash}`, { method: 'GET' });
      if (!answer.ok) return this.#violate('history', JSON.stringify(answer.broken));
      this.#head = answer.last;
      more = answer.more;
    }
  }

  /** A clean build that comes after it all passes. */
  async #following(round: number): Promise<void> {
    const name = `r${round}w9n0f0c.bin`;
    const content = new Uint8Array(Buffer.from('after'));
    this.#ledger.digests.set(name, digestOf(content));
    const build = await upload(this.#pb, { [name]: content });
    const isOpen = async () => (await fetch(`${this.#pb.url}/api/files/app_builds/${build.id}/${build.files[0]}`)).ok;
    await eventually('a following clean build passes', isOpen, 30_000).catch((thrown) => this.#violate('stuck', String(thrown)));
    await this.#pb.client.collection('app_builds').delete(build.id);
  }

  async #orphans(): Promise<ChaosResult['orphans']> {
    const builds = this.#stored.builds();
    const root = join(this.#site.storage, this.#site.collection);
    const stored = await readdir(root).catch(() => []);
    let files = 0;
    for (const id of stored) {
      const listed = new Set(builds.get(id));
      if (builds.has(id)) files += (await storedNames(join(root, id))).filter((name) => !listed.has(name)).length;
    }
    return { folders: stored.filter((id) => !builds.has(id)).length, files, uploads: (await readdir(this.#folders.pocketbase)).length };
  }

  async #keepEvidence(): Promise<void> {
    for (const [at, sidecar] of this.#sidecars.entries()) await writeFile(join(this.#pb.dir, `sidecar-${at + 1}.log`), sidecar.log());
    await writeFile(join(this.#pb.dir, 'clamd.log'), this.#clamd.log());
    await writeFile(join(this.#pb.dir, 'pocketbase.log'), this.#pb.output());
    const ledger = { builds: [...this.#ledger.builds.values()], violations: this.violations };
    await writeFile(join(this.#pb.dir, 'chaos.json'), JSON.stringify(ledger, null, 2));
  }

  #violate(kind: Kind, what: string): void {
    this.violations.push({ kind, what });
  }
}
