/** The log of a build in a real browser. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { expectAccessible, type OpenBrowser, openBrowser, screenshot } from '../harness/browser.ts';
import {
  distanceToEnd,
  newer,
  numbered,
  older,
  pane,
  row,
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

describe('the log view', () => {
  it('follows, pauses when the reader scrolls up, and goes on when told', async () => {
    steered.begin(...numbered(300));
    await using opened = await steered.open(browser, '/trivy-db');
    const { page } = opened;
    await row(page, 300).waitFor();
    expect(await page.locator('[data-log-part=mode]').innerText()).toBe('Following');
    steered.logs.write(newer, ...numbered(50, 301));
    await row(page, 350).waitFor();
    await expect.poll(() => distanceToEnd(page)).toBeLessThan(2);
    await pane(page).hover();
    await page.mouse.wheel(0, -600);
    await expect.poll(() => page.locator('[data-log-part=mode]').innerText()).toBe('Paused');
    const before = await distanceToEnd(page);
    steered.logs.write(newer, ...numbered(14, 351));
    const button = page.getByRole('button', { name: '14 new lines ↓' });
    await button.waitFor();
    expect(await distanceToEnd(page)).toBeGreaterThanOrEqual(before);
    await screenshot(page, 'trivy-db-log-paused-light');
    await button.click();
    await row(page, 364).waitFor();
    await expect.poll(() => distanceToEnd(page)).toBeLessThan(2);
    expect(await button.isVisible()).toBe(false);
    steered.logs.write(newer, ...numbered(1, 365));
    await row(page, 365).waitFor();
  });

  it('takes thousands of lines a second, in order and once each', async () => {
    steered.begin('first');
    await using opened = await steered.open(browser, '/trivy-db');
    const { page } = opened;
    for (let part = 0; part < 20; part += 1) {
      steered.logs.write(newer, ...numbered(500, 2 + part * 500));
      await page.waitForTimeout(20);
    }
    await row(page, 10_001).waitFor();
    await expect.poll(() => distanceToEnd(page)).toBeLessThan(2);
    const numbers = await page.locator('.log-row').evaluateAll((rows) => rows.map(({ id }) => Number(id.slice(1))));
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
  });

  it('scrolls a log of 100,000 lines with only a window of it in the page', async () => {
    steered.ended(numbered(100_000));
    await using opened = await steered.open(browser, `/trivy-db/builds/${older}`);
    const { page } = opened;
    await row(page, 100_000).waitFor();
    for (const share of [0, 0.33, 0.66, 0.1]) {
      await pane(page).evaluate((element, at) => {
        element.scrollTop = element.scrollHeight * at;
      }, share);
      const first = Math.max(1, Math.round(100_000 * share));
      await row(page, first).waitFor();
      expect(await page.locator('.log-row').count()).toBeLessThan(2500);
      const box = (await row(page, first + 3).boundingBox())!;
      const frame = (await pane(page).boundingBox())!;
      expect(box.y - frame.y).toBeLessThan(200);
    }
  });

  it('finds in the whole log, counts, and goes from one to the next', async () => {
    const lines = numbered(30_000);
    for (const at of [10, 20_000, 29_999]) lines[at - 1] = `${stamp} the \x1b[31mNee\x1b[0mdle`;
    steered.ended(lines);
    await using opened = await steered.open(browser, `/trivy-db/builds/${older}`);
    const { page } = opened;
    await page.getByLabel('Search the log').fill('needle');
    await page.keyboard.press('Enter');
    const found = page.locator('[data-log-part=found]');
    await expect.poll(() => found.innerText()).toBe('1 of 3 lines');
    await expect.poll(() => row(page, 10).getAttribute('class')).toContain('log-target');
    await page.getByRole('button', { name: 'Next line with this' }).click();
    await expect.poll(() => row(page, 20_000).getAttribute('class')).toMatch(/log-target.*log-hit|log-hit.*log-target/);
    expect(await found.innerText()).toBe('2 of 3 lines');
    await page.getByLabel('Search the log').press('Shift+Enter');
    await expect.poll(() => found.innerText()).toBe('1 of 3 lines');
    await expectAccessible(page);
    await page.getByLabel('Search the log').fill('nothing like it');
    await page.keyboard.press('Enter');
    await expect.poll(() => found.innerText()).toBe('No line has it');
  });

  it('shows a part of a log that no page is tall enough for, and gets to the rest', async () => {
    steered.ended(Array.from({ length: 1_300_000 }, () => 'x'));
    await using opened = await steered.open(browser, `/trivy-db/builds/${older}`);
    const { page } = opened;
    await row(page, 1_300_000).waitFor();
    await page.getByText('Lines 1,000,000 to 1,300,000 of 1,300,000 are here.').waitFor();
    await page.goto(`/trivy-db/builds/${older}?line=400000#L400000`);
    await expect.poll(() => row(page, 400_000).getAttribute('class')).toContain('log-target');
    await page.getByText('Lines 100,000 to 700,000 of 1,300,000 are here.').waitFor();
    await page.evaluate('location.hash = "#L1200000"');
    await expect.poll(() => row(page, 1_200_000).getAttribute('class')).toContain('log-target');
  });

  it('says how far it has searched in a log that is too long for one go', async () => {
    steered.ended(Array.from({ length: 250_000 }, (_, index) => (index === 240_000 ? 'needle' : 'x')));
    await using opened = await steered.open(browser, `/trivy-db/builds/${older}`);
    const { page } = opened;
    await page.getByLabel('Search the log').fill('needle');
    await page.keyboard.press('Enter');
    const found = page.locator('[data-log-part=found]');
    await expect.poll(() => found.innerText(), { timeout: 40_000 }).toMatch(/^No line has it in the first [\d,]+ of 250,000 lines$/);
    const further = page.getByRole('button', { name: 'Search further' });
    await expect
      .poll(
        async () => {
          if (await further.isVisible()) await further.click({ timeout: 500 }).catch(() => {});
          return found.innerText();
        },
        { timeout: 40_000 },
      )
      .toBe('1 of 1 line');
  });

  it('links to every line, also without script', async () => {
    steered.ended(numbered(5000));
    await using opened = await steered.open(browser, `/trivy-db/builds/${older}#L1234`);
    const { page } = opened;
    await expect.poll(() => row(page, 1234).getAttribute('class')).toContain('log-target');
    await row(page, 1240).locator('a').click();
    expect(new URL(page.url()).search + new URL(page.url()).hash).toBe('?line=1240#L1240');
    await using plain = await steered.open(browser, `/trivy-db/builds/${older}?line=1240#L1240`, { javaScript: false });
    expect(await row(plain.page, 1240).getAttribute('class')).toContain('log-target');
    await plain.page.getByRole('link', { name: 'Older lines' }).click();
    await row(plain.page, 1139).waitFor();
    await plain.page.getByLabel('Search the log').fill('line 4999');
    await plain.page.getByRole('button', { name: 'Search' }).click();
    await plain.page.getByText('1 line of 5,000 has “line 4999”.').waitFor();
    expect(await plain.page.locator('.log-row').count()).toBe(1);
  });

  it('shows hostile lines as text', async () => {
    const hostile = [
      '<script>document.title = "owned"</script><img src=x onerror="document.title = \'owned\'">',
      '\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\ \x1b]0;title\x07\x1b[2J\x1b[H\x1b[31m<b style="position:fixed;inset:0">red</b>',
      '\u202egpj.exe\u2066 \ufffd\x00\x08 real\rfake',
      `${'"><svg onload=alert(1)>'.repeat(50_000)}`,
      '</div></build-log></main><form action="https://evil.example">',
    ];
    steered.begin(...hostile);
    steered.logs.write(newer, { text: 'cut', cutBytes: 5_000_000 });
    await using opened = await steered.open(browser, '/trivy-db');
    const { page } = opened;
    await row(page, 6).waitFor();
    steered.logs.write(newer, ...hostile);
    await row(page, 11).waitFor();
    expect(await page.title()).toBe('Trivy DB · Pocketwarden');
    expect(
      await pane(page).locator('script, img, svg, form, b[style], a[href^="http"], a[href^="javascript"], [style*="fixed"]').count(),
    ).toBe(0);
    expect(await row(page, 1).innerText()).toContain('<script>document.title');
    expect(await row(page, 2).innerText()).toContain('click <b style="position:fixed;inset:0">red</b>');
    expect(await row(page, 3).innerText()).toContain('[U+202E]gpj.exe[U+2066] \ufffd␀␈ real␍fake');
    expect(await row(page, 6).innerText()).toContain('5,000,000 more bytes were cut off');
    await row(page, 4)
      .getByRole('link', { name: /show all/ })
      .click();
    await expect.poll(async () => (await row(page, 4).innerText()).length).toBeGreaterThan(1_000_000);
    await page.evaluate('document.querySelector(".log-pane").scrollTop = 0');
  });

  it('folds stack traces, wraps on demand', async () => {
    const trace = Array.from({ length: 50 }, (_, index) => `${stamp}   --- at /go/src/x.go:${index}`);
    const lines = [
      `${stamp} ${'wide '.repeat(200)}`,
      `${stamp} 2026/11/21 16:08:12 ERROR Oops`,
      `${stamp} Stacktrace:`,
      ...trace,
      `${stamp} The build failed.`,
    ];
    steered.ended(lines, { outcome: 'failed', error: 'Look at the log.' });
    await using opened = await steered.open(browser, `/trivy-db/builds/${older}`);
    const { page } = opened;
    expect(await row(page, 20).isVisible()).toBe(false);
    await page.getByText('Stack trace: 50 lines').click();
    await row(page, 20).waitFor();
    const height = async () => (await row(page, 1).boundingBox())!.height;
    expect(await height()).toBe(20);
    await page.getByRole('button', { name: 'Wrap lines' }).click();
    expect(await height()).toBeGreaterThan(40);
    expect(await page.getByRole('button', { name: 'Wrap lines' }).getAttribute('aria-pressed')).toBe('true');
    await page.goto(`/trivy-db/builds/${older}#L30`);
    await page.reload();
    await row(page, 30).waitFor();
  });

  it('says when the log stopped coming, and that it does not answer', async () => {
    steered.begin(...numbered(3000));
    await using opened = await steered.open(browser, '/trivy-db', { expects: [/50[23]/, /ERR_/] });
    const { page } = opened;
    await row(page, 3000).waitFor();
    steered.breakdown = new Error('gone');
    await pane(page).evaluate((element) => {
      element.scrollTop = 0;
    });
    await expect.poll(() => page.locator('[data-log-part=problem]').innerText()).toContain('The log does not answer.');
    steered.breakdown = null;
    await page.evaluate('document.querySelector(".log-pane").scrollTop = 2000');
    await expect.poll(() => page.locator('[data-log-part=problem]').innerText()).toBe('');
  });

  it('links to the whole log', async () => {
    steered.begin('one');
    await using opened = await steered.open(browser, '/trivy-db');
    const { page } = opened;
    expect(await page.getByRole('link', { name: 'Download the log' }).getAttribute('href')).toBe(`/trivy-db/builds/${newer}/log`);
  });
});
