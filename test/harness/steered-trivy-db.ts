/** The Trivy DB pages behind a real server, before a builder that a test steers by hand, in a real browser. */
import type { Page } from 'playwright-core';
import { loadAssets } from '../../sidecar/console/assets.ts';
import { type FakeConsole, fakeConsole } from '../../sidecar/console/trivy-db/fakes.ts';
import { listen } from '../../sidecar/http/server.ts';
import { fakeRecord } from '../../sidecar/trivy-db/fakes.ts';
import type { BuildRecord, PhaseRecord } from '../../sidecar/trivy-db/model.ts';
import type { OpenBrowser, OpenPage, PageOptions } from './browser.ts';

export const older = '20261120T030000Z-000001';
export const newer = '20261121T160812Z-3fa2c1';
/** What the builder writes before each line. */
export const stamp = '2026-11-21T16:08:12.000Z build:';

export const ago = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();

/** Lines as trivy-db writes them, numbered from `from`. */
export const numbered = (count: number, from = 1) =>
  Array.from({ length: count }, (_, index) => `${stamp} 2026/11/21 16:08:12 INFO [nvd] line ${from + index}`);

/** `from` and `to` in seconds ago; one without an end runs. */
export function phase(name: PhaseRecord['name'], from: number, to: number | null, detail: string, exitCode = 0): PhaseRecord {
  const isRunning = to === null;
  const ended = { endedAt: isRunning ? null : ago(to), exitCode: isRunning ? null : exitCode, progress: isRunning ? 0.42 : 1 };
  return { name, startedAt: ago(from), signal: null, detail, ...ended };
}

export function running(): BuildRecord {
  const phases = [phase('fetch', 305, 180, '3 lists fetched, 1.2 GiB.'), phase('build', 180, null, '14 of 33: suse-cvrf')];
  return fakeRecord(newer, { startedAt: ago(305), endedAt: null, outcome: null, startedBy: 'ana@example.com', phases });
}

export interface SteeredConsole extends FakeConsole, AsyncDisposable {
  readonly url: string;
  /** From now on build `newer` runs, and has written these lines. */
  begin(...lines: string[]): void;
  /** Build `older` has ended, and has written these lines. */
  ended(lines: readonly string[], changes?: Partial<BuildRecord>): void;
  open(browser: OpenBrowser, path: string, options?: PageOptions): Promise<OpenPage>;
}

export async function steeredConsole(): Promise<SteeredConsole> {
  const steered = fakeConsole(loadAssets());
  const { builder, logs } = steered;
  const server = await listen(steered.app, '127.0.0.1', 0);
  return Object.assign(steered, {
    url: server.url,
    begin(...lines: string[]) {
      const record = running();
      builder.records = [record, ...builder.records];
      const holder = { pid: 4711, host: 'builder-1', buildId: newer, since: record.startedAt };
      builder.now = { ...builder.now, status: 'running', running: record, lock: { kind: 'held', holder } };
      logs.begin(newer);
      logs.write(newer, ...lines);
    },
    ended(lines: readonly string[], changes: Partial<BuildRecord> = {}) {
      const record = fakeRecord(older, changes);
      builder.records = [record];
      builder.now = { ...builder.now, last: record };
      logs.begin(older);
      // As arguments of one call, many lines are too many.
      for (let at = 0; at < lines.length; at += 1000) logs.write(older, ...lines.slice(at, at + 1000));
      logs.end(older);
    },
    async open(browser: OpenBrowser, path: string, options: PageOptions = {}) {
      const opened = await browser.page({ baseUrl: server.url, ...options });
      await opened.page.goto(path);
      if (options.javaScript !== false) await opened.page.locator('.log-lines, .empty').first().waitFor({ state: 'attached' });
      return opened;
    },
    async [Symbol.asyncDispose]() {
      steered.stop();
      await server.close();
    },
  });
}

export const pane = (page: Page) => page.locator('.log-pane');
export const row = (page: Page, line: number) => page.locator(`#L${line}`);
/** In CSS pixels. */
export const distanceToEnd = (page: Page) =>
  pane(page).evaluate((element) => element.scrollHeight - element.clientHeight - element.scrollTop);
