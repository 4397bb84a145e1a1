import { mkdtemp, readdir, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/harness/eventually.ts';
import { fakePublication, fakeRecord } from '../../trivy-db/fakes.ts';
import { BuilderRefusal, type BuildRecord, type PhaseRecord } from '../../trivy-db/model.ts';
import { type FakeConsole, fakeConsole } from './fakes.ts';

const [older, newer] = ['20261121T150000Z-000001', '20261121T160000Z-000002'];
const holder = { pid: 4711, host: 'builder-<1>', buildId: newer, since: '2026-11-21T16:00:00.000Z' };
const phase = (name: PhaseRecord['name'], changes: Partial<PhaseRecord> = {}): PhaseRecord => ({
  name,
  startedAt: '2026-11-21T16:00:00.000Z',
  endedAt: '2026-11-21T16:00:40.000Z',
  exitCode: 0,
  signal: null,
  detail: `did ${name}`,
  progress: 1,
  ...changes,
});
const running = (): BuildRecord =>
  fakeRecord(newer, {
    outcome: null,
    endedAt: null,
    phases: [phase('fetch'), phase('build', { endedAt: null, exitCode: null, detail: '[nvd] Updating', progress: 0.25 })],
  });

let it_: FakeConsole;
beforeEach(() => {
  it_ = fakeConsole();
});
afterEach(() => it_.stop());

const get = async (path: string, headers: Record<string, string> = {}) => {
  const answer = await it_.app.request(path, { headers });
  return { status: answer.status, headers: answer.headers, text: await answer.text() };
};
const post = async (path: string, fields: Record<string, string> = {}) => {
  const answer = await it_.app.request(path, { method: 'POST', body: new URLSearchParams({ csrf: 'of-this-session', ...fields }) });
  return { status: answer.status, to: answer.headers.get('location'), text: await answer.text() };
};
const buttonOf = (text: string, label: string) => new RegExp(`<button[^>]*>${label}</button>`).exec(text)?.[0] ?? '';

describe('a log with the longest lines', () => {
  it('is shown as far as it was asked for, over several answers', async () => {
    it_.logs.begin(newer);
    it_.logs.write(newer, ...Array.from({ length: 320 }, () => 'x'.repeat(64 * 1024)));
    const { text } = await get(`/trivy-db/builds/${newer}/rows?from=121&to=320`);
    expect(JSON.parse(text)).toMatchObject({ from: 121, to: 320, total: 320 });
    expect(it_.asked.length).toBeGreaterThan(5);
  });
});

describe('a download', () => {
  it('that is only looked at is not left open', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'trivy-db-head-'));
    try {
      it_.builder.publication = await fakePublication(join(folder, 'a'), Buffer.alloc(1_000_000));
      const answer = await it_.app.request('/trivy-db/download/db', { method: 'HEAD' });
      expect([answer.status, answer.headers.get('content-length')]).toEqual([200, '1000000']);
      await eventually('the file is closed', async () => !(await openFiles()).some((path) => path.startsWith(folder)));
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

async function openFiles(): Promise<string[]> {
  const links = await readdir('/proc/self/fd');
  return Promise.all(links.map((name) => readlink(`/proc/self/fd/${name}`).catch(() => '')));
}

describe('the Trivy DB page', () => {
  it('says what to do before the first build', async () => {
    const { status, text } = await get('/trivy-db');
    expect(status).toBe(200);
    expect(text).toContain('Nothing is published yet. Build the database');
    expect(text).toContain('No build yet.');
    expect(buttonOf(text, 'Build database')).not.toContain('disabled');
    expect(buttonOf(text, 'Stop build')).toContain('disabled');
    expect(buttonOf(text, 'Clear stale lock')).toContain('disabled');
    expect(text).toContain('There is no lock to clear.');
  });

  it('shows a running build with its phases, its holder and its log', async () => {
    it_.builder.records = [running()];
    it_.builder.now = { ...it_.builder.now, status: 'running', running: running(), lock: { kind: 'held', holder } };
    it_.logs.begin(newer);
    it_.logs.write(newer, 'first <line>');
    const { text } = await get('/trivy-db');
    expect(text).toContain('2 of 5, build. 25 %.');
    expect(text).toContain('aria-current="step"');
    expect(text).toContain('value="0.25"');
    expect(text).toContain('process <span class="num">4711</span> on <span class="wrap">builder-&lt;1&gt;</span>');
    expect(text).toContain('first &lt;line&gt;');
    expect(text).toContain(`data-log="/trivy-db/builds/${newer}"`);
    expect(buttonOf(text, 'Build database')).toContain('disabled');
    expect(text).toContain('One build at a time');
    expect(text).toContain('A lock in use is never cleared');
  });

  it('offers to clear a lock only when its holder is gone', async () => {
    it_.builder.now = { ...it_.builder.now, status: 'stale_lock', lock: { kind: 'stale', holder } };
    const stale = (await get('/trivy-db')).text;
    expect(buttonOf(stale, 'Clear stale lock')).not.toContain('disabled');
    expect(buttonOf(stale, 'Build database')).not.toContain('disabled');
    it_.builder.now = { ...it_.builder.now, status: 'running', lock: { kind: 'unknown', holder: null, why: 'The file cannot be read.' } };
    const unknown = (await get('/trivy-db')).text;
    expect(buttonOf(unknown, 'Clear stale lock')).toBe('');
    expect(unknown).toContain('Clear this lock…');
    expect(unknown).toContain('No build begins: The file cannot be read.');
    expect(buttonOf(unknown, 'Build database')).toContain('disabled');
  });

  it('shows a build of another process, which cannot be stopped from here', async () => {
    it_.builder.records = [running()];
    it_.builder.now = { ...it_.builder.now, status: 'running', lock: { kind: 'held', holder } };
    const { text } = await get('/trivy-db');
    expect(text).toContain('Process 4711 on builder-&lt;1&gt; builds since');
    expect(text).toContain('aria-current="step"');
    expect(buttonOf(text, 'Stop build')).toContain('disabled');
    expect(text).toContain('Stop it where it runs.');
  });

  it('shows the error of the last build', async () => {
    const failed = fakeRecord(newer, {
      outcome: 'failed',
      error: 'The disk is full: <free> 10 GiB.',
      phases: [phase('fetch', { exitCode: 1 })],
    });
    it_.builder.records = [failed];
    it_.builder.now = { ...it_.builder.now, status: 'error', last: failed };
    const { text } = await get('/trivy-db');
    expect(text).toContain('The disk is full: &lt;free&gt; 10 GiB.');
    expect(text).toContain('exit code 1');
  });

  it('offers every kept build but the published one for a roll back', async () => {
    it_.builder.records = [fakeRecord(newer, { isKept: true }), fakeRecord(older, { isKept: true }), fakeRecord('20261121T140000Z-000000')];
    it_.builder.publication = await publicationOf(newer);
    const { text } = await get('/trivy-db');
    expect(text).toContain(`action="/trivy-db/builds/${older}/publish"`);
    expect(text).not.toContain(`action="/trivy-db/builds/${newer}/publish"`);
    expect(text).toContain('No longer kept');
    expect(text).toContain('Trivy clients consider it');
    expect(text).toContain('href="/trivy-db/download/db"');
  });

  it('names the registry by PUBLIC_URL, or by the Host of the request', async () => {
    expect((await get('/trivy-db', { host: '10.0.0.7:8080' })).text).toContain(
      'trivy image --db-repository 10.0.0.7:8080/trivy-db:2 alpine:3.20',
    );
    expect((await get('/trivy-db', { host: '"><script>' })).text).not.toContain('"><script>');
    const published = fakeConsole(null, 'https://pw.example.com');
    const text = await (await published.app.request('/trivy-db')).text();
    expect(text).toContain('trivy image --db-repository pw.example.com/trivy-db:2 alpine:3.20');
    expect(text).toContain('Trivy reaches this address by TLS');
  });

  it('pages through older builds', async () => {
    it_.builder.records = Array.from({ length: 45 }, (_, index) => fakeRecord(`20261121T${String(100 - index).padStart(6, '0')}Z-aaaaaa`));
    const { text } = await get('/trivy-db');
    const next = /href="(\/trivy-db\?before=[^"#]+)/.exec(text)?.[1] ?? '';
    expect((await get(next)).text).toContain('20261121T000090Z-aaaaaa');
    expect((await get(`/trivy-db?before=${encodeURIComponent("'><b>")}`)).status).toBe(200);
  });

  it('says since when the role does not answer, and what to do', async () => {
    it_.breakdown = new Error('ECONNREFUSED');
    const { status, text } = await get('/trivy-db');
    expect(status).toBe(502);
    expect(text).toContain('The Trivy DB role does not answer.');
    expect(text).toContain('TRIVY_DB_URL');
    const since = /<time datetime="([^"]+)"/.exec(text)?.[1];
    expect(/<time datetime="([^"]+)"/.exec((await get('/trivy-db')).text)?.[1]).toBe(since);
  });
});

