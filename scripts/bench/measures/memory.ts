import { setTimeout as sleep } from 'node:timers/promises';
import { KIB, randomContents } from '../content.ts';
import { makeLargeFile } from '../large-file.ts';
import { atMost, type Context, type Measure, type Row } from '../measure.ts';
import { peakResidentMb, residentMb } from '../process-usage.ts';
import { requeue, untilClaimed, untilSettled } from '../queue.ts';
import { openStage } from '../stage.ts';
import { createUploader, uploadAll } from '../uploads.ts';

const LARGE_FILES = 4;
const ROUNDS = 10;
const QUIET_LOOKS = 10;
const LOOK_MS = 500;

export const streamingMemory: Measure = {
  name: 'memory-streaming',
  what: 'resident memory of the sidecar while four 1 GiB files stream at once',
  run: async (context) => {
    // On a busy machine four at once may take longer than an engine normally allows, which is not what is measured here.
    await using stage = await openStage(context, { MaxScanTime: '1200000' });
    await using file = await makeLargeFile(context, LARGE_FILES);
    using uploader = createUploader(stage.pb, 1);
    context.report(`uploading it ${LARGE_FILES} times`);
    for (let copy = 0; copy < LARGE_FILES; copy++) await uploader.uploadFile(file);
    // One stream is always kept free for small files.
    const sidecar = await stage.startSidecar({ env: { SCAN_CONCURRENCY: String(LARGE_FILES + 1), SCAN_TIMEOUT_SECONDS: '1300' } });
    await untilSettled(stage.pb);
    const row: Row = {
      measure: `sidecar RSS while four ${file.label} files stream`,
      value: peakResidentMb(sidecar.pid),
      unit: 'MB',
      must: atMost(150),
      aim: atMost(110),
      detail: `the highest since its start; ${residentMb(sidecar.pid).toFixed(0)} MB afterwards`,
    };
    return [row];
  },
};

export const memoryGrowth: Measure = {
  name: 'memory-growth',
  what: 'resident memory of the sidecar after 20,000 checks against that after 2,000',
  run: growth,
};

async function growth(context: Context): Promise<Row[]> {
  await using stage = await openStage(context);
  const { pb } = stage;
  const builds = context.quick ? 200 : 2000;
  await uploadAll(pb, randomContents(builds, 10 * KIB));
  const sidecar = await stage.startSidecar({ env: { POLL_SECONDS: '1' }, until: 'listening' });
  const resident: number[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    if (round > 1) await requeue(pb);
    await untilClaimed(pb);
    await untilSettled(pb);
    resident.push(await quietResidentMb(sidecar.pid));
    context.report(`${round * builds} checks: ${resident.at(-1)!.toFixed(1)} MB`);
  }
  const [first, last] = [resident[0]!, resident.at(-1)!];
  const row: Row = {
    measure: `sidecar RSS after ${builds * ROUNDS} checks ÷ after ${builds}`,
    value: last / first,
    unit: 'x',
    // No growth, give or take when the collector last ran.
    must: atMost(1.15),
    aim: atMost(1.05),
    detail: `${last.toFixed(1)} MB ÷ ${first.toFixed(1)} MB; each ${builds}: ${resident.map((mb) => mb.toFixed(0)).join(' ')}; peak ${peakResidentMb(sidecar.pid).toFixed(0)} MB`,
  };
  return [row];
}

/** The least of some seconds without work. */
async function quietResidentMb(pid: number): Promise<number> {
  const looks: number[] = [];
  for (let look = 0; look < QUIET_LOOKS; look++) {
    await sleep(LOOK_MS);
    looks.push(residentMb(pid));
  }
  return Math.min(...looks);
}
