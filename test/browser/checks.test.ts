/** The pages of the checks in a real browser: every action on real parts, and every view with data that was made to hurt. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectAccessible, type OpenBrowser, openBrowser, type PageOptions, PHONE, screenshot } from '../harness/browser.ts';
import { checkOf, download, upload } from '../harness/builds.ts';
import { operatorToken, type RunningConsole, startConsole } from '../harness/console.ts';
import { eicar } from '../harness/eicar.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';
import { type Seeded, seedChecks } from '../harness/seed-checks.ts';
import { type Stack, startStack } from '../harness/stack.ts';

let browser: OpenBrowser;
beforeAll(async () => {
  browser = await openBrowser();
});
afterAll(() => browser?.[Symbol.asyncDispose]());

async function logIn(page: Page): Promise<void> {
  await page.goto('/login?to=/checks');
  await page.getByLabel('E-mail').fill(superuser.email);
  await page.getByLabel('Password', { exact: true }).fill(superuser.password);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await page.waitForURL('**/checks');
}

const main = (page: Page) => page.locator('main').innerText();
const rowOf = (page: Page, build: { id: string }) => page.locator('tr', { hasText: build.id });

describe('on real parts', () => {
  let stack: Stack;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pocketwarden-console-'));
    stack = await startStack({ sidecar: { ROLES: 'scanner,console', CONSOLE_DATA_DIR: folder, OPERATOR_TOKEN: operatorToken } });
  });
  afterAll(async () => {
    await stack?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  const infected = async () => {
    const build = await upload(stack.pb, { 'setup.com': new Uint8Array(eicar()) });
    await eventually('a finding', async () => (await checkOf(stack.pb, build)).status === 'infected');
    return build;
  };

  it('shows uploads and their verdicts by itself, keeping what is selected', async () => {
    const first = await infected();
    await using open = await browser.page({ baseUrl: stack.sidecar.url });
    const { page } = open;
    await logIn(page);
    await rowOf(page, first).getByRole('checkbox').check();
    const build = await upload(stack.pb, { 'fine.txt': 'fine' });
    await rowOf(page, build).getByText('Clean').waitFor({ timeout: 10_000 });
    expect(await rowOf(page, first).getByRole('checkbox').isChecked()).toBe(true);
    expect(await page.locator('#selected').innerText()).toBe('1 selected:');
  });

  it('releases a build, closes it again and has it scanned again, with the keyboard alone', async () => {
    const build = await infected();
    await using open = await browser.page({ baseUrl: stack.sidecar.url });
    const { page } = open;
    await logIn(page);
    await page.goto(`/checks/${(await checkOf(stack.pb, build)).id}`);
    const press = async (button: string, why: string, submit: string) => {
      await page.getByRole('button', { name: button }).focus();
      await page.keyboard.press('Enter');
      await page.waitForURL('**/checks/confirm?**');
      await expect.poll(() => page.evaluate('document.activeElement.id')).toBe('why');
      await page.keyboard.type(why);
      await page.keyboard.press('Tab');
      expect(await page.evaluate('document.activeElement.textContent')).toBe(submit);
      await page.keyboard.press('Enter');
      await page.waitForURL('**/checks/actions');
      expect(await main(page)).toContain('Recorded in the history');
      await page.getByRole('link', { name: build.id }).click();
      await page.waitForURL(/checks\/\w{15}$/);
    };
    expect((await download(stack.pb, build)).status).toBe(403);
    await press('Release this build…', 'a test file, known to all', 'Release this build');
    expect((await download(stack.pb, build)).status).toBe(200);
    expect(await main(page)).toContain(`Open because ${superuser.email} released it`);
    await press('Close again…', 'the test is over', 'Close again');
    expect((await download(stack.pb, build)).status).toBe(403);
    await press('Scan again…', 'perhaps it has changed its mind', 'Scan again');
    await page.getByText('On another scan').waitFor();
    expect(await main(page)).toMatch(
      /On another scan[\s\S]*Another scan asked for by[\s\S]*Closed again by[\s\S]*Released by[\s\S]*: a test file, known to all/,
    );
  });

  it('decides about several at once', async () => {
    const builds = [await infected(), await infected()];
    await using open = await browser.page({ baseUrl: stack.sidecar.url });
    const { page } = open;
    await logIn(page);
    const release = page.getByRole('button', { name: 'Release builds…' });
    await expect.poll(() => release.isDisabled()).toBe(true);
    for (const build of builds) await rowOf(page, build).getByRole('checkbox').check();
    await release.click();
    expect(await main(page)).toContain('This is decided about 2 builds:');
    await page.getByLabel('Why?').fill('both are test files');
    await page.getByRole('button', { name: 'Release these builds (2)' }).click();
    await page.getByRole('heading', { name: '2 released' }).waitFor();
    for (const build of builds) expect((await download(stack.pb, build)).status).toBe(200);
    await page.goto('/checks');
    const all = page.getByRole('checkbox', { name: 'Select all on this page' });
    await all.check();
    expect(await page.locator('#selected').innerText()).toMatch(/^\d+ selected:$/);
    await page.getByRole('checkbox').nth(1).uncheck();
    expect(await all.evaluate((box: { indeterminate: boolean }) => box.indeterminate)).toBe(true);
  });

  it('has many scanned again that have something in common, by one decision', async () => {
    const builds = [await infected(), await infected()];
    const before = await Promise.all(builds.map((build) => checkOf(stack.pb, build)));
    await using open = await browser.page({ baseUrl: stack.sidecar.url, expects: [/422/] });
    const { page } = open;
    await logIn(page);
    await page.getByRole('link', { name: 'Scan many again' }).click();
    await page.getByLabel('Why?').fill('newer signatures');
    await page.getByRole('button', { name: 'Scan these builds again' }).click();
    await page.getByText('Say which builds, or tick').waitFor();
    await page.getByLabel('State').selectOption('Infected');
    await expectAccessible(page);
    await screenshot(page, 'checks-rescan-many');
    await page.getByRole('button', { name: 'Scan these builds again' }).click();
    await page.getByRole('heading', { name: 'will be scanned again' }).waitFor();
    await eventually('both are judged anew', async () => {
      const after = await Promise.all(builds.map((build) => checkOf(stack.pb, build)));
      return after.every((check, i) => check.status === 'infected' && check['scan_time'] !== before[i]!['scan_time']);
    });
  });

  it('shows how far a scan is and who comes next, while the engine takes its time', async () => {
    await using open = await browser.page({ baseUrl: stack.sidecar.url });
    const { page } = open;
    await logIn(page);
    process.kill(stack.clamd.pid, 'SIGSTOP');
    try {
      const large = await upload(stack.pb, { 'large.bin': new Uint8Array(32 * 2 ** 20) });
      await page.goto('/checks?state=scanning');
      await expect.poll(() => rowOf(page, large).innerText(), { timeout: 10_000 }).toMatch(/Scanning \d+\u00a0%\s+\S+ \S+ of 32 MiB/);
      await page.goto(`/checks/${(await checkOf(stack.pb, large)).id}`);
      expect(await main(page)).toMatch(/of 32 MiB/);
      // A scanner takes up to 48 ahead.
      for (let at = 0; at < 60; at += 1) await upload(stack.pb, { 'small.txt': 'small' });
      await page.goto('/checks?state=waiting');
      await expect.poll(() => main(page), { timeout: 10_000 }).toMatch(/Next in line, usually \d/);
    } finally {
      process.kill(stack.clamd.pid, 'SIGCONT');
    }
    const isQuiet = async () => (await stack.pb.client.send('/api/av/health', {})).counts.pending === 0;
    await eventually('everything is judged', isQuiet, 30_000);
    await expect.poll(() => main(page), { timeout: 10_000 }).toContain('No check is in the state Waiting.');
  });

  it('works without scripts', async () => {
    const build = await infected();
    await using open = await browser.page({ baseUrl: stack.sidecar.url, javaScript: false, expects: [/status of 422/] });
    const { page } = open;
    await logIn(page);
    await page.getByRole('button', { name: 'Scan again…' }).click();
    expect(await main(page)).toContain('select at least one check');
    await page.goto('/checks');
    await rowOf(page, build).getByRole('checkbox').check();
    await page.getByRole('button', { name: 'Release builds…' }).click();
    await page.getByLabel('Why?').fill('without any script');
    await page.getByRole('button', { name: 'Release this build' }).click();
    expect(await main(page)).toContain('1 released');
    expect((await download(stack.pb, build)).status).toBe(200);
  });
});

