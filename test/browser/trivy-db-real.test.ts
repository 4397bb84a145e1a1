/** An operator presses 'Build' on the compiled product, watches it, and what they press happens: the real trivy-db, PocketBase and browser. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectAccessible, type OpenBrowser, type OpenPage, openBrowser, screenshot } from '../harness/browser.ts';
import { operatorToken } from '../harness/console.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';
import { type RunningSidecar, startSidecar } from '../harness/sidecar.ts';
import { type TrivyDbFolders, trivyDbFolders } from '../harness/trivy-db-builder.ts';

let pb: RunningPocketBase;
let folders: TrivyDbFolders;
let server: RunningSidecar;
let browser: OpenBrowser;
let open: OpenPage;
let page: Page;
/** While this file is there, builds stay in their first phase. */
let wait: string;

beforeAll(async () => {
  [pb, folders, browser] = await Promise.all([startPocketBase(), trivyDbFolders(), openBrowser()]);
  wait = join(folders.root, 'wait');
  const fetch = join(folders.root, 'fetch.sh');
  await writeFile(fetch, `#!/bin/sh\ni=0; while [ -e ${wait} ]; do i=$((i+1)); echo "list $i fetched"; sleep 0.05; done\n`, {
    mode: 0o755,
  });
  // One session over the restart.
  const session = { SESSION_SECRET: 'a session secret of the tests, long enough' };
  const own = {
    ...session,
    ROLES: 'trivy-db,console,scanner',
    OPERATOR_TOKEN: operatorToken,
    CONSOLE_DATA_DIR: join(folders.root, 'console'),
  };
  const env = await folders.env({ ...own, TRIVY_DB_FETCH: 'command', TRIVY_DB_FETCH_COMMAND: fetch });
  server = await startSidecar({ pocketbase: pb, clamd: { address: '127.0.0.1:1' }, env, until: 'listening' });
  open = await browser.page({
    baseUrl: server.url,
    expects: [/ERR_(?:CONNECTION|EMPTY|INCOMPLETE)/],
    context: { permissions: ['clipboard-read', 'clipboard-write'] },
  });
  page = open.page;
  await page.goto('/login?to=/trivy-db');
  await page.getByText('Log in with the operator token').click();
  await page.getByLabel('Operator token').fill(operatorToken);
  await page.getByRole('button', { name: 'Log in with the token' }).click();
  await page.getByRole('heading', { name: 'Trivy DB', level: 1 }).waitFor();
});
afterAll(async () => {
  await open?.close();
  for (const each of [browser, server, folders]) await each?.[Symbol.asyncDispose]();
  await pb?.stop();
});

const main = () => page.locator('main').innerText();
const build = () => page.getByRole('button', { name: 'Build database' }).click();
const ended = () => expect.poll(() => page.getByRole('button', { name: 'Build database' }).isEnabled(), { timeout: 20_000 }).toBe(true);
const publishedId = async () => (await page.locator('tr', { hasText: 'Published now' }).locator('a').innerText()).trim();

it('begins with nothing, and says what to do', async () => {
  expect(await main()).toContain('Nothing is published yet. Build the database');
  await expectAccessible(page);
  await screenshot(page, 'trivy-db-empty-light');
});

it('builds, shows the phases and the log as they come, and publishes', async () => {
  await writeFile(wait, '');
  await build();
  await page.getByText('The build has begun.').waitFor();
  await page.getByText('1 of 5, fetch.').waitFor();
  await page.locator('.log-row', { hasText: 'list 10 fetched' }).waitFor();
  expect(await page.locator('[data-log-part=mode]').innerText()).toBe('Following');
  await rm(wait);
  await page.locator('.log-row', { hasText: '[nvd]' }).first().waitFor({ state: 'attached' });
  await page.getByText('Published now').waitFor({ timeout: 20_000 });
  await ended();
  expect(await page.locator('.phase.done').count()).toBe(5);
  await page.locator('.log-row', { hasText: 'The build succeeded.' }).waitFor();
  await expectAccessible(page);
  await screenshot(page, 'trivy-db-built-light');
  const id = await publishedId();
  await page.getByRole('link', { name: id }).first().click();
  await page.getByRole('heading', { name: `Build ${id}` }).waitFor();
  expect(await main()).toMatch(/Started by operator/);
  await expectAccessible(page);
});

it('gives the archive, and the command line that scans with it', async () => {
  await page.goto('/trivy-db');
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('link', { name: 'Download trivy.db.tar.gz' }).click(),
  ]);
  expect(download.suggestedFilename()).toBe('trivy.db.tar.gz');
  await page.getByRole('button', { name: 'Copy' }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  expect(await page.evaluate('navigator.clipboard.readText()')).toBe(
    `trivy image --db-repository 127.0.0.1:${server.port}/trivy-db:2 alpine:3.20`,
  );
  const manifest = await fetch(`${server.url}/v2/trivy-db/manifests/2`);
  expect(await main()).toContain(manifest.headers.get('docker-content-digest'));
});

it('rolls back to the build before', async () => {
  const first = await publishedId();
  await page.getByRole('button', { name: 'Build database' }).focus();
  await page.keyboard.press('Enter');
  await ended();
  await expect.poll(publishedId, { timeout: 20_000 }).not.toBe(first);
  const line = page.locator('tr', { hasText: first });
  await line.getByText('Publish this build…').click();
  await line.getByRole('button', { name: 'Publish this build' }).click();
  await page.getByText('This build is what Trivy clients get from now on.').waitFor();
  await page.goto('/trivy-db');
  expect(await publishedId()).toBe(first);
});

it('stops a build', async () => {
  await writeFile(wait, '');
  await build();
  await page.getByText('1 of 5, fetch.').waitFor();
  await page.locator('summary', { hasText: 'Stop build…' }).click();
  await page.getByRole('button', { name: 'Stop build' }).click();
  await page.getByText('The build was stopped.').waitFor();
  await rm(wait);
  expect(await page.locator('[data-newest] tbody tr').first().innerText()).toContain('Stopped');
  await ended();
});

it('clears the lock of a builder that is gone', async () => {
  // As the old script leaves it: a bare process number, of nobody.
  await writeFile(join(folders.outputDir, 'build.lock'), '4194303\n');
  await page.goto('/trivy-db');
  await page.getByText('Stale: left by process 4194303').waitFor();
  await screenshot(page, 'trivy-db-stale-lock-real-light');
  await page.getByRole('button', { name: 'Clear stale lock' }).click();
  await page.getByText('The stale lock is cleared.').waitFor();
  expect(await main()).toContain('There is no lock to clear.');
});

it('shows a builder that was killed as what it is, and builds again', async () => {
  await writeFile(wait, '');
  await build();
  await page.getByText('1 of 5, fetch.').waitFor();
  await server.kill('SIGKILL');
  await server.restart();
  await rm(wait);
  await page.goto('/trivy-db');
  await page.getByText('Died').first().waitFor();
  await build();
  await ended();
  await expect
    .poll(async () => (await page.locator('[data-newest] tbody tr').first().innerText()).includes('Succeeded'), { timeout: 20_000 })
    .toBe(true);
});
