/** How fast a queue that has built up is worked off, against the engine alone. */
import { KIB, MIB, randomContents } from '../content.ts';
import { atLeast, atMost, type Context, type Measure, type Row } from '../measure.ts';
import { cpuMs } from '../process-usage.ts';
import { requeue, untilClaimed, untilSettled } from '../queue.ts';
import { rawFilesPerSecond } from '../raw-engine.ts';
import { openStage } from '../stage.ts';
import { median } from '../statistics.ts';
import { uploadAll } from '../uploads.ts';

const REPETITIONS = 5;
/** SCAN_CONCURRENCY's default. */
const STREAMS = 4;

export const smallBacklog: Measure = {
  name: 'backlog-10kib',
  what: '2,000 waiting builds of 10 KiB: builds a second against the raw engine, CPU per build',
  run: async (context) => {
    const builds = context.quick ? 300 : 2000;
    const { ratio, detail, cpuPerBuild } = await workOff(context, builds, 10 * KIB);
    const measure = `backlog of ${builds} builds of 10 KiB`;
    return [
      { measure: `${measure}: builds/s ÷ raw INSTREAM files/s`, value: ratio, unit: 'x', must: atLeast(0.2), aim: atLeast(0.35), detail },
      cpuRow(`${measure}: CPU of PocketBase + sidecar per build`, cpuPerBuild),
    ];
  },
};

export const mediumBacklog: Measure = {
  name: 'backlog-1mib',
  what: '300 waiting builds of 1 MiB: builds a second against the raw engine',
  run: async (context) => {
    const builds = context.quick ? 60 : 300;
    const { ratio, detail } = await workOff(context, builds, MIB);
    const measure = `backlog of ${builds} builds of 1 MiB: builds/s ÷ raw INSTREAM files/s`;
    return [{ measure, value: ratio, unit: 'x', must: atLeast(0.7), aim: atLeast(0.9), detail }];
  },
};

interface Cpu {
  readonly pocketbase: number;
  readonly sidecar: number;
}

interface WorkedOff {
  readonly ratio: number;
  readonly detail: string;
  readonly cpuPerBuild: readonly Cpu[];
}

/** The first time by a sidecar that has just been started, then by the same one. */
async function workOff(context: Context, builds: number, bytes: number): Promise<WorkedOff> {
  await using stage = await openStage(context);
  const { pb, clamd } = stage;
  const contents = randomContents(builds, bytes);
  context.report(`uploading ${builds} builds`);
  await uploadAll(pb, contents);
  const [ours, raw, cpuPerBuild]: [number[], number[], Cpu[]] = [[], [], []];
  let sidecar: { readonly pid: number } | null = null;
  for (let repetition = 1; repetition <= REPETITIONS; repetition++) {
    raw.push(await rawFilesPerSecond(clamd, contents, STREAMS));
    if (sidecar === null) sidecar = await stage.startSidecar({ env: { POLL_SECONDS: '1' }, until: 'listening' });
    else await requeue(pb);
    const claimedAt = await untilClaimed(pb);
    const before = { pocketbase: cpuMs(pb.pid), sidecar: cpuMs(sidecar.pid) };
    const settledAt = await untilSettled(pb);
    const used = (part: keyof Cpu, pid: number) => (cpuMs(pid) - before[part]) / builds;
    cpuPerBuild.push({ pocketbase: used('pocketbase', pb.pid), sidecar: used('sidecar', sidecar.pid) });
    ours.push((builds * 1000) / (settledAt - claimedAt));
    context.report(`raw ${raw.at(-1)!.toFixed(0)}/s, ours ${ours.at(-1)!.toFixed(0)}/s (${repetition} of ${REPETITIONS})`);
  }
  const detail = `${median(ours).toFixed(0)}/s ÷ ${median(raw).toFixed(0)}/s, medians of ${REPETITIONS}, ${STREAMS} streams`;
  return { ratio: median(ours.map((rate, index) => rate / raw[index]!)), detail, cpuPerBuild };
}

function cpuRow(measure: string, each: readonly Cpu[]): Row {
  const pocketbase = median(each.map((cpu) => cpu.pocketbase));
  const sidecar = median(each.map((cpu) => cpu.sidecar));
  return {
    measure,
    value: median(each.map((cpu) => cpu.pocketbase + cpu.sidecar)),
    unit: 'ms',
    must: atMost(4),
    aim: atMost(2.3),
    detail: `PocketBase ${pocketbase.toFixed(2)} ms, sidecar ${sidecar.toFixed(2)} ms`,
  };
}
