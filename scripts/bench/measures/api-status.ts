/** What pollers cost: `GET /api/status` beside a server that has the same bytes ready. */
import { atLeast, type Context, type Measure, type Row } from '../measure.ts';
import { cpuMs } from '../process-usage.ts';
import { requestsPerSecond } from '../raw-http.ts';
import { type RunningServer, startServer, trivyDbData } from '../servers.ts';
import { median } from '../statistics.ts';

const CONNECTIONS = 16;
const ROUNDS = 7;
/** Hop by hop, so that they are each server's own. */
const own = ['connection', 'keep-alive', 'date', 'transfer-encoding'];

export const apiStatus: Measure = {
  name: 'api-status',
  what: 'GET /api/status of the trivy-db role, against node:http with the same bytes',
  run,
};

interface Reached {
  /** Requests a second of each round. */
  readonly rates: number[];
  /** Microseconds of each round. */
  readonly cpu: number[];
}

async function run(context: Context): Promise<Row[]> {
  await using data = await trivyDbData();
  await using role = await startServer('trivy-db', data.env);
  const answer = await fetch(`${role.url}/api/status`);
  const headers = Object.fromEntries([...answer.headers].filter(([name]) => !own.includes(name)));
  await using bare = await startServer('bare', { BENCH_ANSWER: JSON.stringify({ headers, body: await answer.text() }) });
  const count = context.quick ? 4_000 : 30_000;
  const reached = { role: { rates: [], cpu: [] } as Reached, bare: { rates: [], cpu: [] } as Reached };
  for (let round = 0; round <= ROUNDS; round++) {
    // The first one warms up; who is first in the others takes turns.
    const order = round % 2 === 0 ? (['bare', 'role'] as const) : (['role', 'bare'] as const);
    for (const name of order) await measure(name === 'role' ? role : bare, count, round === 0 ? null : reached[name]);
  }
  const perSecond = (of: Reached) => `${median(of.rates).toFixed(0)}/s with ${median(of.cpu).toFixed(0)} µs of CPU each`;
  return [
    {
      measure: `GET /api/status ÷ bare node:http (${CONNECTIONS} connections)`,
      value: median(reached.role.rates.map((rate, round) => rate / reached.bare.rates[round]!)),
      unit: 'x',
      must: atLeast(0.5),
      aim: atLeast(0.6),
      detail: `${perSecond(reached.role)} against ${perSecond(reached.bare)}, medians of ${ROUNDS} rounds of ${count}`,
    },
  ];
}

async function measure({ url, pid }: RunningServer, count: number, reached: Reached | null): Promise<void> {
  const before = cpuMs(pid);
  const rate = await requestsPerSecond(url, '/api/status', CONNECTIONS, count);
  reached?.rates.push(rate);
  reached?.cpu.push(((cpuMs(pid) - before) * 1000) / count);
}
