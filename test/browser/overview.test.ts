/** The overview and what all pages have in common: live updates, theme, banner. */
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FakeBuilder, FakeBuildLogs, fakeAccess, fakeRecord } from '../../sidecar/trivy-db/fakes.ts';
import { createTrivyDbRoutes } from '../../sidecar/trivy-db/routes.ts';
import { expectAccessible, type OpenBrowser, openBrowser, type PageOptions, PHONE, screenshot } from '../harness/browser.ts';
import { operatorToken, type RunningConsole, startConsole } from '../harness/console.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';
import { type Seeded, seedChecks } from '../harness/seed-checks.ts';

let pb: RunningPocketBase;
let browser: OpenBrowser;
let server: RunningConsole;
let seeded: Seeded;

/** What the scanner says, for each test to change. */
const scanner = { engines: [] as object[], isSilent: false };
const main = {
  name: 'clamd-main:3310',
  ready: true,
  why: null,
  version: '1.4.3',
  signatures: 27_512 as number | 'test',
  signaturesAt: null as string | null,
};
const askScanner = async () => {
  if (scanner.isSilent) throw new Error('nobody is there');
  return Response.json({ scans: [], engines: scanner.engines, queue: { scanning: 1, claimedAhead: 3 } });
};

const builder = new FakeBuilder();
const trivyDb = createTrivyDbRoutes({
  builder,
  logs: new FakeBuildLogs(),
  access: fakeAccess,
  now: Date.now,
  events: { asked: () => {} },
  stopping: new AbortController().signal,
});
const askTrivyDb = async (path: string, init: RequestInit = {}) => {
  const headers = new Headers(init.headers);
  headers.set('Authorization', 'Bearer let-me-in');
  return await trivyDb.request(path, { ...init, headers });
};

beforeAll(async () => {
  [pb, browser] = await Promise.all([startPocketBase(), openBrowser()]);
  seeded = await seedChecks(pb, { count: 300 });
  server = await startConsole({ pocketbase: pb, scanner: askScanner, trivyDb: askTrivyDb });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await browser[Symbol.asyncDispose]();
  await pb.stop();
});

const engineOfThisMorning = () => ({ ...main, signaturesAt: new Date(Date.now() - 5 * 3_600_000).toISOString() });

async function overview(options: PageOptions = {}) {
  const open = await browser.page({ baseUrl: server.url, ...options });
  await open.page.goto('/login');
  await open.page.getByText('Log in with the operator token').click();
  await open.page.getByLabel('Operator token').fill(operatorToken);
  await open.page.getByRole('button', { name: 'Log in with the token' }).click();
  await open.page.waitForURL(`${server.url}/`);
  return open;
}

const text = (page: Page) => page.locator('main').innerText();

it('tells the truth about each part in a line, and what comes first', async () => {
  scanner.engines = [
    engineOfThisMorning(),
    { ...main, name: 'clamd-spare:3310', ready: false, why: 'it refuses connections', signatures: null },
  ];
  await using open = await overview();
  const { page } = open;
  const shown = await text(page);
  expect(shown).toMatch(
    /1 build waits, oldest .*engine clamd-main:3310 up, signatures 27,512 of 5 h ago; engine clamd-spare:3310 down: it refuses connections/,
  );
  expect(shown).toContain('Engine clamd-spare:3310 is not ready: it refuses connections.');
  expect(shown).toContain('It enforces: 299 builds are clean; 11 others stay closed');
  await expectAccessible(page);
  await screenshot(page, 'overview-light');
});

it('shows in the tabs what runs and what needs a look', async () => {
  scanner.engines = [engineOfThisMorning()];
  await using open = await overview();
  const { page } = open;
  const tab = page.getByRole('navigation', { name: 'Sections' }).getByRole('link', { name: /^Trivy DB/ });
  expect(await tab.innerText()).toBe('Trivy DB');
  const at = new Date().toISOString();
  const phase = { name: 'build', startedAt: at, endedAt: null, exitCode: null, signal: null, detail: 'nvd', progress: 0.4 } as const;
  const running = fakeRecord('20261121T170000Z-bbbbbb', { startedAt: at, endedAt: null, outcome: null, exitCode: null, phases: [phase] });
  const holder = { pid: 7, host: 'here', buildId: running.id, since: at };
  builder.now = { ...builder.now, status: 'running', running, lock: { kind: 'held', holder } };
  await expect.poll(() => tab.getAttribute('href').then(() => tab.textContent()), { timeout: 10_000 }).toContain('running');
  await expect.poll(() => text(page), { timeout: 10_000 }).toContain('Building: build');
  const failed = { ...running, endedAt: at, outcome: 'failed' as const, error: 'The disk is full. Make room and build again.' };
  builder.now = { ...builder.now, status: 'error', running: null, lock: { kind: 'free' }, last: failed };
  await expect.poll(() => text(page), { timeout: 10_000 }).toContain('The last build of the Trivy DB did not succeed. The disk is full.');
  expect(await tab.textContent()).toContain('1 to look at');
});

