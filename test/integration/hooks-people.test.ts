/** Release, revoke, rescan: what a superuser decides, when, and what stands on record. */
import { createServer } from 'node:http';
import Client from 'pocketbase';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ClaimedCheck, DecisionAnswer } from '../../pb_hooks/lib/wire.ts';
import {
  type Build,
  checkOf,
  claim,
  clean,
  clearAll,
  download,
  form,
  giveBack,
  infected,
  settle,
  unscannable,
  upload,
} from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { freePort, type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

type Action = 'release' | 'revoke' | 'rescan';
const note = 'known tool, see ticket 7';
const ofHost = `
migrate((app) => {
  for (const name of ['users', 'av_agents']) {
    const exists = app.hasTable(name)
    if (!exists) app.save(new Collection({ type: 'auth', name }))
    const record = new Record(app.findCollectionByNameOrId(name))
    record.setEmail('someone@' + name.replace('_', '-') + '.example')
    record.setPassword('correct horse battery')
    app.save(record)
  }
}, () => {})`;

describe('the routes for people', () => {
  let pb: RunningPocketBase;
  let user: Client;
  let agent: Client;
  const heard: string[][] = [];
  const sidecar = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      heard.push(JSON.parse(body).checks);
      response.writeHead(202).end();
    });
  });
  beforeAll(async () => {
    const port = await freePort();
    await new Promise<void>((resolve) => sidecar.listen(port, '127.0.0.1', resolve));
    pb = await startPocketBase({
      env: { AV_SIDECAR_URL: `http://127.0.0.1:${port}`, AV_NOTIFY_SECRET: 'a secret' },
      migrations: { '9100000000_host.js': ofHost },
    });
    const member = async (collection: string, email: string) => {
      const client = new Client(pb.url).autoCancellation(false);
      await client.collection(collection).authWithPassword(email, superuser.password);
      return client;
    };
    user = await member('users', 'someone@users.example');
    agent = await member('av_agents', 'someone@av-agents.example');
  });
  afterAll(async () => {
    sidecar.close();
    await pb?.stop();
  });
  beforeEach(async () => {
    await pb.sql("UPDATE av_build_checks SET rescan_at = '', not_before = '', suspect = FALSE");
    await clearAll(pb);
  });

  const decide = (
    check: { id: string },
    action: Action,
    body: object = { reason: note },
    client: Client = pb.client,
  ): Promise<DecisionAnswer> => client.send(`/api/av/checks/${check.id}/${action}`, { method: 'POST', body });
  const refused = async (call: Promise<unknown>): Promise<{ status: number; code: string | undefined }> => {
    const error = (await call.then(
      () => expect.unreachable('it was not refused'),
      (reason: unknown) => reason,
    )) as { status: number; response: { data: { [name: string]: { code: string } } } };
    return { status: error.status, code: Object.values(error.response.data ?? {})[0]?.code };
  };
  const lastEntry = async () => {
    const rows = await pb.client.collection('av_scan_history').getList(1, 1, { sort: '-seq' });
    return JSON.parse(rows.items[0]!['entry']);
  };
  const entries = async () => (await pb.client.collection('av_scan_history').getList(1, 1)).totalItems;
  const one = async (options: Parameters<typeof claim>[1] = {}): Promise<ClaimedCheck> =>
    (await claim(pb, { max: 1, ...options })).checks[0]!;
  const judged = async (
    verdict: (check: ClaimedCheck) => Parameters<typeof settle>[1][number],
  ): Promise<Build & { check: ClaimedCheck }> => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const check = await one();
    await settle(pb, [verdict(check)]);
    return { ...build, check };
  };

  describe('release', () => {
    it.each([
      ['infected', infected],
      ['error', unscannable],
      ['error', (check: ClaimedCheck) => giveBack(check, 'download')],
    ] as const)('opens what is %s, says by whom and why, and goes on record', async (status, verdict) => {
      const build = await upload(pb, { 'a.txt': 'a' });
      const check = await one();
      await settle(pb, [verdict(check)], 1);
      const before = await checkOf(pb, build);
      expect(await decide(check, 'release', { reason: `  ${note}\t `, scanTime: before['scan_time'] })).toEqual({
        id: check.id,
        build: build.id,
        status,
        open: true,
      });
      const after = await checkOf(pb, build);
      expect(after).toMatchObject({ status, open: true, released_by: superuser.email, release_reason: note, reason: before.reason });
      expect(Date.now() - Date.parse(String(after['released_at']).replace(' ', 'T'))).toBeLessThan(60_000);
      expect(after.log).toContain(`Released by ${superuser.email}: ${note}`);
      expect(await lastEntry()).toMatchObject({
        event: 'released',
        check: check.id,
        build: build.id,
        status,
        open: true,
        by: superuser.email,
        note,
      });
      expect(await download(pb, build)).toMatchObject({ status: 200, body: 'a' });
    });

    it('outlives a scan with the same finding, and no other', async () => {
      const build = await judged((check) => infected(check, 'Test.A-1'));
      await decide(build.check, 'release');
      await decide(build.check, 'rescan');
      await settle(pb, [infected(await one(), 'Test.A-1')]);
      expect(await checkOf(pb, build)).toMatchObject({ status: 'infected', open: true, released_by: superuser.email });
      await decide(build.check, 'rescan');
      await settle(pb, [infected(await one(), 'Test.B-1')]);
      expect(await checkOf(pb, build)).toMatchObject({ status: 'infected', open: false, released_by: '', release_reason: '' });
      expect((await download(pb, build)).status).toBe(403);
    });

    it('ends with a scan that finds what a failed one had not', async () => {
      const build = await upload(pb, { 'a.txt': 'a' });
      await settle(pb, [giveBack(await one(), 'download')], 1);
      const check = await checkOf(pb, build);
      await decide(check, 'release');
      await decide(check, 'rescan');
      await settle(pb, [unscannable(await one())]);
      expect(await checkOf(pb, build)).toMatchObject({ status: 'error', open: false, released_by: '' });
    });

    it('is refused for what waits, is clean, or has no files', async () => {
      const build = await upload(pb, { 'a.txt': 'a' });
      const before = await entries();
      expect(await refused(decide(await checkOf(pb, build), 'release'))).toEqual({ status: 400, code: 'not_releasable' });
      const check = await one();
      expect(await refused(decide(check, 'release'))).toEqual({ status: 400, code: 'not_releasable' });
      expect(await checkOf(pb, build)).toMatchObject({ status: 'scanning', open: false, released_by: '' });
      expect(await entries()).toBe(before);
      await settle(pb, [clean(check)]);
      expect(await refused(decide(check, 'release'))).toEqual({ status: 400, code: 'not_releasable' });
      const empty = await upload(pb, {});
      expect(await refused(decide(await checkOf(pb, empty), 'release'))).toEqual({ status: 400, code: 'not_releasable' });
      expect((await checkOf(pb, empty)).open).toBe(false);
    });

    it('is refused when it was scanned since the decider looked', async () => {
      const build = await judged((check) => infected(check, 'Test.A-1'));
      const seen = (await checkOf(pb, build))['scan_time'];
      await decide(build.check, 'rescan');
      await settle(pb, [infected(await one(), 'Test.B-1')]);
      expect(await refused(decide(build.check, 'release', { reason: note, scanTime: seen }))).toEqual({ status: 400, code: 'changed' });
      expect((await checkOf(pb, build)).open).toBe(false);
    });

    it('said twice stays the first, and is recorded once', async () => {
      const build = await judged(infected);
      await decide(build.check, 'release');
      const before = await entries();
      expect(await decide(build.check, 'release', { reason: 'another reason' })).toMatchObject({ open: true, code: 'already_released' });
      expect(await checkOf(pb, build)).toMatchObject({ release_reason: note });
      expect(await entries()).toBe(before);
    });

    it('ends when the files change', async () => {
      const build = await judged(infected);
      await decide(build.check, 'release');
      await pb.client.collection('app_builds').update(build.id, form({ 'b.txt': 'b' }, 'files+'));
      expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false, released_by: '', release_reason: '' });
    });

    it('at the very moment of another verdict never opens what was not decided about', async () => {
      for (let round = 0; round < 10; round++) {
        const build = await judged((check) => infected(check, 'Test.A-1'));
        await decide(build.check, 'rescan');
        const again = await one();
        const seen = (await checkOf(pb, build))['scan_time'];
        const [decided] = await Promise.allSettled([
          decide(build.check, 'release', { reason: note, scanTime: seen }),
          settle(pb, [infected(again, 'Test.B-1')]),
        ]);
        expect(await checkOf(pb, build), decided.status).toMatchObject({
          status: 'infected',
          open: false,
          released_by: '',
          virus_name: 'Test.B-1',
        });
      }
    });
  });

  describe('revoke', () => {
    it('closes again, once, and goes on record', async () => {
      const build = await judged(infected);
      expect(await refused(decide(build.check, 'revoke'))).toEqual({ status: 400, code: 'not_released' });
      await decide(build.check, 'release');
      expect(await decide(build.check, 'revoke', { reason: 'it was malware' })).toMatchObject({ status: 'infected', open: false });
      expect(await checkOf(pb, build)).toMatchObject({ open: false, released_by: '', released_at: '', release_reason: '' });
      expect(await lastEntry()).toMatchObject({ event: 'revoked', open: false, by: superuser.email, note: 'it was malware' });
      expect((await download(pb, build)).status).toBe(403);
      expect(await refused(decide(build.check, 'revoke'))).toEqual({ status: 400, code: 'not_released' });
    });
  });

  describe('rescan', () => {
    it('has a clean build scanned again, open until the verdict, and tells the sidecar', async () => {
      const build = await judged(clean);
      heard.length = 0;
      expect(await decide(build.check, 'rescan')).toEqual({ id: build.check.id, build: build.id, status: 'clean', open: true });
      expect(heard).toContainEqual([build.check.id]);
      expect(await lastEntry()).toMatchObject({ event: 'rescan-requested', status: 'clean', open: true, by: superuser.email, note });
      expect(await decide(build.check, 'rescan')).toMatchObject({ code: 'already_waiting' });
      const again = await one();
      expect(again).toMatchObject({ build: build.id, rescan: true });
      expect(await decide(build.check, 'rescan')).toMatchObject({ code: 'already_waiting' });
      expect((await download(pb, build)).status).toBe(200);
      await settle(pb, [infected(again)]);
      expect(await checkOf(pb, build)).toMatchObject({ status: 'infected', open: false, rescan_at: '' });
      expect(await lastEntry()).toMatchObject({ event: 'settled', status: 'infected', open: false, wasOpen: true, rescan: true });
    });

    it('gives what failed all its attempts again, alone where it may have stopped the engine', async () => {
      const build = await upload(pb, { 'a.txt': 'a' });
      await settle(pb, [giveBack(await one(), 'download')], 1);
      const check = await checkOf(pb, build);
      expect(check).toMatchObject({ status: 'error', reason: 'download', attempts: 1 });
      await decide(check, 'rescan');
      expect(await checkOf(pb, build)).toMatchObject({ status: 'error', attempts: 0, suspect: false, open: false });
      await settle(pb, [clean(await one())]);
      expect(await checkOf(pb, build)).toMatchObject({ status: 'clean', open: true, reason: '' });

      const lethal = await upload(pb, { 'b.txt': 'b' });
      await settle(pb, [giveBack(await one(), 'engine-reply')]);
      await settle(pb, [giveBack(await one({ alone: true }), 'engine-reply')], 1);
      expect(await checkOf(pb, lethal)).toMatchObject({ status: 'error', reason: 'engine-reply' });
      await decide(await checkOf(pb, lethal), 'rescan');
      expect(await claim(pb)).toEqual({ checks: [], drain: true });
      const again = await one({ alone: true });
      expect(again).toMatchObject({ build: lethal.id, suspect: true, rescan: true });
      await settle(pb, [clean(again)]);
      expect(await checkOf(pb, lethal)).toMatchObject({ status: 'clean', open: true, suspect: false });
    });

    it('that ends the engine every time ends too, on record, and what waits is scanned again', async () => {
      const lethal = await upload(pb, { 'a.txt': 'a' });
      await settle(pb, [giveBack(await one(), 'engine-reply')]);
      await settle(pb, [giveBack(await one({ alone: true }), 'engine-reply')], 1);
      await decide(await checkOf(pb, lethal), 'rescan');
      const hurry = () => pb.sql("UPDATE av_build_checks SET rescan_at = '2020-01-01 00:00:00.000Z' WHERE rescan_at != ''");
      for (let time = 0; time < 3; time++) {
        await settle(pb, [giveBack(await one({ alone: true }), 'engine-reply')]);
        await hurry();
      }
      expect(await checkOf(pb, lethal)).toMatchObject({
        status: 'error',
        reason: 'engine-reply',
        open: false,
        suspect: false,
        rescan_at: '',
      });
      expect(await lastEntry()).toMatchObject({ event: 'failed', build: lethal.id, reason: 'engine-reply', rescan: true, status: 'error' });
      expect(await claim(pb, { alone: true })).toEqual({ checks: [], drain: false });
      expect(await decide(await checkOf(pb, lethal), 'rescan')).toMatchObject({ status: 'error', open: false });
      expect(await checkOf(pb, lethal)).toMatchObject({ suspect: true });
      await settle(pb, [clean(await one({ alone: true }))]);
    });

    it('of an open build that fails is on record, and the build stays open until it works', async () => {
      const build = await judged(clean);
      await decide(build.check, 'rescan');
      const before = await entries();
      await settle(pb, [giveBack(await one(), 'download')], 1);
      expect(await entries()).toBe(before + 1);
      expect(await lastEntry()).toMatchObject({
        event: 'failed',
        build: build.id,
        reason: 'download',
        rescan: true,
        status: 'clean',
        open: true,
      });
      expect(await checkOf(pb, build)).toMatchObject({ status: 'clean', open: true });
    });

    it('whose lease runs out every time ends on record', async () => {
      const build = await judged(infected);
      await decide(build.check, 'rescan');
      const check = await one({ maxRetries: 1 });
      await fetch(`${pb.url}/api/av/checks/${check.id}/files/${check.files[0]!.name}`, {
        headers: { Authorization: pb.client.authStore.token, 'X-AV-Lease': check.lease },
      });
      await pb.sql("UPDATE av_build_checks SET lease_until = '2020-01-01 00:00:00.000Z' WHERE lease_until != ''");
      expect(await claim(pb, { alone: true, maxRetries: 1 })).toEqual({ checks: [], drain: false });
      expect(await checkOf(pb, build)).toMatchObject({ status: 'infected', open: false, suspect: false, rescan_at: '', lease_until: '' });
      expect(await lastEntry()).toMatchObject({
        event: 'failed',
        build: build.id,
        reason: 'lease-expired',
        rescan: true,
        status: 'infected',
      });
    });

    it('changes nothing for what waits already or has no files', async () => {
      const build = await upload(pb, { 'a.txt': 'a' });
      const before = await entries();
      expect(await decide(await checkOf(pb, build), 'rescan')).toMatchObject({ status: 'pending', code: 'already_waiting' });
      const check = await one();
      expect(await decide(check, 'rescan')).toMatchObject({ status: 'scanning', code: 'already_waiting' });
      const empty = await upload(pb, {});
      expect(await refused(decide(await checkOf(pb, empty), 'rescan'))).toEqual({ status: 400, code: 'nothing_to_scan' });
      expect(await entries()).toBe(before);
      expect(await settle(pb, [clean(check)])).toMatchObject([{ ok: true }]);
    });
  });

  describe('all three', () => {
    it('are for superusers alone', async () => {
      const build = await judged(infected);
      for (const action of ['release', 'revoke', 'rescan'] as const) {
        expect(await refused(decide(build.check, action, { reason: note }, new Client(pb.url)))).toMatchObject({ status: 401 });
        expect(await refused(decide(build.check, action, { reason: note }, user))).toMatchObject({ status: 403 });
        expect(await refused(decide(build.check, action, { reason: note }, agent))).toMatchObject({ status: 403 });
      }
      expect(await checkOf(pb, build)).toMatchObject({ open: false, released_by: '', rescan_at: '' });
    });

    it('want a reason that says something and can be read', async () => {
      const build = await judged(infected);
      const hostile: unknown[] = [
        undefined,
        null,
        7,
        {},
        [note],
        '',
        'ab',
        '  a ',
        'x'.repeat(501),
        'two\nlines',
        'a\u0000b',
        'abc\u001b[31m',
        'abc\u2028def',
        'abc\u202etxt.exe',
        'abc\u0085d',
        '\u200b\u200b\u200b',
        'a\u200c\u200d',
        'known\u2060tool',
        'known\ufefftool',
        '\ufeff\ufeff\ufeff',
        'known\u061ctool',
        'known\u00adtool',
        'known tool\u{e0041}',
        '\u3164\u3164\u3164',
        '\u2800\u2800\u2800',
        'a\ufe0f\ufe0f',
        'a    b',
      ];
      for (const reason of hostile) {
        expect(await refused(decide(build.check, 'release', { reason })), JSON.stringify(reason)).toEqual({ status: 400, code: 'invalid' });
      }
      const send = (body: string) =>
        fetch(`${pb.url}/api/av/checks/${build.check.id}/release`, {
          method: 'POST',
          headers: { Authorization: pb.client.authStore.token, 'Content-Type': 'application/json' },
          body,
        }).then(({ status }) => status);
      for (const body of ['', '[]', 'null', '{', '"reason"']) expect(await send(body), body).toBe(400);
      expect(await send(JSON.stringify({ reason: 'x'.repeat(20_000) }))).toBe(413);
      expect(await refused(decide({ id: 'nosuchcheck0001' }, 'release'))).toMatchObject({ status: 404 });
      expect(await refused(decide({ id: "x' OR '1'='1" }, 'release'))).toMatchObject({ status: 404 });
      expect((await checkOf(pb, build)).open).toBe(false);
      const emoji = `${'🦠'.repeat(400)} <b>“ok”</b> ❤️`;
      expect(await decide(build.check, 'release', { reason: emoji })).toMatchObject({ open: true });
      expect(await checkOf(pb, build)).toMatchObject({ release_reason: emoji });
      expect((await pb.client.send('/api/av/history/verify', {})).ok).toBe(true);
    });
  });

  it('nothing is decided that cannot be recorded, and the answer says so', async () => {
    const build = await judged(infected);
    const before = await checkOf(pb, build);
    await pb.sql("CREATE TRIGGER nohistory BEFORE INSERT ON av_scan_history BEGIN SELECT RAISE(ABORT, 'disk full'); END");
    try {
      for (const action of ['release', 'rescan'] as const) {
        const error = (await decide(build.check, action).catch((reason: unknown) => reason)) as { status: number; response: object };
        expect(error).toMatchObject({ status: 503, response: { data: { history: { code: 'history_unwritable' } } } });
        expect(error.response).toMatchObject({ message: expect.stringMatching(/^.{20,}\.$/) });
        expect(JSON.stringify(error.response)).not.toContain('disk full');
      }
      expect(await checkOf(pb, build)).toEqual(before);
      expect((await download(pb, build)).status).toBe(403);
    } finally {
      await pb.sql('DROP TRIGGER nohistory');
    }
    expect(await decide(build.check, 'release')).toMatchObject({ open: true });
  });

  it('without a history key nothing is released, and the answer says why', async () => {
    const build = await judged(infected);
    await pb.kill('SIGTERM');
    pb.setEnv({ AV_HISTORY_KEY: '' });
    await pb.restart();
    try {
      for (const action of ['release', 'rescan'] as const) {
        expect(await refused(decide(build.check, action))).toEqual({ status: 503, code: 'history_key_missing' });
      }
      expect(await refused(pb.client.send('/api/av/history/verify', {}))).toEqual({ status: 503, code: 'history_key_missing' });
      expect(await checkOf(pb, build)).toMatchObject({ open: false, released_by: '', rescan_at: '' });
    } finally {
      await pb.kill('SIGTERM');
      pb.setEnv({ AV_HISTORY_KEY: 'test history key' });
      await pb.restart();
    }
    await eventually('the key is back', async () => (await decide(build.check, 'release')).open);
  });
});
