/** An older database under the journal of closings: what was found since is closed before anything is served. */
import { createHmac } from 'node:crypto';
import { appendFile, cp, mkdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { HealthAnswer } from '../../pb_hooks/lib/wire.ts';
import { type Build, checkOf, claim, clean, clearAll, download, infected, settle, unscannable, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { freePort, preparePocketBase, type RunningPocketBase, servePocketBase, startPocketBase } from '../harness/pocketbase.ts';

/** How far the sweep has come: it remembers that a moment after it has written it down. */
const headHook = `routerAdd('GET', '/host/journal-head', (e) => e.json(200, JSON.parse($app.store().get('av.journal.head') || '{}')))`;

async function started(): Promise<RunningPocketBase> {
  const pb = await startPocketBase({ hooks: { 'head.pb.js': headHook } });
  onTestFinished(() => pb.stop());
  return pb;
}

const journalOf = (pb: RunningPocketBase) => join(pb.dir, 'pb_data.av_journal', 'closings.log');
const linesOf = async (pb: RunningPocketBase) =>
  (await readFile(journalOf(pb), 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line.slice(line.indexOf(' ') + 1)) as { kind: string; build?: string; seq: number });
const healthOf = (pb: RunningPocketBase): Promise<HealthAnswer> => pb.client.send('/api/av/health', {});
const aboutJournal = async (pb: RunningPocketBase) => (await healthOf(pb)).problems.filter((problem) => /journal/.test(problem));
const sweep = (pb: RunningPocketBase) => pb.client.crons.run('av-sweep');
const historyOf = async (pb: RunningPocketBase) =>
  (await pb.client.collection('av_scan_history').getFullList({ sort: 'seq' })).map(
    (row) => JSON.parse(row['entry']) as { event: string; build: string; open?: boolean; wasOpen?: boolean; note?: string },
  );

/** A build that is open. */
async function cleared(pb: RunningPocketBase, content = 'good'): Promise<Build> {
  const build = await upload(pb, { 'a.txt': content });
  await clearAll(pb);
  return build;
}

/** Scanned again, with another end. */
async function rescan(pb: RunningPocketBase, build: Build, verdict: typeof infected | typeof unscannable | typeof clean): Promise<void> {
  await pb.client.send(`/api/av/checks/${(await checkOf(pb, build)).id}/rescan`, { method: 'POST', body: { reason: 'new signatures' } });
  await settle(pb, [verdict((await claim(pb, { max: 1 })).checks[0]!)]);
}

const decide = async (pb: RunningPocketBase, build: Build, what: 'release' | 'revoke') =>
  pb.client.send(`/api/av/checks/${(await checkOf(pb, build)).id}/${what}`, { method: 'POST', body: { reason: 'seen to' } });

/** Keeps a copy of the stopped database; `restore` puts it in the place of what is there then. */
async function backedUp(pb: RunningPocketBase): Promise<{ restore(): Promise<void> }> {
  await pb.kill('SIGTERM');
  const [data, copy] = [join(pb.dir, 'pb_data'), join(pb.dir, 'copy')];
  await cp(data, copy, { recursive: true });
  await pb.restart();
  return {
    async restore() {
      await pb.kill('SIGTERM');
      await rm(data, { recursive: true });
      await cp(copy, data, { recursive: true });
    },
  };
}

describe('a restored older database', () => {
  it('has every build closed in which something was found since, before anything is served', async () => {
    const pb = await started();
    const names = ['found', 'unjudged', 'released', 'kept', 'cleanAgain'] as const;
    const builds = {} as Record<(typeof names)[number], Build>;
    for (const name of names) builds[name] = await cleared(pb, name);
    await rescan(pb, builds.released, infected);
    await decide(pb, builds.released, 'release');
    const { restore } = await backedUp(pb);
    for (const name of names) expect((await download(pb, builds[name])).status, name).toBe(200);

    await rescan(pb, builds.found, infected);
    await rescan(pb, builds.unjudged, unscannable);
    await decide(pb, builds.released, 'revoke');
    await rescan(pb, builds.cleanAgain, clean);
    const young = await upload(pb, { 'a.txt': 'new' });
    await settle(pb, [infected((await claim(pb, { max: 1 })).checks[0]!)]);
    await restore();

    // The very first answers after the start, whoever asks: nobody waits for a sweep.
    const answers: Promise<string[]>[] = [];
    const asking = setInterval(() => {
      const closed = [builds.found, builds.unjudged, builds.released];
      answers.push(Promise.all(closed.map((build) => download(pb, build).then(({ status, body }) => `${status} ${body}`))).catch(() => []));
    }, 5);
    await pb.restart().finally(() => clearInterval(asking));
    for (const answer of (await Promise.all(answers)).flat()) expect(answer).toMatch(/^403 .*scan_pending/);
    expect((await Promise.all(answers)).flat().length).toBeGreaterThan(0);

    for (const name of ['found', 'unjudged', 'released'] as const) {
      expect(await checkOf(pb, builds[name]), name).toMatchObject({
        status: 'pending',
        open: false,
        released_by: '',
        files: null,
        log: expect.stringMatching(/^judged .*\n(.*\n)*.*Z The database is older than a finding/),
      });
      expect(await download(pb, builds[name]), name).toMatchObject({ status: 403, code: 'scan_pending' });
    }
    for (const name of ['kept', 'cleanAgain'] as const) expect((await download(pb, builds[name])).status, name).toBe(200);
    await expect(checkOf(pb, young)).rejects.toMatchObject({ status: 404 });

    const restored = (await historyOf(pb)).filter(({ event }) => event === 'restored');
    expect(restored).toHaveLength(4);
    expect(restored[0]).toMatchObject({ build: '', note: expect.stringContaining('the database is older') });
    expect(
      restored
        .slice(1)
        .map(({ build }) => build)
        .sort(),
    ).toEqual([builds.found.id, builds.unjudged.id, builds.released.id].sort());
    for (const row of restored.slice(1)) expect(row).toMatchObject({ wasOpen: true, open: false, status: 'pending' });
    expect(await pb.client.send('/api/av/history/verify', {})).toMatchObject({ ok: true });
    expect(await aboutJournal(pb)).toEqual([expect.stringContaining('3 builds were closed again')]);

    // Once judged again they are what they are, also after the next start.
    await settle(pb, (await claim(pb, { max: 10 })).checks.map(clean));
    await pb.kill('SIGKILL');
    await pb.restart();
    expect((await download(pb, builds.found)).status).toBe(200);
    expect((await historyOf(pb)).filter(({ event }) => event === 'restored')).toHaveLength(4);
  });

  it('is noticed again when yet another one is put back, of before or after the first', async () => {
    const pb = await started();
    const first = await cleared(pb, 'first');
    const older = await backedUp(pb);
    const second = await cleared(pb, 'second');
    await pb.kill('SIGTERM');
    await cp(join(pb.dir, 'pb_data'), join(pb.dir, 'newer'), { recursive: true });
    await pb.restart();
    await rescan(pb, second, infected);
    await older.restore();
    await pb.restart();
    await expect(checkOf(pb, second)).rejects.toMatchObject({ status: 404 });
    expect((await download(pb, first)).status).toBe(200);
    await pb.kill('SIGTERM');
    await rm(join(pb.dir, 'pb_data'), { recursive: true });
    await cp(join(pb.dir, 'newer'), join(pb.dir, 'pb_data'), { recursive: true });
    await pb.restart();
    expect(await download(pb, second)).toMatchObject({ status: 403, code: 'scan_pending' });
    expect((await download(pb, first)).status).toBe(200);
  });

  it('through PocketBase’s own backup and restore, while downloads go on', async () => {
    const pb = await started();
    const build = await cleared(pb);
    const kept = await cleared(pb, 'kept');
    await pb.client.backups.create('before.zip');
    await rescan(pb, build, infected);
    expect(await download(pb, build)).toMatchObject({ status: 403, code: 'scan_infected' });
    await pb.client.backups.restore('before.zip');
    const seen = new Set<string>();
    await eventually('the restored PocketBase serves', async () => {
      const answer = await download(pb, build);
      seen.add(`${answer.status} ${answer.code}`);
      return answer.code === 'scan_pending';
    });
    expect(seen).not.toContain('200 undefined');
    expect((await download(pb, kept)).status).toBe(200);
    expect((await historyOf(pb)).at(-1)).toMatchObject({ event: 'restored', build: build.id });
  });

  it('keeps PocketBase from serving where the closing cannot be put on record', async () => {
    const folder = await preparePocketBase();
    const pb = await servePocketBase(folder);
    onTestFinished(() => pb.stop());
    const build = await cleared(pb);
    const { restore } = await backedUp(pb);
    await rescan(pb, build, infected);
    await restore();
    folder.setEnv({ AV_HISTORY_KEY: '' });
    const { code, output } = await folder.run(['serve', `--http=127.0.0.1:${await freePort()}`]);
    expect(output).toContain('AV_HISTORY_KEY is not set');
    expect(code).not.toBe(0);
    folder.setEnv({ AV_HISTORY_KEY: 'test history key' });
    await pb.restart();
    expect(await download(pb, build)).toMatchObject({ status: 403, code: 'scan_pending' });
  });

  it.each([
    ['a tail cut off', 'the sweep', 'DELETE FROM av_scan_history WHERE seq >= 2'],
    ['a tail cut off', 'the next start', 'DELETE FROM av_scan_history WHERE seq >= 2'],
    ['other rows in the place of a tail', 'the sweep', 'UPDATE av_scan_history SET hash = lower(hex(randomblob(32))) WHERE seq >= 2'],
    ['a finding taken out', 'the next start', 'DELETE FROM av_scan_history WHERE seq = 3'],
  ])('%s, with the gate opened by SQL, is noticed by %s', async (_, who, sql) => {
    const pb = await started();
    const build = await cleared(pb);
    await rescan(pb, build, infected);
    // The head of the journal is moved on by the sweep alone.
    await sweep(pb);
    await eventually('the sweep has seen the last row', async () => (await pb.client.send('/host/journal-head', {})).seq === 3);
    await pb.sql("UPDATE av_build_checks SET open = TRUE, status = 'clean'");
    await pb.sql(sql);
    expect((await download(pb, build)).status).toBe(200);
    if (who === 'the next start') await pb.kill().then(pb.restart);
    await eventually('it is closed', async () => {
      // Again: the one before may not have come to its end.
      if (who === 'the sweep') await sweep(pb);
      return (await download(pb, build)).code === 'scan_pending';
    });
  });
});

/** A line as only who has the key can write it. */
function line(content: object, key = 'test history key'): string {
  const text = JSON.stringify(content);
  return `\n${createHmac('sha256', key).update(`journal ${text}`).digest('hex')} ${text}\n`;
}

describe('the journal of closings', () => {
  it('is written for what closes alone, at once, and not for the first verdict on a build that was never open', async () => {
    const pb = await started();
    await cleared(pb);
    await upload(pb, { 'a.txt': 'bad' });
    await settle(pb, [infected((await claim(pb, { max: 1 })).checks[0]!)]);
    expect(await linesOf(pb)).toEqual([{ kind: 'head', seq: 0, hash: '' }]);
    const build = await cleared(pb, 'later');
    await rescan(pb, build, infected);
    expect((await linesOf(pb)).slice(1)).toEqual([
      { kind: 'closed', build: build.id, seq: 5, hash: expect.stringMatching(/^[0-9a-f]{64}$/) },
    ]);
    await pb.client.collection('app_builds').delete(build.id);
    expect((await linesOf(pb)).at(-1)).toMatchObject({ kind: 'closed', build: build.id, seq: 6 });
  });

  it('catches up with what a kill kept from it, and folds what it says twice', async () => {
    const pb = await started();
    const build = await cleared(pb);
    await rescan(pb, build, infected);
    await rescan(pb, build, infected);
    await pb.kill();
    await writeFile(journalOf(pb), line({ kind: 'head', seq: 0, hash: '' }));
    await pb.restart();
    expect((await linesOf(pb)).filter(({ kind }) => kind === 'closed').map(({ seq }) => seq)).toEqual([3, 5]);
    await pb.kill();
    await pb.restart();
    expect(await linesOf(pb)).toMatchObject([
      { kind: 'closed', build: build.id, seq: 5 },
      { kind: 'head', seq: 5 },
    ]);
    expect(await aboutJournal(pb)).toEqual([]);
  });

  it('takes a torn last line for what it is, and damage for a reason to say so and to be made again', async () => {
    const pb = await started();
    const build = await cleared(pb);
    await rescan(pb, build, infected);
    await pb.kill();
    const whole = await readFile(journalOf(pb), 'utf8');
    await truncate(journalOf(pb), whole.length - 20);
    await pb.restart();
    expect(await aboutJournal(pb)).toEqual([]);
    expect((await linesOf(pb)).some((each) => each.build === build.id)).toBe(true);
    await pb.kill();
    await writeFile(journalOf(pb), `${whole.replaceAll('closed', 'opened')}${line({ kind: 'head', seq: 1, hash: 'x' }, 'another key')}`);
    await pb.restart();
    expect(await aboutJournal(pb)).toEqual([expect.stringMatching(/^2 lines of the journal .* could not be read, so it is made again/)]);
    expect((await linesOf(pb)).some((each) => each.build === build.id)).toBe(true);
    expect((await download(pb, build)).code).toBe('scan_infected');
  });

  it('lets no stranger close a build, and closes all where it cannot know which', async () => {
    const pb = await started();
    const [one, two] = [await cleared(pb, 'one'), await cleared(pb, 'two')];
    const lost = { kind: 'closed', build: one.id, seq: 9, hash: 'a'.repeat(64) };
    await pb.kill();
    await appendFile(journalOf(pb), line(lost, 'a guess'));
    await pb.restart();
    for (const build of [one, two]) expect((await download(pb, build)).status).toBe(200);
    await pb.kill();
    await appendFile(journalOf(pb), line(lost));
    await pb.restart();
    expect([(await download(pb, one)).status, (await download(pb, two)).status]).toEqual([403, 200]);
    await clearAll(pb);
    await pb.kill();
    await appendFile(journalOf(pb), line({ kind: 'floor', seq: 900, hash: 'b'.repeat(64) }));
    await pb.restart();
    for (const build of [one, two]) expect((await download(pb, build)).status).toBe(403);
    await clearAll(pb);
    await pb.kill();
    await appendFile(journalOf(pb), `${line({ ...lost, seq: 1000 })}\nnonsense\n`);
    await pb.restart();
    for (const build of [one, two]) expect((await download(pb, build)).status).toBe(403);
    await clearAll(pb);
    for (const build of [one, two]) expect((await download(pb, build)).status).toBe(200);
  });

  it.each([
    [
      'a full disk',
      async (folder: string) => {
        await rm(folder, { recursive: true, force: true });
        await mkdir(folder, { recursive: true });
        await symlink('/dev/full', join(folder, 'closings.log'));
      },
    ],
    [
      'a folder that is none',
      async (folder: string) => {
        await rm(folder, { recursive: true, force: true });
        await writeFile(folder, '');
      },
    ],
  ])('survives %s: verdicts go on, health says so, and all is made good', async (_, spoil) => {
    const pb = await started();
    const build = await cleared(pb);
    const folder = join(pb.dir, 'pb_data.av_journal');
    await spoil(folder);
    await rescan(pb, build, infected);
    expect((await download(pb, build)).code).toBe('scan_infected');
    expect(await aboutJournal(pb)).toEqual([expect.stringContaining('cannot be used')]);
    await sweep(pb);
    await settle(pb, [clean((await upload(pb, { 'a.txt': 'more' }).then(() => claim(pb, { max: 1 }))).checks[0]!)]);
    expect(await aboutJournal(pb)).toEqual([expect.stringContaining('cannot be used')]);
    await pb.kill();
    await pb.restart();
    expect(await aboutJournal(pb)).toEqual([expect.stringContaining('cannot be used')]);
    await rm(folder, { recursive: true, force: true });
    await sweep(pb);
    await eventually('the journal is made again', async () => (await linesOf(pb).catch(() => [])).some((each) => each.build === build.id));
    expect(await aboutJournal(pb)).toEqual([expect.stringContaining('There was no journal')]);
  });

  it('is folded by the sweep once it is large, and forgets nothing by that', async () => {
    const pb = await started();
    const build = await cleared(pb);
    await rescan(pb, build, infected);
    const [, closing] = (await linesOf(pb)) as [object, { seq: number; hash: string }];
    await sweep(pb);
    await eventually('the journal has the last row', async () => (await linesOf(pb)).some(({ kind, seq }) => kind === 'head' && seq === 3));
    await appendFile(journalOf(pb), line(closing).repeat(Math.ceil(8_388_608 / line(closing).length)));
    await upload(pb, { 'a.txt': 'more' });
    await clearAll(pb);
    await sweep(pb);
    await eventually('it is small', async () => (await stat(journalOf(pb))).size < 10_000);
    await eventually('it goes on', async () => (await linesOf(pb)).some(({ kind, seq }) => kind === 'head' && seq === 4));
    expect((await linesOf(pb)).filter(({ kind }) => kind === 'closed')).toEqual([closing]);
    expect(await aboutJournal(pb)).toEqual([]);
  });

  it('is made again with what was written into it since the last sweep', async () => {
    const pb = await started();
    const build = await cleared(pb);
    await rescan(pb, build, infected);
    expect((await linesOf(pb)).at(-1)).toMatchObject({ kind: 'closed', build: build.id, seq: 3 });
    await rm(journalOf(pb));
    await sweep(pb);
    await eventually('the journal has the last row', async () => (await linesOf(pb)).some(({ kind, seq }) => kind === 'head' && seq === 3));
    expect(await linesOf(pb)).toContainEqual({ kind: 'closed', build: build.id, seq: 3, hash: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  it('is made from the history where there was none, as after an upgrade', async () => {
    const pb = await started();
    const build = await cleared(pb);
    await rescan(pb, build, infected);
    await pb.kill();
    await rm(join(pb.dir, 'pb_data.av_journal'), { recursive: true });
    pb.setEnv({ AV_JOURNAL_DIR: join(pb.dir, 'elsewhere', 'deeper') });
    await pb.restart();
    const text = await readFile(join(pb.dir, 'elsewhere', 'deeper', 'closings.log'), 'utf8');
    expect(text).toContain(build.id);
    expect(await aboutJournal(pb)).toEqual([expect.stringContaining('There was no journal')]);
  });
});
