/** Logging in and out, in a real browser. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectAccessible, type OpenBrowser, openBrowser, PHONE, screenshot } from '../harness/browser.ts';
import { operatorToken, type RunningConsole, startConsole } from '../harness/console.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const env = { SESSION_SECRET: 'a session secret of the tests, long enough' };
let pb: RunningPocketBase;
let browser: OpenBrowser;
let server: RunningConsole;

beforeAll(async () => {
  [pb, browser] = await Promise.all([startPocketBase(), openBrowser()]);
  server = await startConsole({ pocketbase: pb, env });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await browser[Symbol.asyncDispose]();
  await pb.stop();
});

const refused = /status of 4\d\d/;

it('is done with the keyboard alone, leads to where one wanted, and back out', async () => {
  await using open = await browser.page({ baseUrl: server.url });
  const { page } = open;
  await page.goto('/checks?state=infected');
  await expect.poll(() => page.evaluate('document.activeElement.id')).toBe('email');
  await page.keyboard.type(superuser.email);
  await page.keyboard.press('Tab');
  await page.keyboard.type(superuser.password);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/checks?state=infected');
  await page.keyboard.press('Tab');
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the content');
  await page.keyboard.press('Enter');
  expect(await page.evaluate('document.activeElement.id')).toBe('main');
  await page.getByRole('button', { name: 'Log out' }).focus();
  await page.keyboard.press('Enter');
  await page.waitForURL('**/login');
  await page.goto('/');
  expect(page.url()).toContain('/login');
});

it('says that something is wrong, not what, and keeps the e-mail', async () => {
  await using open = await browser.page({ baseUrl: server.url, expects: [refused] });
  const { page } = open;
  await page.goto('/login');
  await page.getByLabel('E-mail').fill(superuser.email);
  await page.getByLabel('Password', { exact: true }).fill('not the password');
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect.poll(() => page.getByRole('alert').textContent()).toContain('The e-mail, the password or the token is wrong.');
  expect(await page.getByLabel('E-mail').inputValue()).toBe(superuser.email);
  expect(await page.getByLabel('Password', { exact: true }).inputValue()).toBe('');
  await expectAccessible(page);
  await screenshot(page, 'login-refused-light');
});

it('says when to come back after too many failures', async () => {
  await using open = await browser.page({ baseUrl: server.url, expects: [refused] });
  const { page } = open;
  await page.goto('/login');
  for (let at = 0; at < 6; at += 1) {
    await page.getByLabel('E-mail').fill('victim@example.com');
    await page.getByLabel('Password', { exact: true }).fill('not the password');
    await page.getByRole('button', { name: 'Log in', exact: true }).click();
    await page.waitForLoadState();
  }
  expect(await page.getByRole('alert').textContent()).toMatch(/Too many failed logins\. Try again in 1\d min/);
});

it('works without scripts, also with the operator token', async () => {
  await using open = await browser.page({ baseUrl: server.url, javaScript: false });
  const { page } = open;
  await page.goto('/');
  await page.getByText('Log in with the operator token').click();
  await page.getByLabel('Operator token').fill(operatorToken);
  await page.getByRole('button', { name: 'Log in with the token' }).click();
  await page.waitForURL(`${server.url}/`);
  expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Overview');
  expect(await page.getByRole('button', { name: /Theme/ }).count()).toBe(0);
});

it('leads whoever has only the operator token on to more, back to the page they were on', async () => {
  await using open = await browser.page({ baseUrl: server.url, viewport: PHONE });
  const { page } = open;
  await page.goto('/login?to=/checks?state=infected');
  await page.getByText('Log in with the operator token').click();
  await page.getByLabel('Operator token').fill(operatorToken);
  await page.getByRole('button', { name: 'Log in with the token' }).click();
  await page.waitForURL('**/checks?state=infected');
  await expectAccessible(page);
  expect(await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')).toBe(0);
  await screenshot(page, 'operator-token-phone');
  await page.getByRole('link', { name: 'Log in as superuser' }).click();
  await page.getByLabel('E-mail').fill(superuser.email);
  await page.getByLabel('Password', { exact: true }).fill(superuser.password);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await page.waitForURL('**/checks?state=infected');
  expect(await page.getByRole('link', { name: 'Log in as superuser' }).count()).toBe(0);
});

it('is not asked for again when the console restarts', async () => {
  await using open = await browser.page({ baseUrl: server.url });
  const { page } = open;
  await page.goto('/login');
  await page.getByLabel('E-mail').fill(superuser.email);
  await page.getByLabel('Password', { exact: true }).fill(superuser.password);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await page.waitForURL(`${server.url}/`);
  await page.goto('about:blank');
  const { port } = server;
  await server[Symbol.asyncDispose]();
  server = await startConsole({ pocketbase: pb, env, port });
  await page.goto(server.url);
  expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Overview');
});

it.each([
  ['login-light', {}],
  ['login-dark', { colorScheme: 'dark' }],
  ['login-phone', { viewport: PHONE }],
] as const)('looks like a product: %s', async (name, options) => {
  await using open = await browser.page({ baseUrl: server.url, ...options });
  await open.page.goto('/login');
  await expectAccessible(open.page);
  await screenshot(open.page, name);
});
