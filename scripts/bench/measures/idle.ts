/** What it costs to have nothing to do, and whether finished checks make it, or a claim, any dearer. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClaimAnswer } from '../../../pb_hooks/lib/wire.ts';
import type { RunningPocketBase } from '../../../test/harness/pocketbase.ts';
import { KIB, randomContents } from '../content.ts';
import { Connections } from '../http.ts';
import { atMost, type Context, type Measure, type Row } from '../measure.ts';
import { cpuMs } from '../process-usage.ts';
import { requeue, selectOne, untilSettled } from '../queue.ts';
import { openStage, type Stage } from '../stage.ts';
import { median } from '../statistics.ts';
import { uploadAll } from '../uploads.ts';

const WAITING = 32;
const SETTLE_DOWN_MS = 5_000;

export const idle: Measure = {
  name: 'idle',
  what: 'idle CPU of sidecar and PocketBase, and the time of a claim, empty and with 100,000 finished checks',
  run,
};

async function run(context: Context): Promise<Row[]> {
  await using stage = await openStage(context);
  const { pb } = stage;
  const sidecar = await stage.startSidecar();
  await uploadAll(pb, randomContents(WAITING, 10 * KIB));
  await untilSettled(pb);
  const empty = await idleCpu(context, stage, sidecar.pid);
  await sidecar.stop();
  const claimEmpty = await claimTime(context, pb);
  const finished = context.quick ? 10_000 : 100_000;
  context.report(`adding ${finished} finished checks`);
  await addFinished(pb, finished);
  const claimFull = await claimTime(context, pb);
  await sidecar.restart();
  const full = await idleCpu(context, stage, sidecar.pid);
  const history = `with ${finished} finished checks`;
  const window = `${windowMs(context) / 1000} s with the sweep of a minute`;
  return [
    percentRow('idle CPU of sidecar + PocketBase, empty', empty, `% of a core, ${window}`),
    percentRow(`idle CPU of sidecar + PocketBase, ${history}`, full, `% of a core, ${window}`),
    dearerRow(`what ${finished} finished checks add to idle CPU`, full, empty),
    claimRow(`claim of ${WAITING} waiting checks, ${history} ÷ without`, claimFull.some, claimEmpty.some),
    claimRow(`claim of nothing, ${history} ÷ without`, claimFull.none, claimEmpty.none),
  ];
}

/** A minute holds one sweep, wherever it begins. */
function windowMs({ quick }: Context): number {
  return quick ? 10_000 : 60_000;
}

interface Cpu {
  readonly pocketbase: number;
  readonly sidecar: number;
}

async function idleCpu(context: Context, { pb }: Stage, pid: number): Promise<Cpu> {
  await sleep(SETTLE_DOWN_MS);
  const ms = windowMs(context);
  context.report(`doing nothing for ${ms / 1000} s`);
  const before = { pocketbase: cpuMs(pb.pid), sidecar: cpuMs(pid) };
  await sleep(ms);
  const percent = (now: number, then: number) => ((now - then) * 100) / ms;
  return { pocketbase: percent(cpuMs(pb.pid), before.pocketbase), sidecar: percent(cpuMs(pid), before.sidecar) };
}

interface ClaimTime {
  /** Milliseconds of each claim. */
  readonly some: number[];
  readonly none: number[];
}

async function claimTime(context: Context, pb: RunningPocketBase): Promise<ClaimTime> {
  using http = new Connections(pb.url, 1);
  const times: ClaimTime = { some: [], none: [] };
  await pb.sql('CREATE TABLE IF NOT EXISTS bench_waiting AS SELECT id FROM av_build_checks');
  for (let repetition = 0; repetition < (context.quick ? 10 : 40); repetition++) {
    await pb.sql("UPDATE av_build_checks SET status = 'clean', lease_until = '' WHERE status = 'scanning'");
    await requeue(pb, 'id IN (SELECT id FROM bench_waiting)');
    times.some.push(await timedClaim(pb, http, WAITING));
    await pb.sql("UPDATE av_build_checks SET status = 'clean', lease_until = '' WHERE status = 'scanning'");
    times.none.push(await timedClaim(pb, http, 0));
  }
  return times;
}

async function timedClaim(pb: RunningPocketBase, http: Connections, expected: number): Promise<number> {
  const body = Buffer.from(JSON.stringify({ worker: 'bench', max: WAITING, leaseSeconds: 60, maxRetries: 3 }));
  const headers = { Authorization: pb.client.authStore.token, 'Content-Type': 'application/json', 'Content-Length': String(body.length) };
  const began = performance.now();
  const answer = await http.send('/api/av/claim', { method: 'POST', headers, body });
  const ms = performance.now() - began;
  const { checks } = JSON.parse(answer.body.toString()) as ClaimAnswer;
  if (answer.status !== 200 || checks.length !== expected)
    throw new Error(`a claim was answered ${answer.status} with ${checks?.length} checks`);
  return ms;
}

/** Copies of a real finished check, each with a build of its own. */
async function addFinished(pb: RunningPocketBase, count: number): Promise<void> {
  const numbers = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`;
  const copy = async (collection: string, where: string, own: Record<string, string>) => {
    const { fields } = await pb.client.collections.getOne(collection);
    const names = fields.map(({ name }) => name);
    const values = names.map((name) => own[name] ?? `source.\`${name}\``);
    const columns = names.map((name) => `\`${name}\``).join(', ');
    await pb.sql(
      `INSERT INTO ${collection} (${columns}) ${numbers} SELECT ${values.join(', ')} FROM n, (SELECT * FROM ${collection} WHERE ${where} LIMIT 1) source`,
    );
  };
  const [build] = await selectOne(pb, "SELECT build FROM av_build_checks WHERE status = 'clean' LIMIT 1");
  const id = (letter: string) => `printf('${letter}%014d', i)`;
  await copy('app_builds', `id = '${build}'`, { id: id('b') });
  await copy('av_build_checks', `build = '${build}'`, { id: id('c'), build: id('b') });
}

function percentRow(measure: string, cpu: Cpu, unit: string): Row {
  const detail = `PocketBase ${cpu.pocketbase.toFixed(2)}, sidecar ${cpu.sidecar.toFixed(2)} ${unit}`;
  return { measure, value: cpu.pocketbase + cpu.sidecar, unit: '%', must: atMost(1), aim: null, detail };
}

/** What two windows with nothing in between differ by on a quiet machine, and a single sweep's search after the bench's own writes. */
const SAME = 0.1;

function dearerRow(measure: string, full: Cpu, empty: Cpu): Row {
  const [pocketbase, sidecar] = [full.pocketbase - empty.pocketbase, full.sidecar - empty.sidecar];
  const detail = `PocketBase ${pocketbase.toFixed(2)}, sidecar ${sidecar.toFixed(2)} % of a core`;
  return { measure, value: pocketbase + sidecar, unit: '%', must: atMost(SAME), aim: null, detail };
}

function claimRow(measure: string, full: readonly number[], empty: readonly number[]): Row {
  const detail = `${median(full).toFixed(2)} ms ÷ ${median(empty).toFixed(2)} ms, medians of ${full.length}`;
  return { measure, value: median(full) / median(empty), unit: 'x', must: atMost(1.3), aim: null, detail };
}
