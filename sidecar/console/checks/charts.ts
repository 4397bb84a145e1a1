/** /checks/charts: throughput, queue and findings over time; drawn by a script, and in full as a table without it. */
import { html } from 'hono/html';
import { z } from 'zod';
import type { StatsAnswer } from '../../../pb_hooks/lib/wire.ts';
import type { Html } from '../console-env.ts';
import { count, counted, exact } from '../format.ts';

/** Spans that can be chosen, in hours. */
export const spans = { 1: 'Last hour', 24: 'Last 24 hours', 168: 'Last 7 days' } as const;
export type Span = keyof typeof spans;

export const statsAnswer: z.ZodType<StatsAnswer> = z.object({
  hours: z.number(),
  bucketSeconds: z.number(),
  from: z.string(),
  complete: z.boolean(),
  buckets: z.array(
    z.object({
      at: z.string(),
      arrivals: z.number(),
      clean: z.number(),
      infected: z.number(),
      unscannable: z.number(),
      failed: z.number(),
      foundLater: z.number(),
      waiting: z.number(),
    }),
  ),
});

/** The span that is asked for, or a day. */
export function readSpan(text: string | undefined): Span {
  return text === '1' ? 1 : text === '168' ? 168 : 24;
}

const charts = [
  { name: 'throughput', title: 'Throughput', what: (every: string) => `Builds uploaded and judged every ${every}.` },
  { name: 'queue', title: 'Queue', what: (every: string) => `Builds that wait, at the end of every ${every}.` },
  { name: 'findings', title: 'Findings', what: (every: string) => `Builds found infected, not judged or failed every ${every}.` },
] as const;

export function chartsBody(stats: StatsAnswer, span: Span): Html {
  const total = totals(stats);
  // '1 minute' after 'every' reads 'every minute'.
  const every = (
    stats.bucketSeconds >= 3600 ? counted(stats.bucketSeconds / 3600, 'hour') : counted(stats.bucketSeconds / 60, 'minute')
  ).replace(/^1 /, '');
  const sums = {
    throughput: `${counted(total.arrivals, 'build')} uploaded, ${count(total.judged)} judged.`,
    queue: `At most ${counted(total.longest, 'build')} waited at once; ${count(total.now)} now.`,
    findings: `${count(total.infected)} infected${total.foundLater > 0 ? `, ${count(total.foundLater)} of them found later` : ''}; ${count(total.unscannable)} could not be judged; ${count(total.failed)} failed.`,
  };
  return html`<p><a href="/checks">Checks</a> / Charts</p>
<div class="page-head"><h1>Checks over time</h1></div>
<nav class="filters" aria-label="Span">${Object.entries(spans).map(([hours, words]) => html`<a href="/checks/charts?hours=${hours}"${Number(hours) === span ? html` aria-current="page"` : ''}>${words}</a>`)}</nav>
${stats.complete ? '' : html`<p class="notice warn">There were more verdicts than are counted at once: the beginning of this span is left out.</p>`}
<div id="check-charts" data-src="/checks/stats.json?hours=${span}">${charts.map(
    ({ name, title, what }) =>
      html`<section class="card"><h2>${title}</h2><p>${sums[name]} <span class="muted">${what(every)}</span></p><div class="chart" id="chart-${name}" data-keep data-chart="${name}" role="img" aria-label="${title}: ${sums[name]} The numbers are in the table below."></div></section>`,
  )}</div>
${numbers(stats)}`;
}

function totals({ buckets }: StatsAnswer) {
  const sum = (name: 'arrivals' | 'clean' | 'infected' | 'unscannable' | 'failed' | 'foundLater') =>
    buckets.reduce((all, bucket) => all + bucket[name], 0);
  const [infected, unscannable, failed] = [sum('infected'), sum('unscannable'), sum('failed')];
  return {
    arrivals: sum('arrivals'),
    judged: sum('clean') + infected + unscannable + failed,
    infected,
    unscannable,
    failed,
    foundLater: sum('foundLater'),
    longest: Math.max(0, ...buckets.map(({ waiting }) => waiting)),
    now: buckets.at(-1)?.waiting ?? 0,
  };
}

/** Spans in which nothing happened are left out. */
function numbers({ buckets, bucketSeconds }: StatsAnswer): Html {
  const busy = buckets.filter(({ at, ...numbers }) => Object.values(numbers).some((value) => value !== 0)).reverse();
  if (busy.length === 0) return html`<p class="empty">Nothing was uploaded and nothing was judged in this span.</p>`;
  return html`<details class="card"><summary>The numbers</summary><div class="table-scroll" tabindex="0" role="region" aria-label="The numbers"><table>
<caption class="muted">Every row begins at its time and covers ${bucketSeconds / 60} minutes; rows in which nothing happened are left out.</caption>
<thead><tr><th>From</th><th class="num">Uploaded</th><th class="num">Clean</th><th class="num">Infected</th><th class="num">Found later</th><th class="num">Cannot judge</th><th class="num">Failed</th><th class="num">Waiting at its end</th></tr></thead>
<tbody>${busy.map(
    (bucket) =>
      html`<tr><td data-label="From">${exact(new Date(bucket.at)).replace(/:\d\d UTC$/, ' UTC')}</td><td data-label="Uploaded" class="num">${count(bucket.arrivals)}</td><td data-label="Clean" class="num">${count(bucket.clean)}</td><td data-label="Infected" class="num">${count(bucket.infected)}</td><td data-label="Found later" class="num">${count(bucket.foundLater)}</td><td data-label="Cannot judge" class="num">${count(bucket.unscannable)}</td><td data-label="Failed" class="num">${count(bucket.failed)}</td><td data-label="Waiting at its end" class="num">${count(bucket.waiting)}</td></tr>`,
  )}</tbody></table></div></details>`;
}
