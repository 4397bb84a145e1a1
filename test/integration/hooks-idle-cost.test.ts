/** What an idle server does each minute and every few seconds costs the same however many checks are finished, and overlooks nothing. */
import { expect, it } from 'vitest';
import { cpuMs } from '../../scripts/bench/process-usage.ts';
import { checkOf, claim, clearAll, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';

const FINISHED = 150_000;
const ROUNDS = 20;
const SIGNATURES = 27_000;
/** Less than a search through that many builds and checks takes. */
const NOISE_MS_A_ROUND = 15;

/** Copies of the one build there is, and of its check. */
async function addFinished(pb: RunningPocketBase): Promise<void> {
  for (const [table, own] of [
    ['app_builds', { id: "printf('b%014d', i)" }],
    ['av_build_checks', { id: "printf('c%014d', i)", build: "printf('b%014d', i)" }],
  ] as const) {
    const { fields } = await pb.client.collections.getOne(table);
    const names = fields.map(({ name }) => `\`${name}\``);
    const values = fields.map(({ name }) => (own as Record<string, string>)[name] ?? `source.\`${name}\``);
    await pb.sql(
      `INSERT INTO ${table} (${names}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${FINISHED})
       SELECT ${values} FROM n, (SELECT * FROM ${table} LIMIT 1) source`,
    );
  }
}

/** CPU milliseconds of PocketBase for a round of all that is asked of an idle server, the ends of its sweeps included. */
async function costOfRound(pb: RunningPocketBase, rounds = ROUNDS): Promise<number> {
  const before = cpuMs(pb.pid);
  for (let round = 0; round < rounds; round++) {
    await pb.client.crons.run('av-sweep');
    await pb.client.send('/api/av/health', {});
    expect((await claim(pb, { signatures: SIGNATURES })).checks).toEqual([]);
  }
  let used = cpuMs(pb.pid);
  await eventually('PocketBase rests', async () => {
    const then = used;
    await new Promise((resolve) => setTimeout(resolve, 100));
    used = cpuMs(pb.pid);
    return used === then;
  });
  return (used - before) / rounds;
}

it('costs no more with 150,000 finished checks, and finds what raw SQL did among them', async () => {
  await using pb = await startPocketBase();
  const build = await upload(pb, { 'a.txt': 'a' });
  await clearAll(pb);
  await pb.sql(`UPDATE av_build_checks SET signatures = ${SIGNATURES}`);
  const empty = await costOfRound(pb);
  await addFinished(pb);
  const limit = empty + NOISE_MS_A_ROUND;
  // One after the other: searches that run together slow each other down until they seem too dear for each sweep.
  await eventually('a sweep has searched them all and the next one need not', async () => (await costOfRound(pb, 1)) < limit, 30_000);
  expect(await costOfRound(pb)).toBeLessThan(limit);
  const counts = async () => (await pb.client.send('/api/av/health', {})).counts;
  await eventually('all are counted', async () => (await counts()).clean === FINISHED + 1, 8_000);

  const [deleted, orphaned] = ['b00000000000100', 'b00000000000200'];
  await pb.sql(`DELETE FROM av_build_checks WHERE build = '${deleted}'`);
  await pb.sql(`DELETE FROM app_builds WHERE id = '${orphaned}'`);
  await pb.sql("INSERT INTO app_builds (id, files) VALUES ('rawbuild0000001', '[\"a.txt\"]')");
  await pb.client.crons.run('av-sweep');
  await eventually('the next sweep mended all three', async () => {
    const { pending, clean } = await counts();
    return pending === 2 && clean === FINISHED - 1;
  });
  for (const id of [deleted!, 'rawbuild0000001']) expect((await checkOf(pb, { id })).status).toBe('pending');
  await expect(checkOf(pb, { id: orphaned! })).rejects.toMatchObject({ status: 404 });
  expect((await checkOf(pb, build)).status).toBe('clean');
});
