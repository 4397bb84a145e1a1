import { readFile } from 'node:fs/promises';
import { ensureBuilt } from '../ensure-built.ts';
import { type Clamd, obtainClamd } from '../parts/clamd.ts';
import { obtainPocketBase } from '../parts/pocketbase.ts';
import type { Report } from '../parts/report.ts';
import { type DataFolder, emptyTemporary, prepareDataFolder } from './data-folder.ts';
import { clamdPart, type GroupPlan, type Member, pocketbasePart, prepareDatabase, sidecarPart, urlOf } from './group.ts';
import { removeGroup, settleWithPrevious, writeGroup } from './group-file.ts';
import { busyPorts } from './ports.ts';
import { loginProblem, untilHttpOk, untilPong } from './readiness.ts';
import type { StartSettings } from './settings.ts';
import { obtainSignatures, refreshOfficial } from './signatures.ts';

const DAY_MS = 86_400_000;

/** Everything that must be there before the first part runs. Throws one clear sentence when something is missing or in the way. */
export async function prepareGroup(settings: StartSettings, report: Report, write: (text: string) => void): Promise<GroupPlan> {
  const folder = await prepareDataFolder(settings.dataFolder, settings.password);
  await settleWithPrevious(folder.groupFile, report);
  const { ports } = settings;
  const busy = [
    ...(await busyPorts(settings.host, [
      { port: ports.pocketbase, part: 'PocketBase', variable: 'PB_PORT' },
      { port: ports.sidecar, part: 'the sidecar', variable: 'PORT' },
    ])),
    ...(await busyPorts('127.0.0.1', [{ port: ports.clamd, part: 'clamd', variable: 'CLAMD_PORT' }])),
  ];
  if (busy.length > 0) throw new Error(busy.join('\n'));
  const [pocketbase, clamd] = await Promise.all([obtainPocketBase(report), obtainClamd(report), ensureBuilt(report)]);
  const signatures = await obtainSignatures(clamd, folder.testSignatures, report);
  return { settings, folder, pocketbase, clamd, signatures, write };
}

/** The three programs of one `npm start`. */
export class Group {
  readonly #plan: GroupPlan;
  readonly #report: Report;
  readonly #stopping = new AbortController();
  #members: Member[] = [];
  #refresh: NodeJS.Timeout | undefined;

  constructor(plan: GroupPlan, report: Report) {
    this.#plan = plan;
    this.#report = report;
  }

  /** Resolves when uploads are accepted and judged; rejects with the reason when a part does not come up. */
  async start(): Promise<void> {
    const { settings, folder, clamd, signatures } = this.#plan;
    const { signal } = this.#stopping;
    const pocketbaseUrl = urlOf(settings, settings.ports.pocketbase);
    const sidecarUrl = urlOf(settings, settings.ports.sidecar);
    const pocketbaseUp = async () => {
      await prepareDatabase(this.#plan);
      await this.#run(pocketbasePart(this.#plan), (s) => untilHttpOk('PocketBase', `${pocketbaseUrl}/api/health`, 60_000, s));
      const problem = await loginProblem(pocketbaseUrl, settings.email, (await readFile(folder.passwordFile, 'utf8')).trimEnd(), signal);
      if (problem !== null) throw new Error(problem);
    };
    const clamdUp = async () => this.#run(await clamdPart(this.#plan), (s) => untilPong(settings.ports.clamd, 300_000, s));
    await Promise.all([pocketbaseUp(), clamdUp()]);
    await this.#run(sidecarPart(this.#plan), (s) => untilHttpOk('the sidecar', `${sidecarUrl}/readyz`, 60_000, s));
    if (signatures.kind === 'official')
      this.#refresh = setInterval(() => void keepFresh(clamd, signatures.directory, this.#report), DAY_MS).unref();
  }

  /** The sidecar first, so that it can give back what it holds; then the two it works with. Leaves no process and no temporary file. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('stopped'));
    clearInterval(this.#refresh);
    const [sidecar, others] = [this.#members.filter(isSidecar), this.#members.filter((member) => !isSidecar(member))];
    await Promise.all(sidecar.map(({ part }) => part.stop()));
    await Promise.all(others.map(({ part }) => part.stop()));
    await leaveNothing(this.#plan.folder);
  }

  kill(): void {
    for (const { part } of this.#members) part.kill();
  }

  async #run(member: Member, ready: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#stopping.signal.throwIfAborted();
    this.#members.push(member);
    await member.part.start(ready, () => this.#record());
  }

  /** Written anew at every start of a part, so that the file always names the processes of now. */
  async #record(): Promise<void> {
    const { settings, folder } = this.#plan;
    const running = this.#members.flatMap(({ part, mark }) =>
      part.pid === undefined ? [] : [[part.name, { pid: part.pid, mark }] as const],
    );
    await writeGroup(folder.groupFile, {
      pid: process.pid,
      pocketbaseUrl: urlOf(settings, settings.ports.pocketbase),
      sidecarUrl: urlOf(settings, settings.ports.sidecar),
      email: settings.email,
      passwordFile: folder.passwordFile,
      parts: Object.fromEntries(running),
    });
  }
}

const isSidecar = ({ part }: Member) => part.name === 'sidecar';

async function keepFresh(clamd: Clamd, directory: string, report: Report): Promise<void> {
  await refreshOfficial(clamd, directory, report).catch((error: Error) => report(`official signatures: ${error.message}`));
}

async function leaveNothing(folder: DataFolder): Promise<void> {
  await emptyTemporary(folder);
  await removeGroup(folder.groupFile);
}
