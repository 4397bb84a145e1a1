import { clamdscanMs } from '../clamdscan.ts';
import { makeLargeFile } from '../large-file.ts';
import { atMost, type Context, type Measure, type Row } from '../measure.ts';
import { requeue, untilClaimed, untilSettled } from '../queue.ts';
import { openStage } from '../stage.ts';
import { median } from '../statistics.ts';
import { createUploader } from '../uploads.ts';

const REPETITIONS = 3;

export const largeFile: Measure = {
  name: 'large-file',
  what: 'one 1 GiB file from claim to settled, against clamdscan --stream',
  run,
};

async function run(context: Context): Promise<Row[]> {
  await using stage = await openStage(context);
  await using file = await makeLargeFile(context, 1);
  const { pb, clamd } = stage;
  using uploader = createUploader(pb, 1);
  await stage.startSidecar({ env: { POLL_SECONDS: '1' } });
  await uploader.uploadFile(file);
  await untilSettled(pb);
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let repetition = 1; repetition <= REPETITIONS; repetition++) {
    theirs.push(await clamdscanMs(clamd, file.path));
    await requeue(pb);
    const claimedAt = await untilClaimed(pb);
    ours.push((await untilSettled(pb)) - claimedAt);
    context.report(`clamdscan ${theirs.at(-1)!.toFixed(0)} ms, claim to settled ${ours.at(-1)} ms (${repetition} of ${REPETITIONS})`);
  }
  const row: Row = {
    measure: `${file.label} random file, claim → settled ÷ clamdscan --stream`,
    value: median(ours) / median(theirs),
    unit: 'x',
    must: atMost(1.15),
    aim: atMost(1.05),
    detail: `${(median(ours) / 1000).toFixed(2)} s ÷ ${(median(theirs) / 1000).toFixed(2)} s, medians of ${REPETITIONS}`,
  };
  return [row];
}
