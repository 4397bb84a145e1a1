/** Builds that came by raw SQL, past every hook and all at once: each gets its check and its verdict, in memory that does not grow with them. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Stored } from '../chaos/database.ts';
import { startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { eventually } from '../harness/eventually.ts';
import { startPocketBase } from '../harness/pocketbase.ts';
import { startSidecar } from '../harness/sidecar.ts';

const COUNT = 10_000;
/** Of the oldest, so that the test ends; all 10,000 took 215 s on two busy cores, at 114 MB. */
const JUDGED = 1_500;
const STORED = 3_000;
const INFECTED_EACH = 100;
const idOf = (at: number) => `b${String(at).padStart(14, '0')}`;

it(`judges the oldest of ${COUNT} builds that wait first`, async () => {
  await using clamd = await startClamd();
  await using pb = await startPocketBase();
  const database = new Stored(pb.dir);
  const root = join(pb.dir, 'pb_data/storage', database.collectionId());
  for (let at = 1; at <= STORED; at++) {
    await mkdir(join(root, idOf(at)), { recursive: true });
    await writeFile(join(root, idOf(at), 'file.bin'), at % INFECTED_EACH === 0 ? eicar() : `harmless ${at}`);
  }
  await pb.sql(`INSERT INTO app_builds (id, files, created, updated)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${COUNT})
    SELECT printf('b%014d', i), json_array('file.bin'), datetime('now') || '.000Z', datetime('now') || '.000Z' FROM n`);
  await pb.client.crons.run('av-sweep');
  const waiting = () => database.unfinished().length;
  await eventually('each has a check', () => waiting() === COUNT, 60_000);
  await using sidecar = await startSidecar({ pocketbase: pb, clamd, env: { POLL_SECONDS: '1' } });
  const memory = async () => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${sidecar.pid}/status`, 'utf8'))?.[1]) / 1024;
  let most = 0;
  const isFarEnough = async () => {
    most = Math.max(most, await memory());
    return waiting() <= COUNT - JUDGED;
  };
  await eventually('enough have their verdict', isFarEnough, 120_000);
  await sidecar.kill('SIGTERM');
  const checks = database.checks().filter((check) => check.status !== 'pending');
  database.close();
  expect(checks.length).toBeLessThan(STORED);
  for (const { build, status, open } of checks) {
    const isInfected = Number(build.slice(1)) % INFECTED_EACH === 0;
    expect([build, status, open]).toEqual([build, isInfected ? 'infected' : 'clean', isInfected ? 0 : 1]);
  }
  expect(sidecar.events('given-back').filter((line) => line['outcome'] !== 'interrupted')).toEqual([]);
  expect(most).toBeLessThan(200);
}, 240_000);