describe('what operators can do', () => {
  it.each([
    ['/trivy-db/build', {}, 'start by ana@example.com', '/trivy-db?done=started'],
    ['/trivy-db/clear-lock', {}, 'clear-lock by ana@example.com', '/trivy-db?done=cleared'],
    [`/trivy-db/builds/${older}/publish`, {}, `publish ${older} by ana@example.com`, `/trivy-db/builds/${older}?done=published`],
    ['/trivy-db/cancel', { build: newer }, 'cancel by ana@example.com', '/trivy-db?done=stopped'],
  ])('%s', async (path, fields, asked, to) => {
    it_.builder.now = { ...it_.builder.now, running: running() };
    expect(await post(path, fields)).toMatchObject({ status: 303, to });
    expect(it_.builder.asked).toEqual([asked]);
    expect(it_.asked.find(({ what }) => what.startsWith('POST'))?.by).toBe(encodeURIComponent('ana@example.com'));
  });

  it('answers a refusal with the page and the reason', async () => {
    it_.builder.refusal = new BuilderRefusal('busy', 'Another build runs: wait for <it>.');
    const { status, text } = await post('/trivy-db/build');
    expect(status).toBe(409);
    expect(text).toContain('Another build runs: wait for &lt;it&gt;.');
    expect(text).toContain('<h1>Trivy DB</h1>');
  });

  it('stops no other build than the one that was looked at', async () => {
    it_.builder.now = { ...it_.builder.now, running: running() };
    expect((await post('/trivy-db/cancel', { build: older })).status).toBe(409);
    expect(it_.builder.asked).toEqual([]);
  });

  it('publishes nothing under a name that is no id', async () => {
    expect((await post(`/trivy-db/builds/${encodeURIComponent('../x')}/publish`)).status).toBe(409);
    expect(it_.builder.asked).toEqual([]);
  });
});

