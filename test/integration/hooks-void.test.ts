/** POST /api/av/void: an engine lied, so what it has said since it was last known to be good is taken back, whatever dies meanwhile. */
import Client from 'pocketbase';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ClaimedCheck, EngineInfo, SettleItem, VoidAnswer, VoidRequest } from '../../pb_hooks/lib/wire.ts';
import {
  type Build,
  checkOf,
  claim,
  clean,
  clearAll,
  download,
  giveBack,
  infected,
  settle,
  unscannable,
  upload,
} from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

type Verdict = Extract<SettleItem, { verdict: string }>;
type Judge = (check: ClaimedCheck) => SettleItem;

const reason = 'it called the test file clean';
const hour = 3_600_000;
/** So many hours ago. */
const ago = (hours: number) => new Date(Date.now() - hours * hour).toISOString();

/** A hook of the host that refuses every change of a check, on demand. */
const hostHook = `
onRecordUpdateExecute((e) => {
  if ($app.store().get('host.refuses') === '1') throw new BadRequestError('the host refuses this update')
  e.next()
}, 'av_build_checks')
routerAdd('POST', '/host/refuses/{value}', (e) => { $app.store().set('host.refuses', e.request.pathValue('value')); e.noContent(204) })
`;

let names = 0;
/** A name that no other test has used, so that each has an engine of its own. */
const newName = () => `engine-${++names}:3310`;
const engineOf = (name: string, canaryAt: string): EngineInfo => ({
  name,
  version: '1.4.6',
  signatures: 27_900,
  signaturesAt: null,
  limits: { stream: 1, scan: 1, recursion: 1 },
  canaryAt,
});

