/** What an older installation lacks comes with the next `migrate up`, and a collection that is gone is made again as the error says. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { checkOf, claim, clearAll, download, settle, unscannable, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { preparePocketBase, servePocketBase, superuser } from '../harness/pocketbase.ts';

const INDEX = 'idx_av_build_checks_created';

it('gives an older table the index that lists are read by', async () => {
  const folder = await preparePocketBase({ secondLock: true });
  await folder.run(['migrate', 'up']);
  const later = (await readdir(join(folder.dir, 'pb_migrations'))).filter((file) => file >= '9000000004');
  expect(await folder.run(['migrate', 'down', String(later.length)], 'y\n')).toMatchObject({
    code: 0,
    output: expect.stringContaining('9000000004_av_build_checks_by_time'),
  });
  await using pb = await servePocketBase(folder);
  const { indexes } = await pb.client.collections.getOne('av_build_checks');
  expect(indexes.filter((sql: string) => sql.includes(INDEX))).toHaveLength(1);
  await expect(
    pb.client.collections.update('av_build_checks', { indexes: indexes.filter((sql: string) => !sql.includes(INDEX)) }),
  ).rejects.toThrow();
  expect((await pb.client.collections.getOne('av_build_checks'))['indexes']).toEqual(indexes);
});

it('makes a missing collection again by the commands that the error names', async () => {
  const folder = await preparePocketBase({ secondLock: true });
  const build = await (async () => {
    const pb = await servePocketBase(folder);
    const made = await upload(pb, { 'a.txt': 'a' });
    await pb.sql("DELETE FROM _collections WHERE name = 'av_build_checks'");
    await pb.sql('DROP TABLE av_build_checks');
    await pb.stop({ keep: true });
    return made;
  })();
  const failed = await folder.run(['serve', '--http=127.0.0.1:0']);
  expect(failed.code).not.toBe(0);
  const [, steps = ''] = /the collection av_build_checks is missing\. Run "migrate down (\d+)" and "migrate up"/.exec(failed.output) ?? [];
  expect(Number(steps)).toBe((await readdir(join(folder.dir, 'pb_migrations'))).length);
  expect(await readFile('README.md', 'utf8')).toContain(`pocketbase migrate down ${steps}`);
  expect(await folder.run(['migrate', 'down', steps], 'y\n')).toMatchObject({ code: 0 });
  await using pb = await servePocketBase(folder);
  expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', open: false });
  expect((await download(pb, build)).status).toBe(404);
});

it('remembers what a person has shut where the table could not say so, and trusts no verdict that is void', async () => {
  const folder = await preparePocketBase({ env: { AV_TRUST_LEGACY: 'true' } });
  await using pb = await servePocketBase(folder);
  const judged = async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    await settle(pb, (await claim(pb)).checks.map(unscannable));
    return build;
  };
  const decide = async (build: { id: string }, what: string) =>
    pb.client.send(`/api/av/checks/${(await checkOf(pb, build)).id}/${what}`, { method: 'POST', body: { reason: 'seen to' } });
  const [shut, other, again] = [await judged(), await judged(), await judged()];
  const closed = await upload(pb, { 'a.txt': 'a' });
  await clearAll(pb);
  for (const [build, what] of [
    [shut, 'release'],
    [shut, 'revoke'],
    [again, 'release'],
    [again, 'revoke'],
    [again, 'release'],
  ] as const)
    await decide(build, what);
  await pb.kill('SIGTERM');
  const later = (await readdir(join(folder.dir, 'pb_migrations'))).filter((file) => file >= '9000000006');
  expect(await folder.run(['migrate', 'down', String(later.length)], 'y\n')).toMatchObject({ code: 0 });
  pb.setEnv({ ALLOW_UNSCANNABLE: 'encrypted' });
  await pb.restart();
  await pb.client.crons.run('av-sweep');
  await eventually('the policy has opened the other', async () => (await checkOf(pb, other)).open);
  expect(await checkOf(pb, shut)).toMatchObject({ open: false, shut_by: superuser.email });
  expect(await checkOf(pb, again)).toMatchObject({ open: true, shut_by: '', released_by: superuser.email });

  await pb.sql(`UPDATE av_build_checks SET open = FALSE WHERE build = '${closed.id}'`);
  await pb.kill('SIGTERM');
  const all = await readdir(join(folder.dir, 'pb_migrations'));
  expect(await folder.run(['migrate', 'down', String(all.length)], 'y\n')).toMatchObject({ code: 0 });
  await pb.restart();
  expect(await checkOf(pb, closed)).toMatchObject({ status: 'pending', open: false });
});