describe('the page of a build', () => {
  it('shows its record: who, phases, rows by source, error, last lines', async () => {
    const bySource = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`source-${index}`, 100 - index]));
    it_.builder.records = [
      fakeRecord(older, {
        startedBy: '<ana>',
        outcome: 'failed',
        error: 'Look at the log.',
        exitCode: 1,
        lastLines: ['\x1b[31mlast\x1b[0m <line>\u202e'],
        phases: [phase('fetch'), phase('build', { exitCode: 1, detail: '<b>' })],
        rows: { total: 1134, bySource },
      }),
    ];
    const { status, text } = await get(`/trivy-db/builds/${older}`);
    expect(status).toBe(200);
    expect(text).toContain('Started by &lt;ana&gt;');
    expect(text).toContain('last &lt;line&gt;[U+202E]');
    expect(text).toContain('4 more sources');
    expect(text).toContain('1,134');
    expect(text).toContain('exit code 1');
    expect(text).toContain('The log of this build is no longer kept.');
  });

  it('says that there is none', async () => {
    for (const id of ['none', encodeURIComponent('<b>'), '%2e%2e']) {
      const { status, text } = await get(`/trivy-db/builds/${id}`);
      expect(status).toBe(404);
      expect(text).not.toContain('<b>');
    }
  });
});

describe('a log without script', () => {
  beforeEach(() => {
    it_.builder.records = [fakeRecord(older)];
    it_.logs.begin(older);
    it_.logs.write(
      older,
      ...Array.from({ length: 1000 }, (_, index) => `line number ${index + 1}${index % 100 === 41 ? ' \x1b[31mneedle' : ''}`),
    );
  });
  const numbersOf = (text: string) => [...text.matchAll(/id="L(\d+)"/g)].map(([, number]) => Number(number));
  const rangeOf = async (query: string) => {
    const numbers = numbersOf((await get(`/trivy-db/builds/${older}${query}`)).text);
    return [numbers[0], numbers.at(-1), numbers.length];
  };

  it('shows its end, and the way to the rest', async () => {
    expect(await rangeOf('')).toEqual([801, 1000, 200]);
    const { text } = await get(`/trivy-db/builds/${older}`);
    expect(text).toContain(`href="/trivy-db/builds/${older}?before=801#log"`);
    expect(await rangeOf('?before=801')).toEqual([601, 800, 200]);
    expect(await rangeOf('?after=600')).toEqual([601, 800, 200]);
    expect(await rangeOf('?before=50')).toEqual([1, 49, 49]);
    expect(await rangeOf('?after=1000')).toEqual([1000, 1000, 1]);
  });

  it('shows the lines around one', async () => {
    expect(await rangeOf('?line=500')).toEqual([400, 599, 200]);
    expect((await get(`/trivy-db/builds/${older}?line=500`)).text).toContain('log-target" id="L500"');
    expect((await rangeOf('?line=99999999'))[1]).toBe(1000);
    expect(await rangeOf('?line=1e3')).toEqual([801, 1000, 200]);
  });

  it('searches, also behind colours', async () => {
    const { text } = await get(`/trivy-db/builds/${older}?q=NEEDLE`);
    expect(numbersOf(text)).toEqual([42, 142, 242, 342, 442, 542, 642, 742, 842, 942]);
    expect(text).toContain('10 lines of 1,000 have “NEEDLE”.');
    expect((await get(`/trivy-db/builds/${older}?q=${encodeURIComponent('"><script>')}`)).text).not.toContain('"><script>');
  });
});

