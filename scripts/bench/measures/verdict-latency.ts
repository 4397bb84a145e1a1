/** How long an uploader waits for the gate to open, from the answer to the upload on. */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningPocketBase } from '../../../test/harness/pocketbase.ts';
import { KIB, randomContent } from '../content.ts';
import { Connections } from '../http.ts';
import { makeLargeFile } from '../large-file.ts';
import { atMost, type Context, type Measure, type Row } from '../measure.ts';
import { requeue } from '../queue.ts';
import { openStage } from '../stage.ts';
import { percentile } from '../statistics.ts';
import { createUploader } from '../uploads.ts';

const LARGE_FILES = 4;
const WARM_UPS = 20;
const GATE_PAUSE_MS = 1;
const PATIENCE_MS = 60_000;

export const idleLatency: Measure = {
  name: 'latency-idle',
  what: 'upload response to verdict of 200 builds of 10 KiB with nothing else to do',
  run: async (context) => {
    await using stage = await openStage(context);
    await stage.startSidecar();
    const times = await verdictTimes(context, stage.pb);
    const measure = 'upload response → verdict, 10 KiB, idle';
    return [row(`${measure}: p50`, times, 50, 30, 9), row(`${measure}: p99`, times, 99, 150, 30)];
  },
};

export const busyLatency: Measure = {
  name: 'latency-busy',
  what: 'the same while four 1 GiB files are being scanned',
  run: async (context) => {
    await using stage = await openStage(context);
    const { pb } = stage;
    const label = await uploadLarge(context, pb);
    await stage.startSidecar({ env: { POLL_SECONDS: '1' } });
    const stopping = new AbortController();
    const keeping = keepBusy(pb, stopping.signal);
    try {
      const times = await verdictTimes(context, pb);
      return [row(`upload response → verdict, 10 KiB, while four ${label} files are being scanned: p99`, times, 99, 1000, 200)];
    } finally {
      stopping.abort();
      await keeping;
    }
  },
};

async function uploadLarge(context: Context, pb: RunningPocketBase): Promise<string> {
  await using file = await makeLargeFile(context, LARGE_FILES);
  context.report(`uploading it ${LARGE_FILES} times`);
  using uploader = createUploader(pb, 1);
  for (let copy = 0; copy < LARGE_FILES; copy++) await uploader.uploadFile(file);
  await pb.sql('CREATE TABLE bench_large AS SELECT id FROM av_build_checks');
  return file.label;
}

/** A large file that is done starts again, so that there are always as many. */
async function keepBusy(pb: RunningPocketBase, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await requeue(pb, 'id IN (SELECT id FROM bench_large)');
    await sleep(200);
  }
}

async function verdictTimes(context: Context, pb: RunningPocketBase): Promise<number[]> {
  const count = context.quick ? 50 : 200;
  using uploader = createUploader(pb, 1);
  using gate = new Connections(pb.url, 1);
  const times: number[] = [];
  for (let index = 0; index < WARM_UPS + count; index++) {
    // Not in step with anything periodic.
    await sleep(randomInt(5, 40));
    const build = await uploader.upload(randomContent(10 * KIB));
    const ms = await untilOpen(gate, `/api/files/${build.collectionId}/${build.id}/${build.files[0]}`);
    if (index >= WARM_UPS) times.push(ms);
    if (times.length > 0 && times.length % 50 === 0)
      context.report(`${times.length} of ${count} verdicts, p50 ${percentile(times, 50).toFixed(1)} ms`);
  }
  return times;
}

/** Asks as an anonymous client until the file comes. */
async function untilOpen(gate: Connections, path: string): Promise<number> {
  const began = performance.now();
  while (performance.now() - began < PATIENCE_MS) {
    const { status } = await gate.send(path);
    if (status === 200) return performance.now() - began;
    if (status !== 403 && status !== 404) throw new Error(`the gate answered ${status}`);
    await sleep(GATE_PAUSE_MS);
  }
  throw new Error(`the gate did not open within ${PATIENCE_MS} ms`);
}

function row(measure: string, times: readonly number[], percent: number, must: number, aim: number): Row {
  const others = [50, 90, 99, 100].map((each) => `p${each} ${percentile(times, each).toFixed(1)}`).join(', ');
  const detail = `${times.length} uploads: ${others} ms`;
  return { measure, value: percentile(times, percent), unit: 'ms', must: atMost(must), aim: atMost(aim), detail };
}
