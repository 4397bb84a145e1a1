/** The Trivy DB pages in a real browser: before a builder that is steered by hand, for every state there is. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fakeRecord } from '../../sidecar/trivy-db/fakes.ts';
import type { BuildRecord } from '../../sidecar/trivy-db/model.ts';
import { expectAccessible, type OpenBrowser, openBrowser, type PageOptions, PHONE, screenshot } from '../harness/browser.ts';
import {
  ago,
  distanceToEnd,
  newer,
  numbered,
  older,
  pane,
  phase,
  row,
  running,
  type SteeredConsole,
  stamp,
  steeredConsole,
} from '../harness/steered-trivy-db.ts';

let browser: OpenBrowser;
let steered: SteeredConsole;
beforeAll(async () => {
  browser = await openBrowser();
});
afterAll(() => browser[Symbol.asyncDispose]());
beforeEach(async () => {
  steered = await steeredConsole();
});
afterEach(() => steered[Symbol.asyncDispose]());

describe('the page', () => {
  it('tells by itself that a build began, brings its log, and that it ended', async () => {
    steered.ended([]);
    await using opened = await steered.open(browser, '/trivy-db');
    const { page } = opened;
    await page.locator('summary', { hasText: 'Log of the last build' }).click();
    steered.begin(...numbered(30));
    await page.getByText('2 of 5, build. 42 %.').waitFor();
    await row(page, 30).waitFor();
    steered.logs.write(newer, 'the very last');
    await row(page, 31).waitFor();
    const ended = { ...running(), outcome: 'succeeded', endedAt: ago(0) } as const;
    steered.builder.records = [ended, fakeRecord(older)];
    steered.builder.now = { status: 'idle', running: null, lock: { kind: 'free' }, nextScheduledAt: null, last: ended };
    steered.logs.end(newer);
    await page.getByText('Log of the last build').waitFor();
    expect(await row(page, 31).isVisible()).toBe(true);
    await expect.poll(() => page.getByRole('button', { name: 'Build database' }).isEnabled()).toBe(true);
  });

  it('has the log of the last build folded away, and its end in view once it is opened', async () => {
    steered.ended(numbered(1000));
    await using opened = await steered.open(browser, '/trivy-db');
    const { page } = opened;
    expect(await row(page, 1000).isVisible()).toBe(false);
    await page.locator('summary', { hasText: 'Log of the last build' }).click();
    await row(page, 1000).waitFor();
    await expect.poll(() => distanceToEnd(page)).toBeLessThan(2);
    expect(await pane(page).evaluate((element) => element.scrollHeight)).toBe(20_000);
    await row(page, 990).locator('a').click();
    await page.waitForURL(`**/trivy-db/builds/${older}?line=990#L990`);
    await expect.poll(() => row(page, 990).getAttribute('class')).toContain('log-target');
  });

  it('copies the command line', async () => {
    await using opened = await steered.open(browser, '/trivy-db', { context: { permissions: ['clipboard-read', 'clipboard-write'] } });
    const { page } = opened;
    await page.getByRole('button', { name: 'Copy' }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    expect(await page.evaluate('navigator.clipboard.readText()')).toBe(
      `trivy image --db-repository 127.0.0.1:${new URL(steered.url).port}/trivy-db:2 alpine:3.20`,
    );
  });

  it('asks once before a build is stopped or rolled back, and can be worked by keyboard alone', async () => {
    steered.builder.records = [fakeRecord(older, { isKept: true })];
    steered.begin('x');
    await using opened = await steered.open(browser, '/trivy-db');
    const { page } = opened;
    await page.locator('summary', { hasText: 'Stop build…' }).focus();
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Stop build');
    expect(steered.builder.asked).toEqual([]);
    await page.keyboard.press('Enter');
    await page.waitForURL('**/trivy-db?done=stopped');
    expect(steered.builder.asked).toEqual(['cancel by ana@example.com']);
    steered.builder.now = { ...steered.builder.now, status: 'idle', running: null, lock: { kind: 'free' } };
    await page.reload();
    await page.getByText('The build was stopped.').waitFor();
    await page.locator('summary', { hasText: 'Publish this build…' }).click();
    await page.getByRole('button', { name: 'Publish this build' }).click();
    await page.getByText('This build is what Trivy clients get from now on.').waitFor();
    expect(steered.builder.asked).toEqual(['cancel by ana@example.com', `publish ${older} by ana@example.com`]);
  });
});

