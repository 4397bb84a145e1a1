import { expect, it } from 'vitest';
import { CheckHistories, type HistoryEntry } from './check-history.ts';
import { openBeforeFinding } from './timeline.ts';

const check = { build: 'b1', created: '2026-01-01 00:00:10.000Z', revision: 1 };

interface Row {
  seq: number;
  created: string;
  entry: string;
}

/** Answers as PocketBase does, and counts the searches. */
class FakeHistory {
  readonly rows: Row[] = [];
  readonly searches: [number, number][] = [];
  /** Searches wait for it. */
  held: Promise<void> = Promise.resolve();

  add(event: object, second: number): void {
    const created = `2026-01-01 00:00:${String(second).padStart(2, '0')}.000Z`;
    this.rows.push({ seq: this.rows.length + 1, created, entry: JSON.stringify({ at: created, build: 'b1', check: 'c1', ...event }) });
  }

  async get(_: string, params: Readonly<Record<string, string>> = {}): Promise<unknown> {
    const [from, to] = [/seq >= (\d+)/, /seq <= (\d+)/].map((bound) => bound.exec(params['filter'] ?? '')?.[1]);
    const needle = /entry ~ '([^']*)'/.exec(params['filter'] ?? '')?.[1];
    if (needle !== undefined) {
      this.searches.push([Number(from), Number(to)]);
      await this.held;
    }
    const items = this.rows
      .filter(({ seq, entry }) => seq >= Number(from ?? 0) && seq <= Number(to ?? Number.POSITIVE_INFINITY) && entry.includes(needle ?? ''))
      .sort((a, b) => (params['sort'] === '-seq' ? b.seq - a.seq : a.seq - b.seq));
    return { items: items.slice(0, Number(params['perPage'])) };
  }
}

const events = (entries: readonly HistoryEntry[]) => entries.map(({ event }) => event);

it('looks at nothing older than the upload, and afterwards at what is new alone', async () => {
  const history = new FakeHistory();
  for (let second = 0; second < 10; second += 1) history.add({ build: 'other', event: 'settled' }, second);
  history.add({ event: 'settled', status: 'infected' }, 12);
  const histories = new CheckHistories(history);
  expect(events((await histories.of(check)).entries)).toEqual(['settled']);
  history.add({ event: 'released' }, 13);
  expect(await histories.of(check)).toMatchObject({ isComplete: true, entries: [{ event: 'settled' }, { event: 'released', seq: 12 }] });
  await histories.of(check);
  expect(history.searches).toEqual([
    [11, 11],
    [12, 12],
  ]);
});

it('takes no entry that only mentions the build, and none that cannot be read', async () => {
  const history = new FakeHistory();
  history.add({ build: 'other', event: 'settled', files: [{ name: '"build":"b1"' }] }, 11);
  history.rows.push({ seq: 2, created: '2026-01-01 00:00:12.000Z', entry: '{"build":"b1", cut' });
  history.rows.push({ seq: 3, created: '2026-01-01 00:00:12.000Z', entry: '{"build":"b1"' });
  expect((await new CheckHistories(history).of(check)).entries).toEqual([]);
});

it('begins anew where the history went back', async () => {
  const history = new FakeHistory();
  history.add({ event: 'settled' }, 11);
  history.add({ event: 'released' }, 12);
  const histories = new CheckHistories(history);
  await histories.of(check);
  history.rows.pop();
  expect(events((await histories.of(check)).entries)).toEqual(['settled']);
});

it('tells how long a build had been open when something was found in it', async () => {
  const history = new FakeHistory();
  history.add({ event: 'settled', status: 'clean', open: true }, 11);
  history.add({ event: 'settled', status: 'clean', open: true, rescan: true }, 21);
  expect(openBeforeFinding(await new CheckHistories(history).of(check))).toBeNull();
  history.add({ event: 'settled', status: 'infected', open: false, rescan: true }, 41);
  expect(openBeforeFinding(await new CheckHistories(history).of(check))).toBe(30_000);
});

it('shows what was said under a check that somebody deleted', async () => {
  const history = new FakeHistory();
  history.add({ event: 'settled', status: 'infected', check: 'deleted' }, 5);
  history.add({ event: 'released', check: 'deleted' }, 6);
  history.add({ event: 'settled', status: 'clean' }, 12);
  const remade = { ...check, revision: 2 };
  expect(events((await new CheckHistories(history).of(remade)).entries)).toEqual(['settled', 'released', 'settled']);
  expect(history.searches).toEqual([[1, 3]]);
});

it('goes through the whole history for one build at a time, and for nobody once it has', async () => {
  const history = new FakeHistory();
  for (let second = 11; second < 20; second += 1) history.add({ event: 'settled', status: 'clean' }, second);
  history.add({ event: 'settled', build: 'b2' }, 20);
  const histories = new CheckHistories(history);
  let letGo = () => {};
  history.held = new Promise((resolve) => (letGo = resolve));
  const looks = [histories.of(check, true), histories.of(check, true)];
  await expect(histories.of({ ...check, build: 'b2' }, true)).rejects.toThrow(/in a minute/);
  letGo();
  for (const { entries } of await Promise.all(looks)) expect(entries).toHaveLength(9);
  expect(history.searches).toHaveLength(1);
  expect(events((await histories.of({ ...check, build: 'b2' }, true)).entries)).toEqual(['settled']);
});

it('lets others look again after a look through the whole history has failed', async () => {
  const history = new FakeHistory();
  history.add({ event: 'settled' }, 11);
  const histories = new CheckHistories(history);
  history.held = Promise.reject(new Error('PocketBase does not answer'));
  await expect(histories.of(check, true)).rejects.toThrow('PocketBase does not answer');
  history.held = Promise.resolve();
  expect((await histories.of({ ...check, build: 'b2' }, true)).entries).toEqual([]);
});
