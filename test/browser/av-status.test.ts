/** `<av-status>` on a host's page, served by a real PocketBase under a strict policy. */
import { cp, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build as bundle } from 'esbuild';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { expectAccessible, type OpenBrowser, openBrowser, PHONE, screenshot } from '../harness/browser.ts';
import { type Build, claim, clean, clearAll, form, giveBack, infected, settle, unscannable, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const MAX_BYTES = 6_000;

const STYLE = `:root { color-scheme: light dark; font: 15px/22px system-ui, sans-serif } body { margin: 24px }
  @media (prefers-color-scheme: dark) { body { background: #121413; color: #e9ecea } } li { margin: 0 0 16px }`;
/** Builds come from the address; what happens is kept for the test to read. */
const HOST = `const ids = new URLSearchParams(location.search).getAll('build');
  window.changes = [];
  document.addEventListener('av-status-change', (event) => window.changes.push(event.detail.state));
  document.querySelector('ul').append(...ids.map((id) => {
    const [item, status] = [document.createElement('li'), document.createElement('av-status')];
    status.setAttribute('build', id);
    item.append(status);
    return item;
  }));`;
const LIVE = `import PocketBase from './pocketbase.js';
  const status = document.createElement('av-status');
  const client = window.client = new PocketBase(location.origin);
  window.ready = client.collection('users').authWithPassword('ana@users.example', ${JSON.stringify(superuser.password)}).then(() => {
    status.client = client;
    status.setAttribute('build', new URLSearchParams(location.search).get('build'));
    document.querySelector('ul').append(status);
  });`;
const page = (scripts: string) => `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>My uploads</title>
  <meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; require-trusted-types-for 'script'">
  <meta name="viewport" content="width=device-width"><link rel="icon" href="/icon.svg"><link rel="stylesheet" href="/host.css"></head>
  <body><main><h1>My uploads</h1><ul></ul></main>${scripts}</body></html>`;

describe('<av-status>', () => {
  let pb: RunningPocketBase;
  let browser: OpenBrowser;
  let size = 0;
  beforeAll(async () => {
    [pb, browser] = await Promise.all([startPocketBase(), openBrowser()]);
    const folder = join(pb.dir, 'pb_public');
    await mkdir(folder);
    const element = join(folder, 'av-status.js');
    await bundle({
      entryPoints: [join(root, 'sidecar/console/browser/av-status.ts')],
      bundle: true,
      minify: true,
      format: 'esm',
      target: 'es2023',
      outfile: element,
    });
    size = (await stat(element)).size;
    await cp(join(root, 'node_modules/pocketbase/dist/pocketbase.es.mjs'), join(folder, 'pocketbase.js'));
    const files: Record<string, string> = {
      'icon.svg': '<svg xmlns="http://www.w3.org/2000/svg"/>',
      'host.css': STYLE,
      'host.js': HOST,
      'live.js': LIVE,
      'index.html': page('<script type="module" src="/host.js"></script><script type="module" src="/av-status.js"></script>'),
      'live.html': page('<script type="module" src="/av-status.js"></script><script type="module" src="/live.js"></script>'),
    };
    for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
    await pb.client
      .collection('users')
      .create({ email: 'ana@users.example', password: superuser.password, passwordConfirm: superuser.password });
  });
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await pb?.stop();
  });
  beforeEach(() => clearAll(pb));

  const address = (...builds: { id: string }[]) => `/?${builds.map(({ id }) => `build=${id}`).join('&')}`;
  const textOf = async (at: Page, nth = 0) =>
    (await at.locator('av-status [part=status]').nth(nth).innerText()).split('\n').slice(1).join(' | ');
  const shows = (at: Page, text: string, nth = 0) =>
    eventually(
      `the page shows ${text}`,
      async () => (await textOf(at, nth)) === text || Promise.reject(new Error(await textOf(at, nth))),
      5_000,
    );
  const askNow = (at: Page) => at.evaluate("for (const status of document.querySelectorAll('av-status')) status.refresh()");
  const changes = (at: Page) => at.evaluate('window.changes') as Promise<string[]>;
  const judged = async (
    name: string,
    verdict: (check: Parameters<typeof clean>[0]) => Parameters<typeof settle>[1][number],
  ): Promise<Build & { check: string }> => {
    const build = await upload(pb, { [name]: 'a' });
    const { checks } = await claim(pb, { max: 1 });
    await settle(pb, [verdict(checks[0]!)], 1);
    return { ...build, check: checks[0]!.id };
  };
  const decide = (check: string, action: string) =>
    pb.client.send(`/api/av/checks/${check}/${action}`, { method: 'POST', body: { reason: 'known tool' } });

  it('is small', () => {
    expect(size).toBeLessThan(MAX_BYTES);
  });

  it('follows a build from the line to its verdict, in words, by itself', async () => {
    const [before, build] = [await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'b.txt': 'b' })];
    await using open = await browser.page({ baseUrl: pb.url });
    await open.page.goto(address(build));
    await shows(open.page, 'Waiting | Second in line.');
    const first = (await claim(pb, { max: 1 })).checks[0]!;
    expect(first.build).toBe(before.id);
    await shows(open.page, 'Waiting | Next in line.');
    await settle(pb, [clean(first)]);
    const { checks } = await claim(pb);
    await eventually('it is scanned', async () => (await textOf(open.page)).startsWith('Scanning'));
    await settle(pb, checks.map(clean));
    await shows(open.page, 'Clean | No malware was found. It can be downloaded.');
    expect(await changes(open.page)).toEqual(['loading', 'pending', 'pending', 'scanning', 'clean']);
    const status = open.page.locator('av-status [part=status]');
    expect([await status.getAttribute('role'), await status.getAttribute('aria-live')]).toEqual(['status', 'polite']);
    expect(await open.page.locator('av-status [part=mark]').getAttribute('aria-hidden')).toBe('true');
  });

  it.each([
    ['light', { colorScheme: 'light' }],
    ['dark', { colorScheme: 'dark' }],
    ['phone', { colorScheme: 'dark', viewport: PHONE }],
  ] as const)('says every state so that everybody can read it: %s', async (name, options) => {
    const found = await judged('found.exe', infected);
    const released = await judged('released.exe', infected);
    await decide(released.check, 'release');
    const builds = [
      await judged('clean.zip', clean),
      found,
      released,
      await judged('sealed.zip', unscannable),
      await judged('lost.zip', (check) => giveBack(check, 'download')),
      await upload(pb, {}),
      await upload(pb, { 'waiting.zip': 'w' }),
      { id: 'nosuchbuild0001' },
    ];
    await using open = await browser.page({ baseUrl: pb.url, expects: [/404/], ...options });
    await open.page.goto(address(...builds));
    const texts = [
      'Clean | No malware was found. It can be downloaded.',
      'Infected | Malware was found. Nobody can download it.',
      'Released | It could not be proved clean, and was let through by a decision on record.',
      'Cannot judge | The engine cannot look inside encrypted content. Upload it without a password.',
      'Failed | The scan did not succeed. Nobody can download it until an operator has looked at it.',
      'Cannot judge | The build has no files. Upload files to it, or delete it.',
    ];
    for (const [i, text] of texts.entries()) await shows(open.page, text, i);
    await eventually('the line', async () => /^Waiting \| Next in line(, usually \d\.?\d* s)?\.$/.test(await textOf(open.page, 6)));
    await shows(open.page, 'Not found | There is no such build, or you may not see it.', 7);
    await expectAccessible(open.page);
    await screenshot(open.page, `av-status-${name}`);
  });

  it('shows a private build to who has a token, which stands nowhere on the page', async () => {
    const build = await judged('a.zip', clean);
    await pb.client.collections.update('app_builds', { viewRule: '@request.auth.id != ""' });
    try {
      await using open = await browser.page({ baseUrl: pb.url, expects: [/404/] });
      await open.page.goto(address(build));
      await shows(open.page, 'Not found | There is no such build, or you may not see it.');
      const { token } = await pb.client.collection('_superusers').authWithPassword(superuser.email, superuser.password);
      await open.page.evaluate(`document.querySelector('av-status').token = ${JSON.stringify(token)}`);
      await shows(open.page, 'Clean | No malware was found. It can be downloaded.');
      expect(await open.page.content()).not.toContain(token);
    } finally {
      await pb.client.collections.update('app_builds', { viewRule: '' });
    }
  });

  it('takes what was set before its class was known, other words, and another build', async () => {
    const [one, other] = [await judged('a.zip', clean), await judged('b.zip', infected)];
    await using open = await browser.page({ baseUrl: pb.url });
    await open.page.route('**/av-status.js', async (route) => {
      await open.page.locator('av-status').waitFor({ state: 'attached' });
      await open.page.evaluate(`Object.assign(document.querySelector('av-status'), {
        texts: { labels: { clean: 'Sauber' }, line: (state, answer) => state === 'clean' ? 'Build ' + answer.build : undefined } })`);
      await route.continue();
    });
    await open.page.goto(address(one));
    await shows(open.page, `Sauber | Build ${one.id}`);
    await open.page.evaluate(`document.querySelector('av-status').setAttribute('build', ${JSON.stringify(other.id)})`);
    await shows(open.page, 'Infected | Malware was found. Nobody can download it.');
  });

  it('says places and times as people do', async () => {
    const answers = [
      ['Waiting | Third in line, usually 4 s.', { status: 'pending', position: 3, usualSeconds: 4 }],
      ['Waiting | Number 12 in line, usually 2 min.', { status: 'pending', position: 12, usualSeconds: 125.4 }],
      ['Waiting | More than 1,000 are before it, usually 1.5 h.', { status: 'pending', position: '>1000', usualSeconds: 5_400 }],
      ['Scanning | Usually takes 0.1 s.', { status: 'scanning', position: null, usualSeconds: 0 }],
      [
        'Released | It could not be proved clean, and was let through by a decision on record.',
        { status: 'error', open: true, reason: 'download' },
      ],
    ] as const;
    await using open = await browser.page({ baseUrl: pb.url });
    let at = 0;
    await open.page.route('**/api/av/builds/*', (route) =>
      route.fulfill({ contentType: 'application/json', body: JSON.stringify({ reason: '', ...answers[at]![1] }) }),
    );
    await open.page.goto('/?build=somebuild000001');
    for (; at < answers.length; at++) {
      await askNow(open.page);
      await shows(open.page, answers[at]![0]);
    }
  });

  it('shows what comes from outside as text, and survives nonsense', async () => {
    const build = await judged('a.zip', unscannable);
    await using open = await browser.page({ baseUrl: pb.url });
    const evil = '<img src=x onerror="document.title=1">';
    let body: unknown = { status: 'error', reason: 'unscannable:zstd', text: evil, position: null };
    await open.page.route('**/api/av/builds/*', (route) => route.fulfill({ contentType: 'application/json', body: JSON.stringify(body) }));
    await open.page.goto(address(build));
    await shows(open.page, `Cannot judge | ${evil}`);
    for (const nonsense of [{}, [], { status: 'constructor', reason: '' }, { status: evil }, { status: 'loading' }]) {
      body = nonsense;
      await askNow(open.page);
      await shows(open.page, 'Not found | There is no such build, or you may not see it.');
    }
    expect(await open.page.title()).toBe('My uploads');
  });

  it('keeps the last answer through a hiccup, and says when the server is gone for longer', async () => {
    const build = await judged('a.zip', clean);
    await using open = await browser.page({ baseUrl: pb.url, expects: [/Failed to load|503/] });
    await open.page.goto(address(build));
    await shows(open.page, 'Clean | No malware was found. It can be downloaded.');
    let asked = 0;
    await open.page.route('**/api/av/builds/*', (route) => {
      asked += 1;
      return asked % 2 ? route.abort() : route.fulfill({ status: 503, body: 'no' });
    });
    for (const count of [1, 2]) {
      await askNow(open.page);
      await eventually('asked', () => asked === count);
    }
    expect(await textOf(open.page)).toBe('Clean | No malware was found. It can be downloaded.');
    await askNow(open.page);
    await shows(open.page, 'No answer | The server does not answer. Trying again.');
    await open.page.unroute('**/api/av/builds/*');
    await askNow(open.page);
    await shows(open.page, 'Clean | No malware was found. It can be downloaded.');
  });

  describe('by the clock', () => {
    let asked = 0;
    const run = async (at: Page, seconds: number) => {
      asked = 0;
      for (let second = 0; second < seconds; second++) await at.clock.runFor(1_000);
      return asked;
    };
    const watched = async (open: { page: Page }, status: string) => {
      await open.page.clock.install();
      await open.page.route('**/api/av/builds/*', (route) => {
        asked += 1;
        return route.fulfill({
          contentType: 'application/json',
          body: JSON.stringify({ status, reason: '', position: null, usualSeconds: null }),
        });
      });
      await open.page.goto('/?build=somebuild000001');
    };
    afterEach(() => {
      asked = 0;
    });

    it('asks often at first, then every fifteen seconds, while the build waits', async () => {
      await using open = await browser.page({ baseUrl: pb.url });
      await watched(open, 'pending');
      await shows(open.page, 'Waiting | In line.');
      const early = await run(open.page, 20);
      expect(early).toBeGreaterThanOrEqual(3);
      expect(early).toBeLessThanOrEqual(6);
      await run(open.page, 60);
      const late = await run(open.page, 90);
      expect(late).toBeGreaterThanOrEqual(4);
      expect(late).toBeLessThanOrEqual(7);
    });

    it('asks once a minute after the verdict, never on a page that nobody sees, and not at all once it is taken away', async () => {
      await using open = await browser.page({ baseUrl: pb.url });
      await watched(open, 'clean');
      await shows(open.page, 'Clean | No malware was found. It can be downloaded.');
      const settled = await run(open.page, 150);
      expect(settled).toBeGreaterThanOrEqual(1);
      expect(settled).toBeLessThanOrEqual(3);
      await open.page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, get: () => true })");
      expect(await run(open.page, 150)).toBe(0);
      await open.page.evaluate("Reflect.deleteProperty(document, 'hidden'); document.dispatchEvent(new Event('visibilitychange'))");
      await eventually('it asks when it is seen', () => asked === 1);
      await open.page.evaluate("document.querySelector('av-status').remove()");
      expect(await run(open.page, 150)).toBe(0);
    });
  });

  it('works as the documentation shows it', async () => {
    const text = await readFile(join(root, 'docs/av-status.md'), 'utf8');
    const sample = (language: string) => text.split(`\`\`\`${language}\n`)[1]!.split('```')[0]!;
    await writeFile(join(pb.dir, 'pb_public/upload.html'), sample('html'));
    await writeFile(join(pb.dir, 'pb_public/upload.js'), sample('js'));
    await pb.client.collections.update('app_builds', { createRule: '' });
    await using open = await browser.page({ baseUrl: pb.url, expects: [/favicon/] });
    await open.page.goto('/upload.html');
    await open.page.locator('av-status [part=status]').waitFor({ state: 'hidden' });
    await open.page.getByLabel('Files').setInputFiles([{ name: 'app.zip', mimeType: 'application/zip', buffer: Buffer.from('bytes') }]);
    await eventually('it waits', async () => (await textOf(open.page)).startsWith('Waiting | Next in line'));
    await clearAll(pb);
    await shows(open.page, 'Clean | No malware was found. It can be downloaded.');
    expect(await open.page.title()).toBe('Ready to download');
    const answer = Object.keys(JSON.parse(sample('json')));
    const { id } = await pb.client.collection('app_builds').getFirstListItem('', { sort: '-created' });
    const given = (await (await fetch(`${pb.url}/api/av/builds/${id}`)).json()) as object;
    expect(Object.keys(given).sort()).toEqual(answer.sort());
    await pb.client.collections.update('app_builds', { createRule: null });
  });

  it('is told at once through realtime what the rules of the host let the viewer see', async () => {
    await pb.client.collections.update('av_build_checks', { viewRule: '@request.auth.collectionName = "users"' });
    try {
      const build = await judged('a.zip', clean);
      await using open = await browser.page({ baseUrl: pb.url });
      const subscribed = open.page.waitForRequest(
        (request) => request.method() === 'POST' && (request.postData() ?? '').includes(`av_build_checks/${build.check}`),
      );
      await open.page.goto(`/live.html?build=${build.id}`);
      await shows(open.page, 'Clean | No malware was found. It can be downloaded.');
      await (await subscribed).response();
      // The next question would come in a minute.
      await decide(build.check, 'rescan');
      await settle(
        pb,
        (await claim(pb)).checks.map((check) => infected(check)),
      );
      await shows(open.page, 'Infected | Malware was found. Nobody can download it.');
      await pb.client.collection('app_builds').update(build.id, form({ 'b.txt': 'b' }, 'files+'));
      await eventually('the new file waits', async () => (await textOf(open.page)).startsWith('Waiting'), 5_000);
    } finally {
      await pb.client.collections.update('av_build_checks', { viewRule: null });
    }
  });

  it('is told no more than the fields that the host leaves visible', async () => {
    const hidden = ['virus_name', 'files', 'engine', 'log', 'worker', 'released_by', 'release_reason'];
    const { fields } = await pb.client.collections.getOne('av_build_checks');
    const hide = fields.map((field) => ({ ...field, hidden: field['hidden'] || hidden.includes(String(field['name'])) }));
    await pb.client.collections.update('av_build_checks', { viewRule: '@request.auth.collectionName = "users"', fields: hide });
    try {
      const build = await judged('a.zip', infected);
      await using open = await browser.page({ baseUrl: pb.url });
      await open.page.goto(`/live.html?build=${build.id}`);
      await shows(open.page, 'Infected | Malware was found. Nobody can download it.');
      await open.page.evaluate(
        `client.collection('av_build_checks').subscribe('${build.check}', ({ record }) => { window.seen = record })`,
      );
      await decide(build.check, 'release');
      await shows(open.page, 'Released | It could not be proved clean, and was let through by a decision on record.');
      const seen = Object.keys(await eventually('an event', () => open.page.evaluate('window.seen') as Promise<object | undefined>));
      expect(seen).toEqual(expect.arrayContaining(['id', 'build', 'status', 'open', 'reason']));
      expect(seen.filter((name) => [...hidden, 'lease_token'].includes(name))).toEqual([]);
      expect((await pb.client.collection('av_build_checks').getOne(build.check))['virus_name']).toBe('Test.Virus-1');
    } finally {
      await pb.client.collections.update('av_build_checks', { viewRule: null, fields });
    }
  });

  it('is told through realtime of another file by the rules of the builds alone', async () => {
    const build = await judged('a.zip', clean);
    await using open = await browser.page({ baseUrl: pb.url });
    const subscribed = open.page.waitForRequest(
      (request) => request.method() === 'POST' && (request.postData() ?? '').includes(`app_builds/${build.id}`),
    );
    await open.page.goto(`/live.html?build=${build.id}`);
    await shows(open.page, 'Clean | No malware was found. It can be downloaded.');
    await (await subscribed).response();
    await pb.client.collection('app_builds').update(build.id, form({ 'b.txt': 'b' }, 'files+'));
    await eventually('the new file waits', async () => (await textOf(open.page)).startsWith('Waiting'), 5_000);
  });
});
