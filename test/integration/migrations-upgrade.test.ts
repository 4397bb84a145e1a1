/** What an older installation lacks comes with the next `migrate up`, and a collection that is gone is made again as the error says. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { checkOf, download, upload } from '../harness/builds.ts';
import { preparePocketBase, servePocketBase } from '../harness/pocketbase.ts';

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