describe('looks', () => {
  beforeEach(() => {
    const bySource = {
      nvd: 251_233,
      redhat: 140_222,
      debian: 98_112,
      ubuntu: 88_001,
      suse: 60_120,
      ghsa: 31_233,
      alpine: 21_000,
      amazon: 9_200,
      rocky: 4_000,
      [`${'very-long-'.repeat(8)}name`]: 3,
    };
    const day = (index: number): BuildRecord => {
      const began = index * 86_400;
      const isBad = index === 3;
      const phases = isBad
        ? [
            phase('fetch', began, began - 300, '3 lists fetched, 1.2 GiB.'),
            phase('build', began - 300, began - 420, 'trivy-db ended with exit code 1', 1),
          ]
        : [
            phase('fetch', began, began - 300, '3 lists fetched, 1.2 GiB.'),
            phase('build', began - 300, began - 1100, '33 sources read.'),
            phase('compact', began - 1100, began - 1110, '5.6 GiB became 668 MiB.'),
            phase('compress', began - 1110, began - 1180, '68 MiB.'),
            phase('publish', began - 1180, began - 1200, 'Trivy found CVE-2023-5678 with it.'),
          ];
      const facts = isBad
        ? ({
            outcome: 'failed',
            exitCode: 1,
            error: 'trivy-db read no list [alma] in vuln-list/alma. Fetch it, or leave alma out of TRIVY_DB_SOURCES.',
            lastLines: ['ERROR Oops: build error'],
          } as const)
        : {
            databaseBytes: 700_000_000 - index * 3_000_000,
            archiveBytes: 72_000_000 - index * 100_000,
            rows: { total: 703_124 - index * 1000, bySource },
            digest: `sha256:${'9f86d081'.repeat(8)}`,
            publishedAt: [ago(began - 1200)],
            isKept: index < 5,
          };
      const startedBy = index === 2 ? `${'a-very-long-name'.repeat(4)}@example.com` : 'schedule';
      const id = `${ago(began).slice(0, 10).replaceAll('-', '')}T030012Z-3fa2c${index}`;
      return fakeRecord(id, { startedAt: ago(began), endedAt: ago(began - 1200 - 100 * Math.sin(index)), startedBy, phases, ...facts });
    };
    steered.builder.records = Array.from({ length: 9 }, (_, index) => day(index + 1));
    const [newest] = steered.builder.records as [BuildRecord];
    const metadata = Buffer.from(JSON.stringify({ Version: 2, NextUpdate: ago(-3600), UpdatedAt: ago(86_000) }));
    const archive = { path: '/nonexistent', size: 72_000_000, digest: 'sha256:aa' };
    steered.builder.publication = {
      buildId: newest.id,
      publishedAt: ago(85_000),
      archive,
      metadata,
      databaseBytes: 697_000_000,
      builtAt: ago(85_500),
      manifest: Buffer.from('{}'),
      digest: newest.digest!,
    };
    steered.builder.now = { ...steered.builder.now, nextScheduledAt: ago(-39_000), last: newest };
    const lines = numbered(400).map((line, index) =>
      index % 17 === 3
        ? `${stamp} \x1b[32m✔\x1b[0m \x1b[1malpine\x1b[0m read in \x1b[36m${index} ms\x1b[0m`
        : index % 29 === 5
          ? line.replace('INFO', 'WARN')
          : index % 53 === 7
            ? line.replace('INFO', 'ERROR')
            : line,
    );
    steered.logs.begin(steered.builder.records[2]!.id);
    steered.logs.write(
      steered.builder.records[2]!.id,
      ...lines,
      `${stamp} Stacktrace:`,
      `${stamp}   at x.go`,
      `${stamp} The build failed.`,
    );
    steered.begin(...lines);
  });

  const views = [
    ['light', {}],
    ['dark', { colorScheme: 'dark' }],
    ['phone', { viewport: PHONE }],
  ] as const satisfies readonly (readonly [string, PageOptions])[];

  it.each(views)('in %s: nothing serious for axe, nothing wider than the window', async (name, options) => {
    for (const [view, path] of [
      ['status', '/trivy-db'],
      ['build', `/trivy-db/builds/${steered.builder.records[1]!.id}`],
      ['failed', `/trivy-db/builds/${steered.builder.records[3]!.id}`],
    ] as const) {
      await using opened = await steered.open(browser, path, options);
      const { page } = opened;
      if (view === 'status') await page.locator('build-history .u-wrap').waitFor();
      await page.locator('.log-row, .log .empty, .empty').first().waitFor({ state: 'attached' });
      await expectAccessible(page);
      expect(await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')).toBeLessThanOrEqual(0);
      await screenshot(page, `trivy-db-${view}-${name}`);
    }
  });

  it('with a stale lock, and when the role does not answer', async () => {
    const holder = { pid: 4711, host: 'builder-1', buildId: newer, since: ago(90_000) };
    steered.builder.now = { ...steered.builder.now, status: 'stale_lock', running: null, lock: { kind: 'stale', holder } };
    await using opened = await steered.open(browser, '/trivy-db', { expects: [/502/] });
    const { page } = opened;
    await expectAccessible(page);
    await screenshot(page, 'trivy-db-stale-lock-light');
    await page.getByRole('button', { name: 'Clear stale lock' }).click();
    await page.getByText('The stale lock is cleared.').waitFor();
    expect(steered.builder.asked).toEqual(['clear-lock by ana@example.com']);
    steered.breakdown = new Error('gone');
    await page.goto('/trivy-db');
    await page.getByText('The Trivy DB role does not answer.').waitFor();
    await expectAccessible(page);
    await screenshot(page, 'trivy-db-silent-light');
  });
});
