/** What a long build log costs its readers, and what a viewer who follows it costs the process. */
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { BuildLogWriter } from '../../../sidecar/trivy-db/build-log.ts';
import { Connections } from '../http.ts';
import { atMost, type Context, type Measure, type Row } from '../measure.ts';
import { peakResidentMb, residentMb } from '../process-usage.ts';
import { type RunningServer, startServer, trivyDbData } from '../servers.ts';
import { median, percentile } from '../statistics.ts';

const BUILD = '20270101T000000Z-abcdef';
const LINES = 1000;
const VIEWERS = 100;
/** Of the viewers, those who read nothing while lines come. */
const ASLEEP = 20;
const SETTLE_MS = 3_000;

export const buildLog: Measure = {
  name: 'build-log',
  what: 'the last 1000 lines of a build log of 1 GB, and the memory of those who follow it',
  run,
};

async function run(context: Context): Promise<Row[]> {
  await using data = await trivyDbData();
  const bytes = context.quick ? 1e8 : 1e9;
  context.report(`writing a log of ${bytes / 1e6} MB`);
  const writer = await BuildLogWriter.open(data.layout.logs, BUILD);
  const lines = await fill(writer, bytes);
  const { size } = await stat(`${data.layout.logs}/${BUILD}.log`);
  await using server = await startServer('trivy-db', data.env);
  const log = `a log of ${(size / 1e6).toFixed(0)} MB and ${lines} lines`;
  const { first, times } = await readEnd(server, context.quick ? 30 : 200);
  const made = `${log}; first answer after the start ${first.toFixed(1)} ms, slowest of a hundred ${percentile(times, 99).toFixed(1)} ms`;
  const read: Row = {
    measure: `GET /api/logs?lines=${LINES}, median`,
    value: median(times),
    unit: 'ms',
    must: atMost(50),
    aim: atMost(15),
    detail: made,
  };
  const viewers = await follow(context, server, writer);
  await writer.close();
  return [read, viewers];
}

/** As trivy-db writes: some 90 bytes a line. */
async function fill(writer: BuildLogWriter, bytes: number): Promise<number> {
  let lines = 0;
  for (let written = 0; written < bytes; lines++) {
    const text = `2027/01/01 00:00:00 INFO [nvd] Updating data for CVE-2099-${lines}`;
    writer.write(text);
    written += text.length + 26;
    // The writer gathers for a moment, which needs turns of the event loop.
    if (lines % 100_000 === 0) await sleep(1);
  }
  await sleep(100);
  return lines;
}

async function readEnd({ url }: RunningServer, count: number): Promise<{ first: number; times: number[] }> {
  using http = new Connections(url, 1);
  const times: number[] = [];
  for (let repetition = 0; repetition <= count; repetition++) {
    const began = performance.now();
    const { status, body } = await http.send(`/api/logs?lines=${LINES}`);
    times.push(performance.now() - began);
    const { logs } = JSON.parse(body.toString()) as { logs: string[] };
    if (status !== 200 || logs.length !== LINES) throw new Error(`the log was answered ${status} with ${logs.length} lines`);
  }
  return { first: times.shift()!, times };
}

async function follow(context: Context, { url, pid }: RunningServer, writer: BuildLogWriter): Promise<Row> {
  await sleep(SETTLE_MS);
  const before = residentMb(pid);
  context.report(`${VIEWERS} viewers, ${ASLEEP} of them asleep`);
  using gone = new DisposableStack();
  const viewers = await Promise.all(Array.from({ length: VIEWERS }, () => view(`${url}/api/logs/stream?tail=100`, gone)));
  await sleep(SETTLE_MS);
  const waiting = residentMb(pid);
  for (const { incoming } of viewers.slice(0, ASLEEP)) incoming.pause();
  const lines = context.quick ? 5_000 : 30_000;
  for (let line = 0; line < lines; line++) {
    writer.write(`2027/01/01 00:00:00 INFO [nvd] line ${line} of those that are followed`);
    if (line % 100 === 0) await sleep(10);
  }
  const wanted = `line ${lines - 1} of`;
  while (viewers.slice(ASLEEP).some((viewer) => !viewer.last().includes(wanted))) await sleep(50);
  const peak = peakResidentMb(pid);
  const detail = `${before.toFixed(0)} MB without, ${waiting.toFixed(0)} MB with ${VIEWERS} who wait, at most ${peak.toFixed(0)} MB while ${lines} lines came and ${ASLEEP} of them read nothing`;
  return {
    measure: 'memory of one who follows the log',
    value: Math.max(0, peak - before) / VIEWERS,
    unit: 'MB',
    must: atMost(1),
    aim: atMost(0.5),
    detail,
  };
}

async function view(url: string, gone: DisposableStack): Promise<{ incoming: IncomingMessage; last(): string }> {
  const asked = request(url, { agent: false });
  gone.adopt(asked, (each) => each.destroy());
  asked.on('error', () => {});
  asked.end();
  const [incoming] = (await once(asked, 'response')) as [IncomingMessage];
  let last = '';
  incoming.on('data', (chunk: Buffer) => {
    last = last.slice(-500) + chunk.toString('latin1');
  });
  incoming.on('error', () => {});
  return { incoming, last: () => last };
}
