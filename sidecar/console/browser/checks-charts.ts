/** Draws the charts of /checks/charts from the numbers of the server. */
import uPlot from 'uplot';
import type { StatsAnswer, StatsBucket } from '../../../pb_hooks/lib/wire.ts';
import { colourOf, onRedraw } from './shared.ts';

interface Series {
  readonly label: string;
  /** A token of the style sheet. */
  readonly colour: string;
  readonly dash?: number[];
  of(bucket: StatsBucket): number;
}

const judged = ({ clean, infected, unscannable, failed }: StatsBucket) => clean + infected + unscannable + failed;
const charts: Readonly<Record<string, readonly Series[]>> = {
  throughput: [
    { label: 'Uploaded', colour: '--muted', dash: [4, 3], of: ({ arrivals }) => arrivals },
    { label: 'Judged', colour: '--accent', of: judged },
  ],
  queue: [{ label: 'Waiting', colour: '--accent', of: ({ waiting }) => waiting }],
  findings: [
    { label: 'Infected', colour: '--bad', of: ({ infected }) => infected },
    { label: 'Cannot judge', colour: '--warn', dash: [6, 3], of: ({ unscannable }) => unscannable },
    { label: 'Failed', colour: '--muted', dash: [2, 3], of: ({ failed }) => failed },
  ],
};

const HEIGHT = 180;
/** As long as PocketBase keeps an answer. */
const FRESH_MS = 10_000;
const drawn = new Map<HTMLElement, uPlot>();
let stats: StatsAnswer | null = null;
let askedAt = Number.NEGATIVE_INFINITY;

async function refresh(): Promise<void> {
  const root = document.querySelector<HTMLElement>('#check-charts');
  if (root?.dataset['src'] === undefined) return;
  if (performance.now() - askedAt >= FRESH_MS) {
    askedAt = performance.now();
    const answer = await fetch(root.dataset['src'], { headers: { 'X-Live': 'idle' } }).catch(() => null);
    if (answer?.ok) stats = (await answer.json()) as StatsAnswer;
  }
  if (stats !== null) for (const place of root.querySelectorAll<HTMLElement>('[data-chart]')) draw(place, stats);
}

function draw(place: HTMLElement, { buckets, bucketSeconds }: StatsAnswer): void {
  const series = charts[place.dataset['chart'] ?? ''] ?? [];
  const times = buckets.map(({ at }) => Date.parse(at) / 1000);
  // A step needs an end: the last one is as wide as the others.
  const end = (times.at(-1) ?? 0) + bucketSeconds;
  const values = ({ of }: Series) => [...buckets.map(of), ...buckets.slice(-1).map(of)];
  const data: uPlot.AlignedData = [[...times, end], ...series.map(values)];
  drawn.get(place)?.destroy();
  const [line, text] = [colourOf('--line'), colourOf('--muted')];
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const options: uPlot.Options = {
    width: place.clientWidth,
    height: HEIGHT,
    // In UTC, as every other time of the console.
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
    cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (_, __, max) => [0, Math.max(1, max * 1.1)] } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map(clock) },
      { ...axis, size: 56, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 50_000, 100_000] },
    ],
    series: [
      { label: 'From', value: '{YYYY}-{MM}-{DD} {HH}:{mm}' },
      ...series.map(({ label, colour, dash }) => ({
        label,
        stroke: colourOf(colour),
        width: 2,
        points: { show: false },
        ...(dash === undefined ? {} : { dash }),
        ...(uPlot.paths.stepped === undefined ? {} : { paths: uPlot.paths.stepped({ align: 1 }) }),
      })),
    ],
  };
  drawn.set(place, new uPlot(options, data, place));
}

/** `16:00`, and the day instead at midnight. */
function clock(seconds: number): string {
  const text = new Date(seconds * 1000).toISOString();
  return text.slice(11, 16) === '00:00' ? text.slice(5, 10) : text.slice(11, 16);
}

function fit(): void {
  for (const [place, chart] of drawn) chart.setSize({ width: place.clientWidth, height: HEIGHT });
}

onRedraw(() => void refresh());
window.addEventListener('resize', fit);
void refresh();