describe('what the log view asks for', () => {
  it('rows and matches as JSON, bounded', async () => {
    it_.logs.begin(older);
    it_.logs.write(older, ...Array.from({ length: 3000 }, (_, index) => `n ${index + 1}`));
    const rows = JSON.parse((await get(`/trivy-db/builds/${older}/rows?from=1000&to=999999`)).text);
    expect(rows).toMatchObject({ from: 1000, to: 1499, total: 3000, startsFolded: false });
    const found = JSON.parse((await get(`/trivy-db/builds/${older}/search?q=N%2029`)).text);
    expect(found).toMatchObject({ total: 3000, next: null });
    expect(found.lines).toHaveLength(111);
    expect((await get('/trivy-db/builds/none/rows')).status).toBe(404);
    it_.breakdown = new Error('gone');
    expect((await get(`/trivy-db/builds/${older}/rows`)).status).toBe(502);
  });

  it('a whole line of a megabyte, on demand', async () => {
    it_.logs.begin(older);
    it_.logs.write(older, 'x'.repeat(1_000_000));
    expect((await get(`/trivy-db/builds/${older}/rows?from=1&to=1`)).text.length).toBeLessThan(5000);
    expect((await get(`/trivy-db/builds/${older}/rows?from=1&to=1&whole=1`)).text.length).toBeGreaterThan(1_000_000);
  });

  it('how many lines there are, as they come, until the end', async () => {
    it_.builder.records = [running()];
    it_.logs.begin(newer);
    it_.logs.write(newer, 'one', 'two');
    const answer = await it_.app.request(`/trivy-db/builds/${newer}/stream?after=1`);
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    const until = async (wanted: string) => {
      while (!text.includes(wanted)) text += (await reader.read()).value ?? '';
    };
    await until('event: total\ndata: 2\n');
    it_.logs.write(newer, 'id: 20261121T160000Z-000002:99', 'z'.repeat(1_000_000));
    await until('event: total\ndata: 4\n');
    expect(text).not.toContain('99');
    it_.logs.end(newer);
    await until('event: end\n');
    expect(text.length).toBeLessThan(1000);
    expect(it_.logs.followers).toBe(0);
  });

  it('leaves the builder when the reader leaves', async () => {
    it_.builder.records = [running()];
    it_.logs.begin(newer);
    it_.logs.write(newer, 'one');
    const answer = await it_.app.request(`/trivy-db/builds/${newer}/stream`);
    const reader = answer.body!.getReader();
    await reader.read();
    await reader.cancel();
    await expect.poll(() => it_.logs.followers).toBe(0);
  });
});

describe('the overview', () => {
  it('hears what deserves a look', async () => {
    expect(await it_.pages.attention()).toEqual([]);
    expect(await it_.pages.summary()).toMatchObject({ tone: 'ok', isBusy: false, toLookAt: 0 });
    it_.builder.now = { ...it_.builder.now, status: 'stale_lock', lock: { kind: 'stale', holder } };
    it_.builder.publication = await publicationOf(newer, '2020-01-01T00:00:00Z');
    expect((await it_.pages.attention()).map(({ what }) => what)).toEqual([
      expect.stringContaining('left its lock'),
      expect.stringContaining('older than its interval'),
    ]);
    it_.breakdown = new Error('gone');
    expect(await it_.pages.attention()).toMatchObject([{ tone: 'bad', what: 'The Trivy DB role does not answer.' }]);
    expect(await it_.pages.summary()).toMatchObject({ tone: 'bad', toLookAt: 1 });
  });

  it('is told of changes by the fingerprint', async () => {
    const before = await it_.pages.live[0]!.fingerprint();
    await post('/trivy-db/build');
    it_.builder.now = { ...it_.builder.now, status: 'running', running: running() };
    await post('/trivy-db/clear-lock');
    expect(await it_.pages.live[0]!.fingerprint()).not.toBe(before);
  });
});

async function publicationOf(buildId: string, nextUpdate = '2999-01-01T00:00:00Z') {
  const metadata = Buffer.from(JSON.stringify({ Version: 2, NextUpdate: nextUpdate, UpdatedAt: '2026-11-21T16:00:00Z' }));
  const archive = { path: '/nonexistent', size: 444, digest: 'sha256:aa' };
  const at = '2026-11-21T16:10:00.000Z';
  return {
    buildId,
    publishedAt: at,
    archive,
    metadata,
    databaseBytes: 65_536,
    builtAt: at,
    manifest: Buffer.from('{}'),
    digest: 'sha256:bb',
  };
}
