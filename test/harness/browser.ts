/** Real Chromium for tests of pages. What a browser complains about fails the test that caused it. */
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AxeResults, Result } from 'axe-core';
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';
import { obtainChromium } from '../../scripts/parts/chromium.ts';

const SCREENSHOTS = fileURLToPath(new URL('../../build/screenshots', import.meta.url));

/** A phone of the smaller kind, and a window on a laptop. */
export const PHONE = { width: 390, height: 844 };
const LAPTOP = { width: 1280, height: 800 };

export interface PageOptions {
  /** CSS pixels; default 1280 × 800. */
  readonly viewport?: { readonly width: number; readonly height: number };
  readonly colorScheme?: 'light' | 'dark';
  /** Whether the page may run scripts; default true. */
  readonly javaScript?: boolean;
  /** What `page.goto('/path')` is relative to. */
  readonly baseUrl?: string;
  /** Complaints that this test provokes, such as a 401 for a wrong password. Each is a console line, an error or a request. */
  readonly expects?: readonly RegExp[];
  /** Anything else that Playwright can set for a new context, such as `storageState` to stay logged in. */
  readonly context?: BrowserContextOptions;
}

/** Disposing of it closes it and fails the running test when there are unexpected complaints. */
export interface OpenPage extends AsyncDisposable {
  readonly page: Page;
  /** Complaints so far that nothing in `expects` explains. */
  problems(): readonly string[];
  /** Closes it; rejects with the unexpected complaints, if there are any. */
  close(): Promise<void>;
}

export interface OpenBrowser extends AsyncDisposable {
  /** A page with cookies and storage of its own. */
  page(options?: PageOptions): Promise<OpenPage>;
}

/** Starts a Chromium that reaches this machine only. One is enough for a test file; pages are cheap. */
export async function openBrowser(): Promise<OpenBrowser> {
  const { bin } = await obtainChromium(() => {});
  const browser = await chromium.launch({
    executablePath: bin,
    // Containers and CI machines forbid the name spaces that the sandbox is made of; only our own pages are shown here.
    args: ['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost', '--disable-dev-shm-usage'],
  });
  return {
    page: async (options = {}) => {
      const context = await browser.newContext({
        viewport: options.viewport ?? LAPTOP,
        colorScheme: options.colorScheme ?? 'light',
        javaScriptEnabled: options.javaScript ?? true,
        // What moves cannot be photographed twice alike.
        reducedMotion: 'reduce',
        locale: 'en-GB',
        timezoneId: 'UTC',
        ...(options.baseUrl === undefined ? {} : { baseURL: options.baseUrl }),
        ...options.context,
      });
      const complaints: string[] = [];
      context.on('page', (page) => listen(page, complaints));
      const page = await context.newPage();
      const problems = () => complaints.filter((text) => !(options.expects ?? []).some((pattern) => pattern.test(text)));
      const close = async () => {
        await context.close();
        if (problems().length > 0) throw new Error(`the browser complained:\n${problems().join('\n')}`);
      };
      return {
        page,
        problems,
        close,
        // Softly, or the complaints would hide behind the failure they belong to.
        [Symbol.asyncDispose]: async () => {
          await context.close();
          expect.soft(problems(), 'what the browser complained about').toEqual([]);
        },
      };
    },
    [Symbol.asyncDispose]: () => browser.close(),
  };
}

function listen(page: Page, complaints: string[]): void {
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning')
      complaints.push(`console ${message.type()}: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => complaints.push(`error: ${error.stack ?? error.message}`));
  page.on('request', (request) => {
    if (!isLocal(request.url())) complaints.push(`request outside this machine: ${request.url()}`);
  });
}

function isLocal(address: string): boolean {
  const { protocol, hostname } = new URL(address);
  return ['data:', 'blob:', 'about:'].includes(protocol) || ['127.0.0.1', 'localhost', '[::1]'].includes(hostname);
}

const axeFile = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/**
 * Rejects when axe finds anything serious or critical in what the page shows now, with the rule, the elements and how to put it
 * right. Injected past the page's own Content-Security-Policy; needs scripts to be on.
 */
export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(await readFile(axeFile, 'utf8'));
  const results = await page.evaluate<AxeResults>('axe.run()');
  const violations = results.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  if (violations.length > 0) throw new Error(`not accessible: ${page.url()}\n${violations.map(describe).join('\n')}`);
}

function describe({ id, impact, help, nodes }: Result): string {
  const elements = nodes.map((node) => `  ${node.target.join(' ')}: ${(node.failureSummary ?? '').replace(/\s+/g, ' ')}`);
  return [`${id} (${impact}): ${help}`, ...elements].join('\n');
}

/** Keeps a picture of the whole page as `build/screenshots/<name>.png`; returns its path. */
export async function screenshot(page: Page, name: string): Promise<string> {
  if (!/^[a-z0-9-]+$/.test(name)) throw new Error(`a screenshot is named in kebab-case, not ${name}`);
  await mkdir(SCREENSHOTS, { recursive: true });
  const path = join(SCREENSHOTS, `${name}.png`);
  await page.screenshot({ path, fullPage: true, animations: 'disabled', caret: 'hide' });
  return path;
}
