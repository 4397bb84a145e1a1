/** Duration and size of builds over time. The table below has the same numbers, so that nothing is lost without it. */
import type uPlot from 'uplot';
import { colourOf, onRedraw } from './shared.ts';

interface History {
  readonly began: number[];
  readonly seconds: (number | null)[];
  readonly failedSeconds: (number | null)[];
  readonly bytes: (number | null)[];
}

/** With fewer there is nothing to see. */
const FEWEST = 2;
const HEIGHT = 180;
const DAYS = [1, 2, 7, 14, 30, 90, 365];
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });

class BuildHistory extends HTMLElement {
  #chart: uPlot | null = null;
  #history: History | null = null;
  #newest = '';

  connectedCallback(): void {
    onRedraw(() => void this.#update());
    new ResizeObserver(() => this.#chart?.setSize({ width: this.clientWidth, height: HEIGHT })).observe(this);
    void this.#update();
  }

  /** Asks again only when another build has ended. Without an answer the table is all there is. */
  async #update(): Promise<void> {
    const newest = document.querySelector<HTMLElement>('[data-newest]')?.dataset['newest'] ?? '';
    if (newest !== this.#newest || this.#history === null) {
      const headers = { Accept: 'application/json', 'X-Live': 'idle' };
      const answer = await fetch(this.dataset['history'] ?? '', { headers }).catch(() => null);
      if (!answer?.ok) return;
      this.#newest = newest;
      this.#history = (await answer.json()) as History;
    }
    if (this.#history.began.length >= FEWEST) await this.#draw(this.#history);
  }

  async #draw({ began, seconds, failedSeconds, bytes }: History): Promise<void> {
    const { default: Plot } = await import('uplot');
    this.hidden = false;
    this.#chart?.destroy();
    const [accent, bad, muted, line] = ['--accent', '--bad', '--muted', '--line'].map(colourOf) as [string, string, string, string];
    const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: '12px system-ui, sans-serif' };
    const time = (_chart: uPlot, value: number | null) => (value === null ? '–' : shownSeconds(value));
    const points = { show: true, size: 6 };
    this.#chart = new Plot(
      {
        width: this.clientWidth,
        height: HEIGHT,
        cursor: { drag: { x: false, y: false } },
        scales: { s: { range: fromZero }, B: { range: fromZero } },
        tzDate: (seconds) => Plot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
        axes: [
          {
            ...axis,
            incrs: DAYS.map((days) => days * 86_400),
            values: (_chart, values) => values.map((value) => day.format(value * 1000)),
          },
          { ...axis, scale: 's', size: 64, values: (_chart, values) => values.map(shownSeconds) },
          { ...axis, scale: 'B', side: 1, size: 72, grid: { show: false }, values: (_chart, values) => values.map(shownBytes) },
        ],
        series: [
          { label: 'Began', value: '{YYYY}-{MM}-{DD} {HH}:{mm}' },
          { label: 'Duration', scale: 's', stroke: accent, width: 2, spanGaps: true, points, value: time },
          { label: 'Not succeeded after', scale: 's', stroke: bad, width: 0, points: { show: true, size: 8, fill: bad }, value: time },
          {
            label: 'Database',
            scale: 'B',
            stroke: muted,
            width: 2,
            dash: [4, 4],
            spanGaps: true,
            points,
            value: (_chart, value: number | null) => (value === null ? '–' : shownBytes(value)),
          },
        ],
      },
      [began, seconds, failedSeconds, bytes],
      this,
    );
  }
}

/** An axis that does not begin at nothing makes small differences look large. */
function fromZero(_chart: uPlot, _min: number, max: number): [number, number] {
  return [0, Math.max(1, max || 0) * 1.1];
}

function shownSeconds(seconds: number): string {
  if (seconds < 10) return `${+seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${+(seconds / 60).toFixed(1)} min` : `${+(seconds / 3600).toFixed(1)} h`;
}

function shownBytes(bytes: number): string {
  const power = bytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value < 10 ? +value.toFixed(1) : Math.round(value)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
}

customElements.define('build-history', BuildHistory);
