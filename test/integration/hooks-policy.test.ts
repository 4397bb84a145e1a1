/** ALLOW_UNSCANNABLE: what no engine can look into leaves by a standing order, on record, and stays when the order goes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { UnscannableReason } from '../../pb_hooks/lib/reasons.ts';
import type { ClaimedCheck, SettleItem } from '../../pb_hooks/lib/wire.ts';
import { type Build, checkOf, claim, clean, download, form, infected, settle, unscannable, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const zstd = 'unscannable:zstd';
const lz4 = 'unscannable:lz4';

/** Verdicts by the beginning of the file name; `clean` where none is told. */
function judge(reasons: { [name: string]: UnscannableReason }, some: object = {}) {
  return (check: ClaimedCheck): SettleItem => {
    const item = clean(check) as Extract<SettleItem, { files: unknown }>;
    const files = item.files.map((file) => {
      const reason = Object.entries(reasons).find(([name]) => file.name.startsWith(name))?.[1];
      return reason ? { ...file, verdict: 'unscannable' as const, reason } : file;
    });
    return { ...item, verdict: 'unscannable', reason: files.find((file) => 'reason' in file)!.reason!, files, ...some };
  };
}

/** A hook of the host that refuses to have the check of one build changed, by what the build says of itself. */
const hostHook = `
onRecordUpdateExecute((e) => {
  if ($app.findRecordById('app_builds', e.record.getString('build')).getString('branch') === 'refused') throw new BadRequestError('no')
  e.next()
}, 'av_build_checks')
`;

