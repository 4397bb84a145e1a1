import type { RunningPocketBase } from '../../../test/harness/pocketbase.ts';
import { KIB, randomContents } from '../content.ts';
import { inParallel } from '../http.ts';
import { atMost, type Context, type Measure, type Row } from '../measure.ts';
import { untilSettled } from '../queue.ts';
import { openStage, startBenchPocketBase } from '../stage.ts';
import { median, percentile } from '../statistics.ts';
import { createUploader } from '../uploads.ts';

const CONCURRENCY = 8;
const ROUNDS = 7;

export const uploads: Measure = {
  name: 'uploads',
  what: 'upload p50 of 10 KiB, 8 at a time, against PocketBase without our hooks',
  run,
};

async function run(context: Context): Promise<Row[]> {
  await using plain = await startBenchPocketBase({ withoutOurHooks: true });
  await using hooks = await startBenchPocketBase();
  await using stage = await openStage(context);
  await stage.startSidecar();
  const count = context.quick ? 80 : 400;
  const p50s = { plain: [] as number[], hooks: [] as number[], working: [] as number[] };
  const targets = [
    { name: 'plain', upload: () => uploadP50(plain, count) },
    { name: 'hooks', upload: () => uploadP50(hooks, count) },
    { name: 'working', upload: () => uploadP50(stage.pb, count) },
  ] as const;
  // Round 0 warms everything up. Each round begins with another one.
  for (let round = 0; round <= ROUNDS; round++) {
    for (let turn = 0; turn < targets.length; turn++) {
      const { name, upload } = targets[(round + turn) % targets.length]!;
      const p50 = await upload();
      if (round > 0) p50s[name].push(p50);
      // The others are not to compete with what this one has left to scan.
      if (name === 'working') await untilSettled(stage.pb);
    }
    if (round > 0)
      context.report(
        `round ${round} of ${ROUNDS}: p50 ${Object.entries(p50s)
          .map(([name, all]) => `${name} ${all.at(-1)!.toFixed(1)}`)
          .join(', ')} ms`,
      );
  }
  const row = (measure: string, ours: readonly number[], must: number, aim: number): Row => ({
    measure: `upload p50 ÷ plain PocketBase (10 KiB, ${CONCURRENCY} at a time): ${measure}`,
    value: median(ours.map((ms, round) => ms / p50s.plain[round]!)),
    unit: 'x',
    must: atMost(must),
    aim: atMost(aim),
    detail: `${median(ours).toFixed(1)} ms ÷ ${median(p50s.plain).toFixed(1)} ms, medians of ${ROUNDS} rounds of ${count}`,
  });
  return [row('hooks alone', p50s.hooks, 1.8, 1.3), row('sidecar working', p50s.working, 4, 2.5)];
}

async function uploadP50(pb: RunningPocketBase, count: number): Promise<number> {
  const contents = randomContents(count, 10 * KIB);
  using uploader = createUploader(pb, CONCURRENCY);
  const times: number[] = [];
  await inParallel(count, CONCURRENCY, async (index) => {
    const began = performance.now();
    await uploader.upload(contents[index]!);
    times.push(performance.now() - began);
  });
  return percentile(times, 50);
}
