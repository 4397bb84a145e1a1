/** The pages of the checks over a real PocketBase: searching, paging, reading, deciding. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CheckQuery, filterOf } from '../../sidecar/console/checks/check-query.ts';
import { createChecksPages } from '../../sidecar/console/checks/checks-pages.ts';
import { ChecksSource } from '../../sidecar/console/checks/checks-source.ts';
import type { LiveSource } from '../../sidecar/console/console-env.ts';
import { Session } from '../../sidecar/pocketbase/session.ts';
import { checkOf, claim, clean, infected, settle, unscannable, upload } from '../harness/builds.ts';
import { operatorToken, type RunningConsole, startConsole } from '../harness/console.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';
import { hostileSignature, rightToLeftName, type Seeded, seedChecks } from '../harness/seed-checks.ts';

let pb: RunningPocketBase;
let console: RunningConsole;

const start = async (count: number) => {
  pb = await startPocketBase();
  const seeded = count === 0 ? null : await seedChecks(pb, { count });
  console = await startConsole({ pocketbase: pb });
  return seeded;
};
const stop = async () => {
  await console[Symbol.asyncDispose]();
  await pb.stop();
};

interface Answer {
  readonly status: number;
  readonly html: string;
  readonly location: string | null;
}

async function ask(path: string, init: RequestInit = {}, token = pb.client.authStore.token): Promise<Answer> {
  const answer = await fetch(`${console.url}${path}`, { redirect: 'manual', ...init, headers: { Authorization: `Bearer ${token}` } });
  return { status: answer.status, html: await answer.text(), location: answer.headers.get('location') };
}

/** Ids of the checks that the list shows, in its order. */
async function listed(path: string): Promise<string[]> {
  const { status, html } = await ask(path);
  expect(status).toBe(200);
  return [...html.matchAll(/<tr id="check-([^"]+)"/g)].map(([, id]) => id!);
}

const linkOf = (html: string, rel: string) =>
  /href="([^"]+)"/.exec(new RegExp(`<a [^>]*rel="${rel}"[^>]*>`).exec(html)?.[0].replaceAll('&amp;', '&') ?? '')?.[1];
const mainOf = (html: string) => html.slice(html.indexOf('<main'));
const wordsOf = (html: string) =>
  mainOf(html)
    .replace(/<[^>]+>/g, ' ')
    .replace(/\s+/g, ' ');

