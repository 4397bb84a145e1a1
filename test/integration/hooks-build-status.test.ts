/** Where a build stands: who may ask, and what each is told. */
import Client from 'pocketbase';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { BuildAnswer } from '../../pb_hooks/lib/wire.ts';
import { checkOf, claim, clearAll, infected, settle, unscannable, upload } from '../harness/builds.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

describe('GET /api/av/builds/{id}', () => {
  let pb: RunningPocketBase;
  let user: Client;
  let agent: Client;
  beforeAll(async () => {
    pb = await startPocketBase();
    const member = async (collection: string) => {
      const client = new Client(pb.url).autoCancellation(false);
      const { email, password } = superuser;
      await pb.client.collection(collection).create({ email, password, passwordConfirm: password });
      await client.collection(collection).authWithPassword(email, password);
      return client;
    };
    [user, agent] = [await member('users'), await member('av_agents')];
  });
  afterAll(() => pb?.stop());
  beforeEach(() => clearAll(pb));

  const notFound = (call: Promise<unknown>) => expect(call).rejects.toMatchObject({ status: 404 });
  const ask = (build: { id: string }, client: Client = new Client(pb.url)): Promise<BuildAnswer> =>
    client.send(`/api/av/builds/${build.id}`, {});
  const rule = (viewRule: string | null) => pb.client.collections.update('app_builds', { viewRule });

  it('tells where it stands, and the finding to superusers alone', async () => {
    const [first, second] = [await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'b.txt': 'b' })];
    const { id: check } = await checkOf(pb, second);
    expect(await ask(first)).toMatchObject({ status: 'pending', position: 1, open: false });
    const waiting = await ask(second);
    expect(Object.keys(waiting).sort()).toEqual([
      'build',
      'check',
      'collection',
      'open',
      'position',
      'reason',
      'since',
      'status',
      'usualSeconds',
    ]);
    expect(waiting).toMatchObject({ build: second.id, check, status: 'pending', position: 2, open: false, reason: '' });
    expect(Math.abs(Date.now() - Date.parse(waiting.since!))).toBeLessThan(60_000);
    const { checks } = await claim(pb);
    expect(await ask(second)).toMatchObject({ status: 'scanning', position: null, open: false });
    await settle(pb, [infected(checks[0]!, 'Test.Secret-1'), unscannable(checks[1]!)]);
    const found = await ask(first, user);
    expect(found).toMatchObject({ status: 'infected', open: false, reason: '', position: null });
    expect(JSON.stringify(found)).not.toContain('Secret');
    expect(await ask(first, agent)).toEqual(found);
    expect(await ask(first, pb.client)).toEqual({ ...found, downloads: 0, virusName: 'Test.Secret-1' });
    expect(await ask(second)).toMatchObject({
      status: 'error',
      reason: 'unscannable:encrypted',
      text: 'The engine cannot look inside encrypted content. Upload it without a password.',
    });
    await pb.client.send(`/api/av/checks/${checks[0]!.id}/release`, { method: 'POST', body: { reason: 'known tool' } });
    expect(await ask(first)).toMatchObject({ status: 'infected', open: true });
  });

  it('answers whoever may view the build, and 404 to everybody else', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    try {
      await rule('@request.auth.id != ""');
      await notFound(ask(build));
      expect((await ask(build, user)).status).toBe('pending');
      await rule('branch = "main" && @request.auth.collectionName = "users"');
      await notFound(ask(build, user));
      await pb.client.collection('app_builds').update(build.id, { branch: 'main' });
      expect((await ask(build, user)).status).toBe('pending');
      await notFound(ask(build, agent));
      await rule(null);
      for (const client of [new Client(pb.url), user, agent]) await notFound(ask(build, client));
      expect(await ask(build, pb.client)).toMatchObject({ status: 'pending' });
    } finally {
      await rule('');
    }
    await notFound(ask({ id: 'nosuchbuild0001' }));
    await notFound(ask({ id: "x' OR '1'='1" }));
  });

  it('is for no cache, and shows a build without its check as waiting', async () => {
    await pb.sql(`INSERT INTO app_builds (id, files) VALUES ('rawbuild0000001', '["a.txt"]')`);
    expect(await ask({ id: 'rawbuild0000001' })).toMatchObject({
      check: null,
      status: 'pending',
      position: null,
      open: false,
      since: null,
    });
    const answer = await fetch(`${pb.url}/api/av/builds/rawbuild0000001`);
    expect(answer.headers.get('cache-control')).toBe('private, no-store');
    await pb.sql("DELETE FROM app_builds WHERE id = 'rawbuild0000001'");
    expect((await fetch(`${pb.url}/api/av/builds/rawbuild0000001`)).status).toBe(404);
  });

  it('counts the queue up to a thousand', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const ahead = (count: number) =>
      pb.sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
          INSERT INTO av_build_checks (id, build, status, pending_since) SELECT printf('ahead%010d', i), printf('nobuild%08d', i), 'pending', '2020-01-01 00:00:00.000Z' FROM n`);
    await ahead(999);
    expect((await ask(build)).position).toBe(1000);
    await pb.sql(
      "INSERT INTO av_build_checks (id, build, status, pending_since) VALUES ('aheadofall00001', 'nobuild', 'pending', '2020-01-01 00:00:00.000Z')",
    );
    expect((await ask(build)).position).toBe('>1000');
    await pb.sql("DELETE FROM av_build_checks WHERE id LIKE 'ahead%'");
    expect((await ask(build)).position).toBe(1);
  });
});
