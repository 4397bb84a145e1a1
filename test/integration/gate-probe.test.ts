/** The probe of the gate on a real PocketBase: with our hooks, and without them, which is how a gate is lost. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ChecksSource } from '../../sidecar/console/checks/checks-source.ts';
import { GateProbe, type GateProbeParts } from '../../sidecar/console/gate-probe.ts';
import { Session } from '../../sidecar/pocketbase/session.ts';
import { checkOf, upload } from '../harness/builds.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const never = new AbortController().signal;
let pb: RunningPocketBase;
beforeAll(async () => {
  pb = await startPocketBase();
});
afterAll(() => pb.stop());

function probeOf(change: Partial<GateProbeParts> = {}) {
  const source = new ChecksSource(new Session({ url: pb.url, ...superuser }));
  return new GateProbe({ source, urls: [pb.url], gate: () => 'enforce', now: () => 1000, ...change });
}

async function found(change: Partial<GateProbeParts> = {}) {
  const probe = probeOf(change);
  await probe.look(never);
  return probe.open;
}

it('finds a shut gate shut: without builds, with waiting ones, with infected and open ones', async () => {
  expect(await found()).toBeNull();
  const open = await upload(pb, { 'open.txt': 'open' });
  await pb.sql(`UPDATE av_build_checks SET status = 'clean', open = TRUE WHERE build = '${open.id}'`);
  expect(await found()).toBeNull();
  const waiting = await upload(pb, { 'näme with "quotes".txt': 'waiting' });
  const infected = await upload(pb, { 'bad.txt': 'bad' });
  await pb.sql(`UPDATE av_build_checks SET status = 'infected' WHERE build = '${infected.id}'`);
  expect(await found()).toBeNull();
  expect(await checkOf(pb, waiting)).toMatchObject({ open: false });
});

it('finds the gate open once the hooks are gone, and shut when they are back', async () => {
  const build = await upload(pb, { 'closed.txt': 'closed' });
  const hooks = join(pb.dir, 'pb_hooks/av.pb.js');
  const source = await readFile(hooks, 'utf8');
  const probe = probeOf();
  await pb.kill('SIGTERM');
  await rm(hooks);
  await pb.restart();
  await probe.look(never);
  expect(probe.open).toMatchObject({ build: build.id, file: build.files[0], url: pb.url, since: 1000 });
  expect(await found({ gate: () => null })).toMatchObject({ build: build.id });
  // Whoever switched it off knows.
  expect(await found({ gate: () => 'off' })).toBeNull();
  await pb.kill('SIGTERM');
  await writeFile(hooks, source);
  await pb.restart();
  await probe.look(never);
  expect(probe.open).toBeNull();
});

it('proves nothing by an address that does not answer, nor by a build that was cleared meanwhile', async () => {
  await upload(pb, { 'closed.txt': 'closed' });
  expect(await found({ urls: ['http://127.0.0.1:1'] })).toBeNull();
  const source = new ChecksSource(new Session({ url: pb.url, ...superuser }));
  const [check] = await source.closed(1);
  await pb.sql('UPDATE av_build_checks SET open = TRUE');
  const late = {
    closed: async () => [check!],
    some: (ids: readonly string[]) => source.some(ids),
    buildsCollection: () => source.buildsCollection(),
  };
  expect(await found({ source: late })).toBeNull();
});