describe('the list', () => {
  let seeded: Seeded;
  beforeAll(async () => {
    seeded = (await start(1200))!;
  });
  afterAll(stop);

  it('pages through every check once, newest first, and back', async () => {
    const seen: string[] = [];
    const pages: string[] = [];
    let path: string | undefined = '/checks';
    while (path !== undefined) {
      pages.push(path);
      seen.push(...(await listed(path)));
      path = linkOf((await ask(path)).html, 'next');
    }
    expect(seen).toHaveLength(seeded.total);
    expect(new Set(seen).size).toBe(seeded.total);
    expect(seen[0]).toBe(seeded.ugly.scanning);
    expect(seen.at(-1)).toBe('c00000000000001');
    expect(pages).toHaveLength(Math.ceil(seeded.total / 50));
    const back = linkOf((await ask(pages[2]!)).html, 'prev');
    expect(await listed(back!)).toEqual(seen.slice(50, 100));
  });

  it('pages through checks of the same moment', async () => {
    await pb.sql(
      "UPDATE av_build_checks SET created = '2026-01-01 00:00:00.000Z' WHERE id BETWEEN 'c00000000000001' AND 'c00000000000120'",
    );
    const first = '/checks?after=2026-01-01 00:00:00.001Z~c';
    const second = linkOf((await ask(first)).html, 'next')!;
    const both = [...(await listed(first)), ...(await listed(second))];
    expect(both).toEqual(Array.from({ length: 100 }, (_, at) => `c${String(120 - at).padStart(14, '0')}`));
  });

  it.each([
    ['/checks?state=waiting', ['waiting']],
    ['/checks?state=scanning', ['scanning']],
    ['/checks?state=failed', ['unknown', 'failed']],
    ['/checks?reason=engine-reply', ['failed']],
    ['/checks?state=cannot-judge&reason=no-files', ['noFiles']],
  ] as const)('%s shows %j', async (path, names) => {
    const shown = (await listed(path)).filter((id) => id.startsWith('ugly'));
    expect(shown).toEqual(names.map((name) => seeded.ugly[name]));
  });

  it('counts what an honest "cannot judge" is apart from what failed', async () => {
    const { html } = await ask('/checks');
    const text = wordsOf(html);
    expect(text).toMatch(/All 1,210 Waiting 1 Scanning 1 Clean \S+ Infected 4 Cannot judge 4 Failed 3/);
  });

  it('shows the same where a state is so frequent that it is looked for in another way', async () => {
    const query: CheckQuery = { tab: 'clean', reason: '', search: '', from: null };
    const filters = [false, true].map((isFrequent) => filterOf(query, [], { isFrequent }));
    const found = await Promise.all(
      filters.map((filter) => pb.client.collection('av_build_checks').getFullList({ filter, sort: '-created,-id', fields: 'id' })),
    );
    expect(found[0]!.length).toBeGreaterThan(1000);
    expect(found[1]).toEqual(found[0]);
    expect(await listed('/checks?state=clean')).toEqual(found[0]!.slice(0, 50).map(({ id }) => id));
  });

  it.each([
    ['the id of a build', () => seeded.ugly.script, ['script']],
    ['the beginning of an id', () => 'uglyni', ['ninetyNine']],
    ['a part of a file name', () => 'kills-the', ['failed']],
    ['a name not judged yet', () => 'waits-for-its', ['waiting']],
    ['a name in another script', () => 'تقرير', ['rightToLeft']],
    ['a signature', () => 'trojan.agent', ['rightToLeft']],
    ['a hostile signature', () => '"><img src=x', ['script']],
    ['a SHA-256', () => '9'.repeat(64), ['ninetyNine']],
    ['what would break out of a filter', () => "' || id != '", []],
    ['the same with the other quotes', () => '" || id != "', []],
    ['a backslash at the end', () => 'release\\', []],
    ['a pattern', () => 'part%release', []],
  ] as readonly [string, () => string, readonly (keyof Seeded['ugly'])[]][])('finds by %s', async (_, search, names) => {
    const found = await listed(`/checks?q=${encodeURIComponent(search())}`);
    expect(found.sort()).toEqual(names.map((name) => seeded.ugly[name]).sort());
  });

  it('looks at a part of a long list at a time, and goes on from there', async () => {
    const source = new ChecksSource(new Session({ url: pb.url, ...superuser }), { searchSpan: 500 });
    const overview = await source.overview();
    const search = (from: CheckQuery['from']) => source.page({ tab: 'all', reason: '', search: 'app-1.7.5_', from }, overview);
    const first = await search(null);
    expect(first.rows).toEqual([]);
    const second = await search({ direction: 'older', cursor: first.searchedUntil! });
    expect(second.rows.map(({ id }) => id)).toEqual(['c00000000000705']);
    const third = await search({ direction: 'older', cursor: second.searchedUntil! });
    expect([third.rows, third.searchedUntil]).toEqual([[], null]);
  });

  it('keeps what was searched for on the next page, and says so where nothing is found', async () => {
    expect(linkOf((await ask('/checks?q=app-1&state=clean')).html, 'next')).toMatch(/^\/checks\?state=clean&q=app-1&after=/);
    expect(wordsOf((await ask('/checks?q=%3Cb%3Enothing')).html)).toContain('No build, file or finding matches: &lt;b&gt;nothing .');
    expect(await listed('/checks?after=nonsense&state=nonsense')).toHaveLength(50);
  });

  it('lets no name and no signature become markup', async () => {
    for (const path of [
      '/checks',
      '/checks?state=infected',
      ...Object.values(seeded.ugly).map((id) => `/checks/${id}`),
      `/checks/confirm?do=release&id=${seeded.ugly.script}`,
    ]) {
      const { status, html } = await ask(path);
      expect(status).toBe(200);
      expect(html).not.toMatch(/<script>|<img|<b>|[\p{Bidi_Control}]/u);
    }
    const { html } = await ask(`/checks/${seeded.ugly.rightToLeft}`);
    expect(html).toContain(`<bdi>${rightToLeftName.replace('\u202e', '[U+202E]')}</bdi>`);
    expect(wordsOf((await ask(`/checks/${seeded.ugly.script}`)).html)).toContain(
      hostileSignature.replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;'),
    );
  });

  it('leads from a build to its check, and says so where there is none', async () => {
    const answer = await ask('/checks/b00000000000007');
    expect([answer.status, answer.location]).toEqual([303, '/checks/c00000000000007']);
    expect((await ask("/checks/x'%20||%20id!='")).status).toBe(404);
    expect((await ask('/checks/nothere')).status).toBe(404);
  });

  it('offers the files of an open build, and never those of a closed one', async () => {
    expect((await ask(`/checks/${seeded.ugly.ninetyNine}`)).html.match(/\/api\/files\//g)).toHaveLength(99);
    for (const name of ['script', 'waiting', 'longName'] as const)
      expect((await ask(`/checks/${seeded.ugly[name]}`)).html).not.toContain('/api/files/');
  });

  it('tells the numbers of the charts as a table and as JSON', async () => {
    const { html } = await ask('/checks/charts?hours=168');
    expect(wordsOf(html)).toMatch(/4 infected; \d+ could not be judged/);
    const stats = JSON.parse((await ask('/checks/stats.json?hours=168')).html);
    expect(stats.buckets.reduce((sum: number, { infected: found }: { infected: number }) => sum + found, 0)).toBe(4);
    expect(JSON.parse((await ask('/checks/stats.json?hours=9999')).html).hours).toBe(24);
  });

  it('is for those who are logged in', async () => {
    for (const path of ['/checks', '/checks/stats.json', `/checks/${seeded.ugly.script}`])
      expect((await ask(path, {}, 'nobody')).status).toBe(303);
  });

  it('says what is wrong, since when and what to do while PocketBase is away, and recovers', async () => {
    await pb.kill();
    const { status, html } = await ask('/checks', {}, operatorToken);
    expect(status).toBe(503);
    expect(wordsOf(html)).toMatch(
      /The checks cannot be read\. PocketBase .*cannot be reached.* Since just now \. Uploads stay behind the gate/,
    );
    await pb.restart();
    await expect.poll(async () => (await ask('/checks', {}, operatorToken)).status, { timeout: 20_000 }).toBe(200);
  });
});

describe('decisions', () => {
  beforeAll(async () => {
    await start(0);
  });
  afterAll(stop);

  type Judge = typeof infected | typeof clean | typeof unscannable;
  async function judged(judge: Judge): Promise<{ id: string; scan_time: string; build: string }> {
    const build = await upload(pb, { 'a.txt': 'abc' });
    const { checks } = await claim(pb);
    await settle(
      pb,
      checks.map((check) => judge(check)),
    );
    return (await checkOf(pb, build)) as unknown as { id: string; scan_time: string; build: string };
  }
  const order = ({ id, scan_time }: { id: string; scan_time: string }): [string, string] => ['order', `${id}|${scan_time}`];
  const decide = (what: string, orders: [string, string][], reason = 'checked with the vendor', token?: string) =>
    ask('/checks/actions', { method: 'POST', body: new URLSearchParams([['do', what], ['reason', reason], ...orders]) }, token);
  const open = async (id: string) => (await pb.client.collection('av_build_checks').getOne(id))['open'];

  it('says what to do before the first upload', async () => {
    expect(wordsOf((await ask('/checks')).html)).toContain('No build has been uploaded yet. Try npm run demo .');
  });

  it('asks with the name and the finding, then releases and closes again, on record with who and why', async () => {
    const check = await judged(infected);
    const question = await ask(`/checks/confirm?do=release&id=${check.id}`);
    expect(wordsOf(question.html)).toMatch(/Release this build\? .*Test\.Virus-1 in a\w+\.txt/);
    expect(question.html).toContain(`value="${check.id}|${check.scan_time}"`);
    const done = await decide('release', [order(check)]);
    expect(done.status).toBe(200);
    expect(wordsOf(done.html)).toContain('1 released');
    expect(await open(check.id)).toBe(true);
    expect((await decide('revoke', [order(check)], 'it was a mistake')).status).toBe(200);
    expect(await open(check.id)).toBe(false);
    const page = wordsOf((await ask(`/checks/${check.id}`)).html);
    expect(page).toMatch(
      /Closed again by warden@example\.com : it was a mistake .*Released by warden@example\.com : checked with the vendor .*Infected Test\.Virus-1 .*Uploaded\./,
    );
    expect(console.events('checks-decided').at(-1)).toMatchObject({
      decision: 'revoke',
      operator: 'warden@example.com',
      done: [check.id],
      refused: [],
    });
  });

  it('finds a file whose name looks like an id', async () => {
    const build = await upload(pb, { 'installersetup1.exe': 'abc' });
    expect(await listed('/checks?q=installersetup1')).toEqual([(await checkOf(pb, build)).id]);
    await settle(
      pb,
      (await claim(pb)).checks.map((check) => clean(check)),
    );
  });

  it('decides about several at once and says of each what came of it', async () => {
    const [found, unsure, good] = [await judged(infected), await judged(unscannable), await judged(clean)];
    const question = await ask(`/checks/confirm?do=release&id=${found.id}&id=${unsure.id}&id=${good.id}`);
    expect(wordsOf(question.html)).toMatch(/about 2 builds.*Left out .*Only a build that was found infected/);
    const done = await decide('release', [order(found), order(unsure), order(good), ['order', `nothere|${found.scan_time}`]]);
    expect(done.status).toBe(409);
    expect(wordsOf(done.html)).toMatch(/2 released, 2 could not .*Only a build that was found infected.*This check is gone/);
    expect([await open(found.id), await open(unsure.id)]).toEqual([true, true]);
    const again = await decide('rescan', [order(found), order(good)]);
    expect(wordsOf(again.html)).toContain('2 will be scanned again');
    expect(wordsOf((await ask(`/checks/${good.id}`)).html)).toContain(
      'Another scan asked for by warden@example.com : checked with the vendor',
    );
  });

  it('refuses a decision about a scan that is no longer the last one', async () => {
    const check = await judged(infected);
    const done = await decide('release', [['order', `${check.id}|2020-01-01 00:00:00.000Z`]]);
    expect([done.status, wordsOf(done.html).includes('This build was scanned again.')]).toEqual([409, true]);
    expect(await open(check.id)).toBe(false);
  });

  it('is told apart by a fingerprint after each step of a check, and stays the same in between', async () => {
    const none = { info: () => {}, warn: () => {} } as unknown as Parameters<typeof createChecksPages>[0]['log'];
    const pages = createChecksPages({
      session: new Session({ url: pb.url, ...superuser }),
      pocketbaseUrl: pb.url,
      pocketbasePublicUrl: pb.url,
      scanner: null,
      log: none,
    });
    const [{ topic, fingerprint }] = pages.live as [LiveSource];
    expect(topic).toBe('checks');
    const seen = [await fingerprint()];
    const step = async (work: () => Promise<unknown>) => {
      expect(await fingerprint()).toBe(seen.at(-1));
      await work();
      seen.push(await fingerprint());
    };
    await step(() => upload(pb, { 'a.txt': 'abc' }));
    let checks: Awaited<ReturnType<typeof claim>>['checks'] = [];
    await step(async () => ({ checks } = await claim(pb)));
    await step(() =>
      settle(
        pb,
        checks.map((check) => infected(check)),
      ),
    );
    const check = (await pb.client.collection('av_build_checks').getOne(checks[0]!.id)) as unknown as { id: string; scan_time: string };
    await step(() => decide('release', [order(check)]));
    await step(() => decide('rescan', [order(check)]));
    expect(new Set(seen).size).toBe(6);
  });

  it('wants a reason, and a whole form', async () => {
    const check = await judged(infected);
    for (const reason of ['', '  x ']) {
      const refused = await decide('release', [order(check)], reason);
      expect([refused.status, wordsOf(refused.html).includes('Say why in at least three characters')]).toEqual([422, true]);
    }
    expect((await decide('release', [])).status).toBe(400);
    expect((await decide('format', [order(check)])).status).toBe(400);
    expect((await decide('release', [['order', "x' || ''='|"]])).status).toBe(400);
    expect((await ask('/checks/confirm?do=release')).status).toBe(422);
    expect(await open(check.id)).toBe(false);
  });

  it('lets the operator token read and change nothing, and says why', async () => {
    const check = await judged(infected);
    for (const path of ['/checks', `/checks/${check.id}`, `/checks/confirm?do=release&id=${check.id}`]) {
      const { html } = await ask(path, {}, operatorToken);
      expect(wordsOf(html)).toContain('Log in as a PocketBase superuser to change them.');
      const buttons = [...mainOf(html).matchAll(/<button[^>]*(?:name="do"|type="submit" class="button danger")[^>]*>/g)].map(
        ([button]) => button,
      );
      expect(buttons.length).toBeGreaterThan(0);
      for (const button of buttons) expect(button).toContain('disabled');
    }
    expect((await decide('release', [order(check)], undefined, operatorToken)).status).toBe(422);
    expect(await open(check.id)).toBe(false);
  });
});