describe('a policy', () => {
  let pb: RunningPocketBase;
  beforeAll(async () => {
    pb = await startPocketBase({ env: { ALLOW_UNSCANNABLE: ' zstd, LZ4' }, hooks: { 'host.pb.js': hostHook } });
  });
  afterAll(() => pb?.stop());

  const sweep = () => pb.client.crons.run('av-sweep');
  const restartedWith = async (policy: string) => {
    await pb.kill('SIGTERM');
    pb.setEnv({ ALLOW_UNSCANNABLE: policy });
    await pb.restart();
  };
  const historyOf = async (build: { id: string }) => {
    const rows = await pb.client.collection('av_scan_history').getFullList({ sort: 'seq', filter: `entry ~ "${build.id}"` });
    return rows.map((row) => JSON.parse(row['entry']));
  };
  const decide = (check: { id: string }, action: string) =>
    pb.client.send(`/api/av/checks/${check.id}/${action}`, { method: 'POST', body: { reason: 'as I say' } });
  const judged = async (files: { [name: string]: string }, verdict: (check: ClaimedCheck) => SettleItem): Promise<Build> => {
    const build = await upload(pb, files);
    await again(build, verdict);
    return build;
  };
  const again = async (build: Build, verdict: (check: ClaimedCheck) => SettleItem) => {
    const { checks } = await claim(pb, { max: 100 });
    const results = await settle(
      pb,
      checks.map((check) => (check.build === build.id ? verdict(check) : clean(check))),
    );
    expect(results.every(({ ok }) => ok)).toBe(true);
    return results;
  };
  const rescanned = async (build: Build, verdict: (check: ClaimedCheck) => SettleItem) => {
    await decide(await checkOf(pb, build), 'rescan');
    await again(build, verdict);
  };
  const closed = { status: 403, code: 'scan_error' };

  it('opens what is clean or allowed in every file, in the same transaction on record', async () => {
    const build = await judged({ a: 'a', b: 'b', c: 'c' }, judge({ a: zstd, b: lz4 }));
    const note = 'ALLOW_UNSCANNABLE lets through what no engine can look into: lz4, zstd.';
    const by = 'policy:lz4,zstd';
    expect(await checkOf(pb, build)).toMatchObject({
      status: 'error',
      reason: zstd,
      open: true,
      released_by: by,
      released_at: expect.stringMatching(/^20/),
      release_reason: note,
      log: expect.stringContaining(`Released by ${by}`),
    });
    expect(await download(pb, build)).toMatchObject({ status: 200, body: 'a' });
    const [settled, released] = await historyOf(build);
    expect(settled).toMatchObject({ event: 'settled', status: 'error', reason: zstd, open: true });
    expect(released).toMatchObject({ event: 'released', status: 'error', reason: zstd, open: true, by, note, revision: 1 });
    expect(released.at).toBe(settled.at);
  });

  it('leaves shut what has any other reason, anything found, or a file that nobody judged', async () => {
    const other = await judged({ a: 'a', b: 'b' }, judge({ a: zstd, b: 'unscannable:encrypted' }));
    const found = await judged({ a: 'a' }, infected);
    const unsaid = await judged({ a: 'a', b: 'b' }, (check) => judge({ a: zstd })({ ...check, files: check.files.slice(0, 1) }));
    expect(await download(pb, other)).toMatchObject(closed);
    expect(await download(pb, found)).toMatchObject({ status: 403, code: 'scan_infected' });
    expect(await download(pb, unsaid)).toMatchObject(closed);
    for (const build of [other, found, unsaid]) expect(await checkOf(pb, build)).toMatchObject({ open: false, released_by: '' });
    const lying = await upload(pb, { a: 'a', b: 'b' });
    const { checks } = await claim(pb, { max: 1 });
    const hidden = judge({ a: zstd })(checks[0]!) as Extract<SettleItem, { files: unknown }>;
    hidden.files[1] = { ...hidden.files[1]!, verdict: 'infected', signature: 'Test' };
    expect(await settle(pb, [hidden])).toMatchObject([{ ok: false, code: 'invalid' }]);
    expect(await download(pb, lying)).toMatchObject({ status: 403 });
  });

  it('releases once for the same findings, and anew for others', async () => {
    const build = await judged({ a: 'a', b: 'b' }, judge({ a: zstd }));
    const before = await checkOf(pb, build);
    await rescanned(build, judge({ a: zstd }));
    expect(await checkOf(pb, build)).toMatchObject({ open: true, released_at: before['released_at'] });
    expect((await historyOf(build)).filter(({ event }) => event === 'released')).toHaveLength(1);
    await rescanned(build, judge({ a: zstd, b: lz4 }));
    expect(await checkOf(pb, build)).toMatchObject({ open: true, released_by: 'policy:lz4,zstd' });
    await rescanned(build, unscannable);
    expect(await checkOf(pb, build)).toMatchObject({ open: false, released_by: '', release_reason: '' });
    expect(await download(pb, build)).toMatchObject(closed);
  });

  it('says nothing about files that came later', async () => {
    const build = await judged({ a: 'a' }, judge({ a: zstd }));
    await pb.client.collection('app_builds').update(build.id, form({ new: 'n' }, 'files+'));
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false, released_by: '' });
    expect(await download(pb, build)).toMatchObject({ status: 403, code: 'scan_pending' });
  });

  it('does not open again what a person has shut, until something else is found', async () => {
    const build = await judged({ a: 'a', b: 'b' }, judge({ a: zstd }));
    expect(await decide(await checkOf(pb, build), 'revoke')).toMatchObject({ open: false });
    expect(await checkOf(pb, build)).toMatchObject({ open: false, shut_by: superuser.email });
    await rescanned(build, judge({ a: zstd }));
    await restartedWith('zstd,lz4,rar');
    await sweep();
    expect(await checkOf(pb, build)).toMatchObject({ open: false, released_by: '', shut_by: superuser.email });
    expect(await download(pb, build)).toMatchObject(closed);
    await rescanned(build, judge({ b: zstd }));
    expect(await checkOf(pb, build)).toMatchObject({ open: true, released_by: 'policy:zstd', shut_by: '' });
    await decide(await checkOf(pb, build), 'revoke');
    expect(await decide(await checkOf(pb, build), 'release')).toMatchObject({ open: true });
    expect(await checkOf(pb, build)).toMatchObject({ open: true, released_by: superuser.email, shut_by: '' });
  });

  it('shuts what it opened when it is taken away, before anything is served, and opens what it allows when it comes', async () => {
    const gone = await judged({ a: 'a' }, judge({ a: lz4 }));
    const both = await judged({ a: 'a', b: 'b' }, judge({ a: zstd, b: lz4 }));
    const stays = await judged({ a: 'a' }, judge({ a: zstd }));
    const byPerson = await judged({ a: 'a' }, unscannable);
    await decide(await checkOf(pb, byPerson), 'release');
    const waiting = await judged({ a: 'a' }, judge({ a: 'unscannable:compress' }));
    await restartedWith('zstd,compress');
    expect(await Promise.all([gone, both, stays, byPerson].map((build) => download(pb, build)))).toMatchObject([
      closed,
      closed,
      { status: 200 },
      { status: 200 },
    ]);
    await sweep();
    await eventually('the sweep has followed the policy', async () => (await checkOf(pb, waiting)).open);
    for (const build of [gone, both]) expect(await checkOf(pb, build)).toMatchObject({ open: false, released_by: '', shut_by: '' });
    const revoked = (await historyOf(gone)).at(-1);
    expect(revoked).toMatchObject({ event: 'revoked', by: 'policy:lz4', open: false, wasOpen: true, downloads: 0, status: 'error' });
    expect(revoked.openSeconds).toBeGreaterThan(0);
    expect(await checkOf(pb, waiting)).toMatchObject({ open: true, released_by: 'policy:compress' });
    expect((await historyOf(waiting)).at(-1)).toMatchObject({ event: 'released', by: 'policy:compress', open: true });
    expect(await pb.client.send('/api/av/history/verify', { query: { after: 0 } })).toMatchObject({ ok: true });
  });

  it('shuts what it opened also where nothing can be put on record, and makes up for that later', async () => {
    await restartedWith('zstd');
    const build = await judged({ a: 'a' }, judge({ a: zstd }));
    pb.setEnv({ AV_HISTORY_KEY: '' });
    await restartedWith('');
    await pb.client.crons.run('av-sweep');
    expect(await download(pb, build)).toMatchObject(closed);
    pb.setEnv({ AV_HISTORY_KEY: 'test history key' });
    await restartedWith('');
    await sweep();
    await eventually('the release is taken back', async () => (await checkOf(pb, build))['released_by'] === '');
    expect((await historyOf(build)).at(-1)).toMatchObject({ event: 'revoked', by: 'policy:zstd', wasOpen: true });
  });

  it('follows its change for all but what the host refuses to have changed', async () => {
    await restartedWith('zstd');
    const builds = [await judged({ a: 'a' }, judge({ a: zstd })), await judged({ a: 'a' }, judge({ a: zstd }))] as const;
    const [bad, good] = builds;
    await pb.client.collection('app_builds').update(bad.id, { branch: 'refused' });
    await restartedWith('');
    for (const build of builds) expect(await download(pb, build)).toMatchObject(closed);
    await sweep();
    await eventually('the other is taken back', async () => (await checkOf(pb, good))['released_by'] === '');
    expect(await checkOf(pb, bad)).toMatchObject({ open: false, released_by: 'policy:zstd' });
    await pb.client.collection('app_builds').update(bad.id, { branch: '' });
    await sweep();
    await eventually('and this one later', async () => (await checkOf(pb, bad))['released_by'] === '');
  });

  it('that names no format allows nothing by it, and the health route says which there are', async () => {
    await restartedWith('zst,all,lz4');
    const { problems } = await pb.client.send('/api/av/health', {});
    expect(problems.join('\n')).toContain('ALLOW_UNSCANNABLE names "zst", "all", which lets nothing through; it takes too-large,');
    const build = await judged({ a: 'a' }, judge({ a: zstd }));
    expect(await download(pb, build)).toMatchObject(closed);
    const allowed = await judged({ a: 'a' }, judge({ a: lz4 }));
    expect(await download(pb, allowed)).toMatchObject({ status: 200 });
  });
});

