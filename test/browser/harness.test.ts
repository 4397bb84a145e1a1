/** The harness itself: it must see what a page does wrong, or every other browser test proves nothing. */

import { readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectAccessible, type OpenBrowser, openBrowser, PHONE, screenshot } from '../harness/browser.ts';

const STRICT = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'";

const page = (body: string) => `<!doctype html><html lang="en"><head><title>A page</title><link rel="icon" href="/icon.svg">
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css"></head><body><main><h1>A page</h1>${body}</main></body></html>`;

const answers: Readonly<Record<string, readonly [type: string, body: string]>> = {
  '/': ['text/html; charset=utf-8', page('<p id="names">report.pdf · תוכנית.exe · برنامج.apk · 安装.dmg</p><button>Start build</button>')],
  '/style.css': [
    'text/css',
    ':root { color-scheme: light dark; font: 15px/22px system-ui, sans-serif } @media (prefers-color-scheme: dark) { body { background: #101413; color: #e8ecea } } code { font-family: ui-monospace, monospace }',
  ],
  '/icon.svg': ['image/svg+xml', '<svg xmlns="http://www.w3.org/2000/svg"/>'],
  '/script.js': ['text/javascript', "document.querySelector('p').textContent = 'the script ran';"],
  '/broken.js': ['text/javascript', "throw new Error('broken on purpose');"],
  '/with-script': ['text/html; charset=utf-8', page('<p>no script ran</p><script src="/script.js"></script>')],
  '/throws': ['text/html; charset=utf-8', page('<script src="/broken.js"></script>')],
  '/inline': ['text/html; charset=utf-8', page('<script>document.title = "inline ran"</script>')],
  '/outside': ['text/html; charset=utf-8', page('<img alt="a pixel" src="https://example.com/pixel.png">')],
  '/missing': ['text/html; charset=utf-8', page('<img alt="a picture" src="/nothing.png">')],
  '/inaccessible': ['text/html; charset=utf-8', page('<input type="text"><button></button>')],
};

const used = new AsyncDisposableStack();
let browser: OpenBrowser;
let baseUrl: string;

beforeAll(async () => {
  const server = createServer((request, response) => {
    const answer = answers[request.url ?? ''];
    response.writeHead(answer === undefined ? 404 : 200, {
      'Content-Type': answer?.[0] ?? 'text/plain',
      'Content-Security-Policy': STRICT,
    });
    response.end(answer?.[1]);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  used.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  browser = used.use(await openBrowser());
});
afterAll(() => used.disposeAsync());

it('shows a page as it is, also to a phone in the dark, and keeps a picture of it', async () => {
  for (const [name, options] of [
    ['harness-light', {}],
    ['harness-dark-phone', { colorScheme: 'dark', viewport: PHONE }],
  ] as const) {
    await using open = await browser.page({ baseUrl, ...options });
    await open.page.goto('/');
    await expectAccessible(open.page);
    const path = await screenshot(open.page, name);
    expect((await readFile(path)).subarray(1, 4).toString()).toBe('PNG');
    await rm(path);
  }
});

it('draws names in every script with glyphs, not with boxes', async () => {
  await using open = await browser.page({ baseUrl });
  await open.page.goto('/');
  const widths = (await open.page.evaluate(`(() => {
    const context = document.createElement('canvas').getContext('2d');
    context.font = '40px system-ui, sans-serif';
    return ['\u05ea', '\u0628', '\u5b89', '\u{10ffff}'].map((text) => {
      const { width, actualBoundingBoxAscent, actualBoundingBoxDescent } = context.measureText(text);
      return [width, actualBoundingBoxAscent, actualBoundingBoxDescent].join(' ');
    });
  })()`)) as string[];
  const [hebrew, arabic, han, nothing] = widths;
  expect([hebrew, arabic, han], 'fonts are missing beside this Chromium').not.toContain(nothing);
});

it('runs scripts, or none', async () => {
  await using on = await browser.page({ baseUrl });
  await on.page.goto('/with-script');
  expect(await on.page.textContent('p')).toBe('the script ran');
  await using off = await browser.page({ baseUrl, javaScript: false });
  await off.page.goto('/with-script');
  expect(await off.page.textContent('p')).toBe('no script ran');
});

it.each([
  ['/throws', 'broken on purpose'],
  ['/inline', 'Content Security Policy'],
  ['/outside', 'https://example.com/pixel.png'],
  ['/missing', '404'],
])('complains about %s', async (path, complaint) => {
  const open = await browser.page({ baseUrl });
  await open.page.goto(path, { waitUntil: 'networkidle' });
  await expect(open.close()).rejects.toThrow(complaint);
});

it('lets pass what a test expects', async () => {
  await using open = await browser.page({ baseUrl, expects: [/404/] });
  await open.page.goto('/missing', { waitUntil: 'networkidle' });
  expect(open.problems()).toEqual([]);
});

it('finds what a screen reader cannot read', async () => {
  await using open = await browser.page({ baseUrl });
  await open.page.goto('/inaccessible');
  await expect(expectAccessible(open.page)).rejects.toThrow(/button-name[\s\S]*label/);
});