describe('a void', () => {
  let pb: RunningPocketBase;
  beforeAll(async () => {
    pb = await startPocketBase({ env: { ALLOW_UNSCANNABLE: 'encrypted' }, hooks: { 'host.pb.js': hostHook } });
  });
  afterAll(() => pb?.stop());
  beforeEach(async () => {
    await pb.sql("UPDATE av_build_checks SET rescan_at = ''");
    await clearAll(pb);
  });

  const by =
    (name: string, canaryAt: string, verdict: Judge = clean): Judge =>
    (check) => ({ ...(verdict(check) as Verdict), engine: engineOf(name, canaryAt) });
  const one = async (): Promise<ClaimedCheck> => (await claim(pb, { max: 1 })).checks[0]!;
  const judged = async (judge: Judge): Promise<Build> => {
    const build = await upload(pb, { a: 'a', b: 'b' });
    expect(await settle(pb, [judge(await one())])).toMatchObject([{ ok: true }]);
    return build;
  };
  const voided = (body: Omit<VoidRequest, 'reason'>): Promise<VoidAnswer> =>
    pb.client.send('/api/av/void', { method: 'POST', body: { reason, ...body } satisfies VoidRequest });
  const historyOf = async (build: { id: string }) => {
    const rows = await pb.client.collection('av_scan_history').getFullList({ sort: 'seq', filter: `entry ~ "${build.id}"` });
    return rows.map((row) => JSON.parse(row['entry']));
  };
  const decide = async (build: Build, action: string) =>
    pb.client.send(`/api/av/checks/${(await checkOf(pb, build)).id}/${action}`, { method: 'POST', body: { reason: 'as I say' } });

  it('closes what the engine called clean since then, and nothing else', async () => {
    const [name, other] = [newName(), newName()];
    const earlier = await judged(by(name, ago(3)));
    const at = await judged(by(name, ago(2)));
    const later = await judged(by(name, ago(1)));
    const foreign = await judged(by(other, ago(1)));
    const { canaryAt } = (await checkOf(pb, at))['engine'] as Required<EngineInfo>;
    await download(pb, later);
    expect(await voided({ engine: name, since: canaryAt })).toEqual({ closed: 2, rescanned: 0 });
    for (const build of [at, later]) {
      expect(await download(pb, build)).toMatchObject({ status: 403, code: 'scan_pending' });
      expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false, files: null, engine: null, revision: 1 });
    }
    for (const build of [earlier, foreign]) expect(await download(pb, build)).toMatchObject({ status: 200 });
    const entry = (await historyOf(later)).at(-1);
    expect(entry).toMatchObject({
      event: 'voided',
      status: 'pending',
      open: false,
      wasOpen: true,
      downloads: 1,
      engine: { name },
      by: superuser.email,
      note: reason,
    });
    expect(entry.openSeconds).toBeGreaterThan(0);
    expect((await checkOf(pb, later)).log).toContain(`What ${name} said since`);
    await clearAll(pb);
    expect(await download(pb, later)).toMatchObject({ status: 200 });
  });

  it('finds the engine in a single file of a build that another one stands for', async () => {
    const [name, other] = [newName(), newName()];
    const mixed = await judged((check) => {
      const item = by(other, ago(1))(check) as Verdict;
      return { ...item, files: item.files.map((file, i) => (i === 0 ? file : { ...file, engine: engineOf(name, ago(1)) })) };
    });
    expect(await voided({ engine: name, since: ago(0.5) })).toEqual({ closed: 0, rescanned: 0 });
    expect(await voided({ engine: name, since: ago(2) })).toEqual({ closed: 1, rescanned: 0 });
    expect(await download(pb, mixed)).toMatchObject({ status: 403, code: 'scan_pending' });
  });

  it('has what stays closed looked at again; a person keeps open what a person has opened, a policy does not', async () => {
    const name = newName();
    const found = await judged(by(name, ago(1), infected));
    const allowed = await judged(by(name, ago(1), unscannable));
    const released = await judged(by(name, ago(1), infected));
    await decide(released, 'release');
    expect(await download(pb, allowed)).toMatchObject({ status: 200 });
    expect(await voided({ engine: name, since: ago(2) })).toEqual({ closed: 1, rescanned: 3 });
    expect(await download(pb, found)).toMatchObject({ status: 403, code: 'scan_infected' });
    expect(await download(pb, allowed)).toMatchObject({ status: 403, code: 'scan_error' });
    expect(await download(pb, released)).toMatchObject({ status: 200 });
    expect(await checkOf(pb, allowed)).toMatchObject({ released_by: '', open: false });
    expect((await historyOf(allowed)).at(-1)).toMatchObject({ event: 'voided', status: 'error', open: false, wasOpen: true });
    expect(await voided({ engine: name, since: ago(2) })).toEqual({ closed: 0, rescanned: 0 });
    expect((await historyOf(found)).filter(({ event }) => event === 'voided')).toHaveLength(1);
    const { checks } = await claim(pb);
    expect(checks.map(({ build }) => build).sort()).toEqual([found.id, allowed.id, released.id].sort());
    await settle(
      pb,
      checks.map((check) => by(name, new Date(Date.now() + 60_000).toISOString(), unscannable)(check)),
    );
    expect(await download(pb, allowed)).toMatchObject({ status: 200 });
  });

  it.each([
    ['the engine of the build', (name: string, at: string): Judge => by(name, at)],
    [
      'the engine of one of its files',
      (name: string, at: string): Judge =>
        (check) => {
          const item = by(newName(), at)(check) as Verdict;
          return { ...item, files: item.files.map((file) => ({ ...file, engine: engineOf(name, at) })) };
        },
    ],
  ])('does not let a verdict slip through that was under way, by %s, also after a restart', async (_, judge) => {
    const name = newName();
    const at = ago(0.1);
    const build = await upload(pb, { a: 'a', b: 'b' });
    const other = await upload(pb, { a: 'a', b: 'b' });
    const [first, second] = (await claim(pb)).checks as [ClaimedCheck, ClaimedCheck];
    await voided({ engine: name, since: at });
    expect(await settle(pb, [judge(name, at)(first)])).toMatchObject([{ id: first.id, ok: false, code: 'voided', status: 'pending' }]);
    await pb.kill();
    await pb.restart();
    expect(await settle(pb, [judge(name, at)(second)])).toMatchObject([{ ok: false, code: 'voided', status: 'pending' }]);
    for (const each of [build, other]) {
      expect(await download(pb, each)).toMatchObject({ status: 403, code: 'scan_pending' });
      expect(await checkOf(pb, each)).toMatchObject({ attempts: 0, suspect: false, lease_until: '' });
    }
    const good = by(name, new Date(Date.now() + 60_000).toISOString());
    expect(await settle(pb, (await claim(pb)).checks.map(good))).toMatchObject([{ ok: true }, { ok: true }]);
    expect(await download(pb, build)).toMatchObject({ status: 200 });
  });

  it('is known to the next settle also where there never was one before', async () => {
    await using fresh = await startPocketBase();
    await upload(fresh, { a: 'a' });
    await clearAll(fresh);
    const [name, at] = [newName(), ago(0.1)];
    await upload(fresh, { a: 'a' });
    const check = (await claim(fresh)).checks[0]!;
    await fresh.client.send('/api/av/void', { method: 'POST', body: { engine: name, since: at, reason } });
    expect(await settle(fresh, [by(name, at)(check)])).toMatchObject([{ ok: false, code: 'voided' }]);
  });

  it('leaves a build open whose rescan was under way, but believes a finding', async () => {
    const [name, good] = [newName(), newName()];
    const builds = [await judged(by(good, ago(1))), await judged(by(good, ago(1)))];
    for (const build of builds) await decide(build, 'rescan');
    const { checks } = await claim(pb);
    await voided({ engine: name, since: ago(0.2) });
    const [first, second] = builds.map((build) => checks.find((check) => check.build === build.id)!) as [ClaimedCheck, ClaimedCheck];
    expect(await settle(pb, [by(name, ago(0.1))(first), by(name, ago(0.1), infected)(second)])).toMatchObject([
      { ok: false, code: 'voided', status: 'clean' },
      { ok: true, status: 'infected' },
    ]);
    expect(await download(pb, builds[0]!)).toMatchObject({ status: 200 });
    expect(await download(pb, builds[1]!)).toMatchObject({ status: 403, code: 'scan_infected' });
    expect((await claim(pb)).checks.map(({ build }) => build).sort()).toEqual(builds.map(({ id }) => id).sort());
  });

  it('ends the lease under which a build that it closes was being looked at', async () => {
    const name = newName();
    const build = await judged(by(name, ago(1)));
    await decide(build, 'rescan');
    const check = await one();
    await voided({ engine: name, since: ago(2) });
    expect(await settle(pb, [by(newName(), ago(0))(check)])).toMatchObject([{ ok: false, code: 'lease_lost' }]);
    expect(await settle(pb, [giveBack(check, 'download')])).toMatchObject([{ ok: false, code: 'lease_lost' }]);
    expect(await download(pb, build)).toMatchObject({ status: 403, code: 'scan_pending' });
  });

  it('begins at the last canary on record where the asker knows of none, and never earlier when repeated', async () => {
    const name = newName();
    const earlier = await judged(by(name, ago(3)));
    const at = ago(2);
    const last = [await judged(by(name, at)), await judged(by(name, at))];
    expect(await voided({ engine: name })).toEqual({ closed: 2, rescanned: 0 });
    expect(await voided({ engine: name })).toEqual({ closed: 0, rescanned: 0 });
    for (const build of last) expect(await download(pb, build)).toMatchObject({ status: 403 });
    expect(await download(pb, earlier)).toMatchObject({ status: 200 });
    expect(await voided({ engine: newName() })).toEqual({ closed: 0, rescanned: 0 });
  });

  it('is not led astray by canaries of a clock that was ahead', async () => {
    const name = newName();
    const ahead = await judged(by(name, ago(-48)));
    const earlier = await judged(by(name, ago(3)));
    const last = await judged(by(name, ago(2)));
    expect(await voided({ engine: name })).toEqual({ closed: 2, rescanned: 0 });
    expect(await download(pb, last)).toMatchObject({ status: 403 });
    expect(await download(pb, ahead)).toMatchObject({ status: 403 });
    expect(await download(pb, earlier)).toMatchObject({ status: 200 });
    await voided({ engine: name, since: ago(-48) });
    const since = await judged(by(name, new Date(Date.now() + 1).toISOString()));
    await voided({ engine: name });
    expect(await download(pb, since)).toMatchObject({ status: 403 });
  });

  it('keeps a policy from opening again what it closed, by whatever clock, also after a restart', async () => {
    const name = newName();
    const builds = [await judged(by(name, ago(1), unscannable)), await judged(by(name, ago(-48), unscannable))];
    const other = await judged(by(newName(), ago(1), unscannable));
    const allowed = await pb.client.collection('av_build_checks').getFullList({ filter: 'released_by ~ "policy:"' });
    expect(allowed.map(({ build }) => build)).toEqual(expect.arrayContaining(builds.map(({ id }) => id)));
    expect(await voided({ engine: name, since: ago(2) })).toEqual({ closed: 2, rescanned: 2 });
    await pb.sql(`UPDATE av_build_checks SET open = FALSE, released_by = '' WHERE build = '${other.id}'`);
    await pb.kill();
    await pb.restart();
    await pb.client.crons.run('av-sweep');
    await eventually('the policy has opened the other', async () => (await checkOf(pb, other)).open);
    for (const build of builds) expect(await download(pb, build)).toMatchObject({ status: 403, code: 'scan_error' });
  });

  it('shuts every gate even where what follows cannot be stored, and the sweep makes up for it', async () => {
    const name = newName();
    const build = await judged(by(name, ago(1)));
    const allowed = await judged(by(name, ago(1), unscannable));
    await pb.client.send('/host/refuses/1', { method: 'POST' });
    expect(await voided({ engine: name, since: ago(2) })).toEqual({ closed: 2, rescanned: 1 });
    await pb.kill();
    await pb.restart();
    for (const each of [build, allowed]) expect((await download(pb, each)).status).toBe(403);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'clean', open: false });
    await pb.client.crons.run('av-sweep');
    await eventually('the sweep has queued it', async () => (await checkOf(pb, build)).status === 'pending');
    for (const each of [build, allowed]) expect((await historyOf(each)).at(-1)).toMatchObject({ event: 'voided', wasOpen: true });
  });

  it('is finished by the sweep where PocketBase died in the middle', async () => {
    const name = newName();
    const builds = [await judged(by(name, ago(1))), await judged(by(name, ago(1), infected))];
    await voided({ engine: name, since: ago(0.5) });
    await pb.sql(`UPDATE av_voids SET done = FALSE, since = '${ago(2).replace('T', ' ')}' WHERE engine = '${name}'`);
    await pb.sql(`UPDATE av_build_checks SET open = FALSE WHERE build = '${builds[0]!.id}'`);
    await pb.client.crons.run('av-sweep');
    await eventually('the sweep has queued it', async () => (await checkOf(pb, builds[0]!)).status === 'pending');
    for (const build of builds) expect((await historyOf(build)).at(-1)).toMatchObject({ event: 'voided', by: superuser.email });
    const row = () => pb.client.collection('av_voids').getFirstListItem(`engine = "${name}"`);
    await eventually('nothing is left to do', async () => (await row())['done'] === true);
  });

  it('shuts more gates than one transaction holds, in a history that holds together', async () => {
    const name = newName();
    const builds = await Promise.all(Array.from({ length: 150 }, () => upload(pb, { a: 'a' })));
    for (;;) {
      const { checks } = await claim(pb, { max: 100 });
      if (checks.length === 0) break;
      await settle(pb, checks.map(by(name, ago(1))));
    }
    expect(await voided({ engine: name, since: ago(2) })).toEqual({ closed: 150, rescanned: 0 });
    expect(await Promise.all(builds.map(async (build) => (await download(pb, build)).status))).toEqual(builds.map(() => 403));
    expect(await pb.client.send('/api/av/history/verify', { query: { after: 0 } })).toMatchObject({ ok: true });
  });

  it('is taken whatever a lying engine has answered', async () => {
    const name = newName();
    const build = await judged(by(name, ago(1)));
    const answer = { engine: name, since: ago(2), reason: `it said:\n\u202e\u200bOK ${'x'.repeat(600)}` };
    expect(await pb.client.send('/api/av/void', { method: 'POST', body: answer })).toEqual({ closed: 1, rescanned: 0 });
    expect((await historyOf(build)).at(-1).note).toBe(`it said:   OK ${'x'.repeat(486)}`);
  });

  it('is for superusers and agents, and names an engine, a moment and a reason', async () => {
    const call = (body: object, client = pb.client) =>
      client.send('/api/av/void', { method: 'POST', body: { reason, ...body } }).then(
        () => 200,
        (error) => error.status,
      );
    const engine = newName();
    expect(await call({ engine }, new Client(pb.url))).toBe(401);
    for (const [collection, expected] of [
      ['users', 403],
      ['av_agents', 200],
    ] as const) {
      const { email, password } = superuser;
      await pb.client.collection(collection).create({ email, password, passwordConfirm: password });
      const client = new Client(pb.url);
      await client.collection(collection).authWithPassword(email, password);
      expect(await call({ engine }, client)).toBe(expected);
    }
    for (const body of [
      {},
      { engine: '' },
      { engine: 7 },
      { engine, since: 'yesterday' },
      { engine, since: '2026-01-01' },
      { engine, since: null },
      { engine, reason: '' },
      { engine, reason: 7 },
    ])
      expect(await call(body)).toBe(400);
    expect(await call({ engine })).toBe(200);
  });
});