it('changes by itself within seconds, and keeps the focus where it is', async () => {
  scanner.engines = [engineOfThisMorning()];
  await using open = await overview();
  const { page } = open;
  await page.getByRole('link', { name: 'Scanner' }).focus();
  scanner.engines = [{ ...main, signatures: 'test' }];
  await expect.poll(() => page.locator('#banner').innerText(), { timeout: 10_000 }).toContain('Signatures are the TEST set.');
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Scanner');
  await expectAccessible(page);
  await screenshot(page, 'overview-test-signatures-light');
});

it('fetches a page once a second at most, and keeps what somebody is typing into it', async () => {
  scanner.engines = [engineOfThisMorning()];
  await using open = await overview();
  const { page } = open;
  await page.goto('/checks');
  const search = page.getByRole('searchbox');
  await search.fill('half of a na');
  await search.press('ArrowLeft');
  for (let at = 0; at < 12; at += 1) {
    await pb.sql(`UPDATE av_build_checks SET status = '${at % 2 === 0 ? 'infected' : 'pending'}' WHERE id = '${seeded.ugly.waiting}'`);
    await page.waitForTimeout(250);
  }
  await pb.sql(`UPDATE av_build_checks SET status = 'infected' WHERE id = '${seeded.ugly.waiting}'`);
  await expect.poll(() => text(page), { timeout: 10_000 }).toContain('Infected 5');
  expect(await search.inputValue()).toBe('half of a na');
  expect(await page.evaluate('document.activeElement.selectionStart')).toBe('half of a n'.length);
  // By the clock of the page: this process hears of them late when the machine is busy.
  const began = await page.evaluate<number[]>(
    `performance.getEntriesByType('resource').filter(({ name, initiatorType }) => initiatorType === 'fetch' && name === location.href).map(({ startTime }) => startTime)`,
  );
  expect(began.length).toBeGreaterThan(1);
  expect(Math.min(...began.slice(1).map((time, at) => time - began[at]!))).toBeGreaterThan(950);
  await pb.sql(`UPDATE av_build_checks SET status = 'pending' WHERE id = '${seeded.ugly.waiting}'`);
});

it('asks by itself when there are no events, and says so when nobody answers', async () => {
  scanner.engines = [engineOfThisMorning()];
  await using open = await overview({ expects: [/ERR_/, /status of 503/] });
  const { page } = open;
  await page.route('**/events', (route) => route.abort());
  await page.reload();
  scanner.engines = [{ ...engineOfThisMorning(), signatures: 27_513 }];
  await expect.poll(() => text(page), { timeout: 15_000 }).toContain('27,513');
  await page.route('**/*', (route) => route.abort());
  await expect
    .poll(() => page.locator('#stale').innerText(), { timeout: 30_000 })
    .toMatch(/^Live updates stopped \d+ s ago\. Reconnecting…$/);
  expect(await text(page)).toContain('27,513');
  await screenshot(page, 'overview-stale-light');
  await page.unrouteAll();
  await expect.poll(() => page.locator('#stale').innerText(), { timeout: 30_000 }).toBe('');
});

it('says so when the session has ended, and leads to the login and back', async () => {
  scanner.engines = [engineOfThisMorning()];
  await using open = await overview({ expects: [/status of 401/] });
  const { page } = open;
  await page.context().clearCookies();
  scanner.engines = [];
  await expect.poll(() => page.locator('#stale').innerText(), { timeout: 15_000 }).toContain('Your session has ended.');
  await page.getByRole('link', { name: 'Log in again' }).click();
  await expect.poll(() => page.getByRole('alert').textContent()).toContain('Your session has ended. Log in again.');
});

it('remembers the theme, and follows the system until one is chosen', async () => {
  scanner.engines = [engineOfThisMorning()];
  await using open = await overview({ colorScheme: 'dark' });
  const { page } = open;
  const ground = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
  expect(await ground()).toBe('rgb(18, 20, 19)');
  await page.getByRole('button', { name: 'Theme: auto' }).click();
  expect(await ground()).toBe('rgb(247, 247, 245)');
  await page.reload();
  expect(await ground()).toBe('rgb(247, 247, 245)');
  expect(await page.getByRole('button', { name: /Theme/ }).textContent()).toBe('Theme: light');
});

it('fits on a phone and is read without scripts', async () => {
  scanner.engines = [engineOfThisMorning()];
  await using phone = await overview({ viewport: PHONE });
  expect(await phone.page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(PHONE.width);
  await expectAccessible(phone.page);
  await screenshot(phone.page, 'overview-phone');
  await using bare = await overview({ javaScript: false });
  expect(await text(bare.page)).toContain('engine clamd-main:3310 up');
  await using dark = await overview({ colorScheme: 'dark' });
  await expectAccessible(dark.page);
  await screenshot(dark.page, 'overview-dark');
});

it('says what is wrong when the scanner does not answer', async () => {
  scanner.isSilent = true;
  await using open = await overview();
  const shown = () => open.page.locator('body').innerText();
  await expect.poll(shown, { timeout: 10_000 }).toMatch(/The scanner does not answer\. Uploads wait behind the gate/);
  scanner.isSilent = false;
});
