import { createConnection, type Socket } from 'node:net';
import type { Build } from '../../../test/harness/builds.ts';
import type { RunningPocketBase } from '../../../test/harness/pocketbase.ts';
import { KIB, MIB, randomContents } from '../content.ts';
import { Connections, inParallel } from '../http.ts';
import { atMost, type Context, type Measure, type Row } from '../measure.ts';
import { openAll } from '../queue.ts';
import { startBenchPocketBase } from '../stage.ts';
import { median } from '../statistics.ts';
import { uploadAll } from '../uploads.ts';

const CONCURRENCY = 32;
const ROUNDS = 5;
const STALLED = 50;
const SMALL_BUILDS = 64;
/** More than the socket buffers of both ends take. */
const STALLED_BYTES = 64 * MIB;

export const downloads: Measure = {
  name: 'downloads',
  what: 'downloads of 10 KiB, 32 at a time, against PocketBase without our hooks; also with 50 stalled downloads',
  run,
};

interface Source {
  readonly pb: RunningPocketBase;
  readonly paths: readonly string[];
  readonly largePath: string;
}

async function run(context: Context): Promise<Row[]> {
  await using plain = await startBenchPocketBase({ withoutOurHooks: true });
  await using hooks = await startBenchPocketBase();
  await using locked = await startBenchPocketBase({ secondLock: true });
  const [ungated, gated, both] = [await fill(plain), await fill(hooks), await fill(locked)];
  const count = context.quick ? 800 : 4000;
  const measure = `gated ÷ ungated download (10 KiB, ${CONCURRENCY} at a time)`;
  context.report('downloading');
  const free = await compare(context, ungated, gated, count);
  using stalls = new DisposableStack();
  context.report('downloading through the second lock too');
  const twice = await compare(context, ungated, both, count);
  context.report(`${STALLED} stalled downloads each`);
  const stalled = [await stall(plain, ungated, stalls), await stall(hooks, gated, stalls)].flat();
  const withStalled = await compare(context, ungated, gated, count);
  if (stalled.some((socket) => socket.readableEnded || socket.destroyed)) throw new Error('a stalled download has ended before its time');
  return [
    row(measure, free, count, 1.5, 1.2),
    row(`${measure}, with the second lock too`, twice, count, 1.5, 1.2),
    row(`${measure}, ${STALLED} stalled downloads open`, withStalled, count, 2, 1.5),
  ];
}

/** Builds that may be downloaded: on the plain one nothing forbids it. */
async function fill(pb: RunningPocketBase): Promise<Source> {
  const small = await uploadAll(pb, randomContents(SMALL_BUILDS, 10 * KIB));
  const [large] = await uploadAll(pb, randomContents(1, STALLED_BYTES));
  await openAll(pb);
  const path = (build: Build) => `/api/files/${build.collectionId}/${build.id}/${build.files[0]}`;
  return { pb, paths: small.map(path), largePath: path(large!) };
}

interface Compared {
  /** Milliseconds of each round. */
  readonly ungated: number[];
  readonly gated: number[];
}

async function compare(context: Context, ungated: Source, gated: Source, count: number): Promise<Compared> {
  const times: Compared = { ungated: [], gated: [] };
  for (let round = 0; round <= ROUNDS; round++) {
    const order = round % 2 === 0 ? (['ungated', 'gated'] as const) : (['gated', 'ungated'] as const);
    for (const name of order) {
      const ms = await downloadAll(name === 'gated' ? gated : ungated, count);
      if (round > 0) times[name].push(ms);
    }
    if (round > 0)
      context.report(
        `round ${round} of ${ROUNDS}: ungated ${rate(count, times.ungated.at(-1)!)}, gated ${rate(count, times.gated.at(-1)!)}`,
      );
  }
  return times;
}

async function downloadAll({ pb, paths }: Source, count: number): Promise<number> {
  using http = new Connections(pb.url, CONCURRENCY);
  const began = performance.now();
  await inParallel(count, CONCURRENCY, async (index) => {
    const { status, body } = await http.send(paths[index % paths.length]!);
    if (status !== 200 || body.length !== 10 * KIB) throw new Error(`a download was answered ${status} with ${body.length} bytes`);
  });
  return performance.now() - began;
}

/** Downloads that have begun and read no further. */
function stall(pb: RunningPocketBase, { largePath }: Source, stalls: DisposableStack): Promise<Socket[]> {
  const { hostname, port, host } = new URL(pb.url);
  const one = () =>
    new Promise<Socket>((resolve, reject) => {
      const socket = stalls.adopt(createConnection({ host: hostname, port: Number(port) }), (each) => each.destroy());
      socket.on('error', reject);
      socket.on('data', (chunk: Buffer) => {
        socket.pause();
        if (chunk.toString('latin1').startsWith('HTTP/1.1 200')) resolve(socket);
        else reject(new Error(`a download to be stalled was answered ${chunk.toString('latin1').slice(0, 60)}`));
      });
      socket.write(`GET ${largePath} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    });
  return Promise.all(Array.from({ length: STALLED }, one));
}

function row(measure: string, { gated, ungated }: Compared, count: number, must: number, aim: number): Row {
  return {
    measure,
    value: median(gated.map((ms, round) => ms / ungated[round]!)),
    unit: 'x',
    must: atMost(must),
    aim: atMost(aim),
    detail: `${rate(count, median(gated))} against ${rate(count, median(ungated))}, medians of ${ROUNDS} rounds of ${count}`,
  };
}

function rate(count: number, ms: number): string {
  return `${((count * 1000) / ms).toFixed(0)}/s`;
}