describe('with data that was made to hurt', () => {
  let pb: RunningPocketBase;
  let server: RunningConsole;
  let seeded: Seeded;

  const scanner = async () =>
    Response.json({
      scans: [
        {
          check: seeded.ugly.scanning,
          build: seeded.ugly.scanning,
          file: 'under-the-glass.iso',
          sentBytes: 212 * 2 ** 20,
          totalBytes: 640 * 2 ** 20,
          engine: 'main',
          startedAt: new Date().toISOString(),
        },
      ],
      engines: [],
      queue: { scanning: 1, claimedAhead: 0 },
    });
  beforeAll(async () => {
    pb = await startPocketBase();
    seeded = await seedChecks(pb, { count: 2000 });
    server = await startConsole({ pocketbase: pb, scanner });
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await pb?.stop();
  });

  const views = (): Record<string, string> => ({
    checks: '/checks',
    'checks-infected': '/checks?state=infected',
    'checks-nothing-found': '/checks?q=nothing-like-this',
    'check-script': `/checks/${seeded.ugly.script}`,
    'check-right-to-left': `/checks/${seeded.ugly.rightToLeft}`,
    'check-long-name': `/checks/${seeded.ugly.longName}`,
    'check-99-files': `/checks/${seeded.ugly.ninetyNine}`,
    'check-scanning': `/checks/${seeded.ugly.scanning}`,
    'check-released': `/checks/${seeded.ugly.released}`,
    'check-confirm': `/checks/confirm?do=release&id=${seeded.ugly.script}&id=${seeded.ugly.longName}&id=${seeded.ugly.ninetyNine}`,
    'check-charts': '/checks/charts?hours=24',
  });

  it.each([
    ['light', {}],
    ['dark', { colorScheme: 'dark' }],
    ['phone', { viewport: PHONE }],
  ] satisfies [string, PageOptions][])('looks right and is accessible: %s', async (how, options) => {
    await using open = await browser.page({ baseUrl: server.url, ...options });
    const { page } = open;
    await logIn(page);
    for (const [name, path] of Object.entries(views())) {
      await page.goto(path);
      if (name === 'check-charts') await page.locator('#chart-findings canvas').waitFor();
      await expectAccessible(page);
      expect([name, await page.evaluate('document.documentElement.scrollWidth - innerWidth')]).toEqual([name, 0]);
      expect(await page.title()).toMatch(/ · Pocketwarden$/);
      await screenshot(page, `${name}-${how}`);
    }
  });

  it('shows the log on demand, as text', async () => {
    await using open = await browser.page({ baseUrl: server.url });
    const { page } = open;
    await logIn(page);
    await page.goto(`/checks/${seeded.ugly.script}`);
    await page.getByText('Log', { exact: true }).click();
    expect(await page.locator('.checks-log pre').innerText()).toBe('</pre><script>document.title=1</script>\n[U+001B][31mred[U+001B][0m');
  });

  it('tells the progress of a scan and a place in the queue', async () => {
    await using open = await browser.page({ baseUrl: server.url });
    const { page } = open;
    await logIn(page);
    expect(await rowOf(page, { id: seeded.ugly.scanning }).innerText()).toMatch(/33\u00a0%\s+212 MiB of 640 MiB, main/);
    expect(await rowOf(page, { id: seeded.ugly.waiting }).innerText()).toContain('Next in line');
  });

  it('searches, filters and pages by address, so that going back works', async () => {
    await using open = await browser.page({ baseUrl: server.url });
    const { page } = open;
    await logIn(page);
    await page.getByRole('link', { name: 'Clean' }).click();
    await page.getByRole('link', { name: 'Older' }).click();
    await page.waitForURL(/after=/);
    const shown = await page.locator('tbody tr').count();
    expect(shown).toBe(50);
    await page.getByRole('searchbox').fill('part_01_of');
    await page.getByRole('button', { name: 'Search' }).click();
    await page.waitForURL(/state=clean&q=part_01_of/);
    expect(await page.locator('tbody tr').count()).toBe(1);
    await page.goBack();
    expect(await page.locator('tbody tr').count()).toBe(50);
    await page.goto('/checks');
    await page.getByLabel('Reason').selectOption('engine-reply');
    await page.getByRole('button', { name: 'Search' }).click();
    expect(await main(page)).toContain('kills-the-engine.bin');
  });

  it('draws the charts, for the span that was chosen, and tells the numbers in a table', async () => {
    await using open = await browser.page({ baseUrl: server.url });
    const { page } = open;
    await logIn(page);
    await page.getByRole('link', { name: 'Charts' }).click();
    await page.getByRole('link', { name: 'Last 7 days' }).click();
    await expect.poll(() => page.locator('.chart canvas').count()).toBe(3);
    const inked =
      'Array.from(document.querySelectorAll("canvas")).every((each) => each.getContext("2d").getImageData(0, 0, each.width, each.height).data.some((value) => value > 0))';
    expect(await page.evaluate(inked)).toBe(true);
    await page.getByText('The numbers').click();
    await page.getByRole('columnheader', { name: 'Found later' }).waitFor();
  });

  it('shows the operator token what it may not do, and why', async () => {
    await using open = await browser.page({ baseUrl: server.url });
    const { page } = open;
    await page.goto('/login');
    await page.getByText('Log in with the operator token').click();
    await page.getByLabel('Operator token').fill(operatorToken);
    await page.getByRole('button', { name: 'Log in with the token' }).click();
    await page.waitForURL(`${server.url}/`);
    await page.goto(`/checks/${seeded.ugly.script}`);
    for (const name of ['Scan again…', 'Release this build…', 'Close again…'])
      expect(await page.getByRole('button', { name }).isDisabled()).toBe(true);
    expect(await main(page)).toContain('Log in as a PocketBase superuser to change them.');
    await page.goto('/checks');
    await page.getByRole('checkbox').nth(1).check();
    expect(await page.getByRole('button', { name: 'Release builds…' }).isDisabled()).toBe(true);
  });

  it('keeps what it shows while PocketBase is away, and says since when', async () => {
    await using open = await browser.page({ baseUrl: server.url, expects: [/status of 503/] });
    const { page } = open;
    await logIn(page);
    await pb.kill();
    await page.goto('/checks/charts');
    expect(await main(page)).toMatch(/The checks cannot be read\.[\s\S]*Since/);
    await screenshot(page, 'checks-unreadable-light');
    await expectAccessible(page);
    await pb.restart();
    await page.getByRole('link', { name: 'Try again' }).click();
    await expect.poll(() => main(page)).toContain('Throughput');
  });
});
