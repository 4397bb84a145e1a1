/** A process that sleeps through its lease wakes up to find its work done by another, and changes nothing. */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { checkOf, download, upload } from '../harness/builds.ts';
import { startClamd } from '../harness/clamd.ts';
import { eventually } from '../harness/eventually.ts';
import { startPocketBase } from '../harness/pocketbase.ts';
import { startSidecar } from '../harness/sidecar.ts';
import { startTcpProxy } from '../harness/tcp-proxy.ts';

const MIB = 1024 * 1024;

it('paused with a verdict in its hands, beyond its lease, a sidecar cannot write it', async () => {
  await using clamd = await startClamd();
  await using pb = await startPocketBase();
  await using proxy = await startTcpProxy(clamd.address);
  const env = { POLL_SECONDS: '1', LEASE_SECONDS: '5' };
  await using sleeper = await startSidecar({ pocketbase: pb, clamd: proxy, env });
  // Stopped when the engine has its whole file and nothing but the answer is missing.
  const last = 'the last bytes of the file';
  await proxy.behave({
    kind: 'watch',
    for: last,
    seen: () => {
      process.kill(sleeper.pid, 'SIGSTOP');
      return 'pass';
    },
  });
  const content = Buffer.concat([randomBytes(4 * MIB).fill(65, 0, 16), Buffer.from(last)]);
  const build = await upload(pb, { 'file.bin': new Uint8Array(content) });
  await eventually('it is being scanned', async () => (await checkOf(pb, build)).status === 'scanning');
  await using other = await startSidecar({ pocketbase: pb, clamd, env });
  await eventually('the other has judged it', async () => (await checkOf(pb, build)).status === 'clean', 40_000);
  const judged = await checkOf(pb, build);
  process.kill(sleeper.pid, 'SIGCONT');
  const left = await eventually('the sleeper knows', () => sleeper.events('left-alone')[0], 20_000);
  expect(left).toMatchObject({ build: build.id, outcome: 'lease-lost' });
  expect(await checkOf(pb, build)).toEqual(judged);
  const entries = (await pb.client.collection('av_scan_history').getFullList()).map((row) => JSON.parse(row['entry']));
  expect(entries).toMatchObject([{ event: 'settled', status: 'clean', build: build.id }]);
  expect(other.events('judged')).toHaveLength(1);
  expect(sleeper.events('judged')).toEqual([]);
  expect((await download(pb, build)).status).toBe(200);
}, 120_000);