it('is named by the gate in monitor mode, with what it would have refused', async () => {
  await using pb = await startPocketBase({ env: { AV_GATE: 'monitor', ALLOW_UNSCANNABLE: 'rar' } });
  const health = () => pb.client.send('/api/av/health', {});
  expect((await health()).wouldRefuse).toEqual({ total: 0, byCode: {}, byReason: {}, policy: '' });
  const waiting = await upload(pb, { a: 'a' });
  await download(pb, waiting);
  const verdicts = [judge({ a: zstd, b: lz4 }), judge({ a: 'unscannable:encrypted' }), infected];
  for (const verdict of verdicts) {
    const build = await upload(pb, { a: 'a', b: 'b' });
    const { checks } = await claim(pb);
    await settle(
      pb,
      checks.map((check) => (check.build === build.id ? verdict(check) : clean(check))),
    );
    for (let i = 0; i < 2; i++) expect((await download(pb, build)).status).toBe(200);
  }
  expect((await health()).wouldRefuse).toEqual({
    total: 7,
    byCode: { scan_pending: 1, scan_error: 4, scan_infected: 2 },
    byReason: { [zstd]: 2, 'unscannable:encrypted': 2 },
    policy: 'ALLOW_UNSCANNABLE=encrypted,lz4,rar,zstd',
  });
});
