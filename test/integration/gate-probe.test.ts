/** The probe of the gate on a real PocketBase: with our hooks, and without them, which is how a gate is lost. */
import { cp, rm } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { ChecksSource } from '../../sidecar/console/checks/checks-source.ts';
import { GateProbe, type GateProbeParts } from '../../sidecar/console/gate-probe.ts';
import { ProbeBuild, type ProbeBuildParts } from '../../sidecar/console/probe-build.ts';
import { Session } from '../../sidecar/pocketbase/session.ts';
import { checkOf, claim, download, form, upload } from '../harness/builds.ts';
import { operatorToken, startConsole } from '../harness/console.ts';
import { eventually } from '../harness/eventually.ts';
import { type PocketBaseOptions, type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const never = new AbortController().signal;

function buildOf(pb: RunningPocketBase, make: ProbeBuildParts['make'], now = () => performance.now()): ProbeBuild {
  const session = new Session({ url: pb.url, ...superuser });
  return new ProbeBuild({ session, source: new ChecksSource(session), make, now });
}

function probeOf(pb: RunningPocketBase, change: Partial<GateProbeParts> = {}, make: ProbeBuildParts['make'] = 'false') {
  const source = new ChecksSource(new Session({ url: pb.url, ...superuser }));
  return new GateProbe({
    source,
    build: buildOf(pb, make),
    urls: [pb.url],
    gate: () => 'enforce',
    counts: () => null,
    now: () => 1000,
    ...change,
  });
}

async function found(pb: RunningPocketBase, change: Partial<GateProbeParts> = {}, make: ProbeBuildParts['make'] = 'false') {
  const probe = probeOf(pb, change, make);
  await probe.look(never);
  return probe.open;
}

async function started(options: PocketBaseOptions): Promise<RunningPocketBase> {
  const pb = await startPocketBase(options);
  onTestFinished(() => pb.stop());
  return pb;
}

/** Stops PocketBase, takes its hooks away, and starts it again; what it answers puts them back the same way. */
async function loseHooks(pb: RunningPocketBase): Promise<() => Promise<void>> {
  const [hooks, kept] = [join(pb.dir, 'pb_hooks'), join(pb.dir, 'kept')];
  await pb.kill('SIGTERM');
  await cp(hooks, kept, { recursive: true });
  await rm(hooks, { recursive: true });
  await pb.restart();
  return async () => {
    await pb.kill('SIGTERM');
    await cp(kept, hooks, { recursive: true });
    await pb.restart();
  };
}

async function serving(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('with the newest closed builds alone', () => {
  let pb: RunningPocketBase;
  beforeAll(async () => {
    pb = await startPocketBase();
  });
  afterAll(() => pb?.stop());

  it('finds a shut gate shut: without builds, with waiting ones, with infected and open ones', async () => {
    expect(await found(pb)).toBeNull();
    const open = await upload(pb, { 'open.txt': 'open' });
    await pb.sql(`UPDATE av_build_checks SET status = 'clean', open = TRUE WHERE build = '${open.id}'`);
    expect(await found(pb)).toBeNull();
    const waiting = await upload(pb, { 'näme with "quotes".txt': 'waiting' });
    const infected = await upload(pb, { 'bad.txt': 'bad' });
    await pb.sql(`UPDATE av_build_checks SET status = 'infected' WHERE build = '${infected.id}'`);
    expect(await found(pb)).toBeNull();
    expect(await checkOf(pb, waiting)).toMatchObject({ open: false });
    expect((await pb.client.collection('app_builds').getList(1, 1)).totalItems).toBe(3);
  });

  it('finds the gate open once the hooks are gone, and shut when they are back', async () => {
    const build = await upload(pb, { 'closed.txt': 'closed' });
    const probe = probeOf(pb);
    const giveBack = await loseHooks(pb);
    await probe.look(never);
    expect(probe.open).toMatchObject({ build: build.id, file: build.files[0], url: pb.url, since: 1000 });
    expect(await found(pb, { gate: () => null })).toMatchObject({ build: build.id });
    // Whoever switched it off knows.
    expect(await found(pb, { gate: () => 'off' })).toBeNull();
    await giveBack();
    await probe.look(never);
    expect(probe.open).toBeNull();
  });

  it('proves nothing by an address that does not answer, nor by a build that was cleared meanwhile', async () => {
    await upload(pb, { 'closed.txt': 'closed' });
    expect(await found(pb, { urls: ['http://127.0.0.1:1'] })).toBeNull();
    const source = new ChecksSource(new Session({ url: pb.url, ...superuser }));
    const [check] = await source.closed(1, 0);
    await pb.sql('UPDATE av_build_checks SET open = TRUE');
    const late = { closed: async () => [check!], some: (ids: readonly string[]) => source.some(ids) };
    expect(await found(pb, { source: late })).toBeNull();
  });
});

describe('its own build', () => {
  const views = {
    '9100000000_views.js': `migrate((app) => {
      const view = (name, id) => app.save(new Collection({ type: 'view', name, listRule: '', viewRule: '', viewQuery: 'SELECT ' + id + ' AS id, files AS archive FROM app_builds' }))
      view('public_builds', 'id')
      view('numbered', "('v' || id)")
    }, () => {})`,
  };

  it('is made once, whoever asks, and is neither claimed nor opened by anything', async () => {
    const pb = await started({});
    const made = await Promise.all([1, 2, 3].map(() => buildOf(pb, 'auto').doors(never)));
    const { items } = await pb.client.collection('app_builds').getList(1, 10);
    expect(items).toMatchObject([{ app: 'Pocketwarden gate probe', files: [expect.stringMatching(/^pocketwarden_gate_probe_\w+\.png$/)] }]);
    const [{ id }] = items as unknown as [{ id: string }];
    expect(made.map((doors) => doors?.check.build)).toEqual([id, id, id]);
    const check = await checkOf(pb, { id });
    expect(check).toMatchObject({ status: 'error', reason: 'probe', open: false });
    expect((await claim(pb)).checks).toEqual([]);
    const decide = (verb: string) => pb.client.send(`/api/av/checks/${check.id}/${verb}`, { method: 'POST', body: { reason: 'because' } });
    await expect(decide('release')).rejects.toMatchObject({ status: 400 });
    await expect(decide('rescan')).rejects.toMatchObject({ status: 400 });
    await pb.client.collection('app_builds').update(id, form({ 'other.txt': 'other' }, 'files+'));
    expect(await checkOf(pb, { id })).toMatchObject({ status: 'error', reason: 'probe', open: false, revision: 2 });
    expect((await claim(pb)).checks).toEqual([]);
    await pb.client.collection('app_builds').update(id, { files: [] });
    expect(await checkOf(pb, { id })).toMatchObject({ status: 'error', reason: 'probe', open: false });
    // Without a file it is of no use, so there is another.
    expect((await buildOf(pb, 'auto').doors(never))?.check.build).not.toBe(id);
  });

  it('is asked for by name, by id, through each view and as a thumbnail, and each of them alone gives an open gate away', async () => {
    const pb = await started({ migrations: { ...views } });
    const build = buildOf(pb, 'true');
    const doors = (await build.doors(never))!;
    const { id, collectionId } = await pb.client.collection('app_builds').getFirstListItem('');
    const at = (where: string, row: string) => [`${where}/${row}/${doors.file}`, `${where}/${row}/${doors.file}?thumb=100x100`];
    const all = [...at('app_builds', id), ...at(collectionId, id), ...at('numbered', `v${id}`), ...at('public_builds', id)];
    expect([...doors.paths].sort()).toEqual(all.sort());
    expect(await found(pb, {}, 'true')).toBeNull();
    await loseHooks(pb);
    for (const path of doors.paths) {
      const one = { ...doors, paths: [path] };
      const asked = { doors: async () => one, doorsOf: async () => null, why: null };
      expect(await found(pb, { build: asked }), path).toMatchObject({ build: id, file: doors.file, url: pb.url });
    }
    // Found without the hooks too, by a console that has just started.
    expect(await found(pb, {}, 'auto')).toMatchObject({ build: id });
  });

  it('gives away a cache that once had it and keeps it, long after the gate is shut again', async () => {
    const pb = await started({});
    const cache = new Map<string, { type: string; body: Buffer }>();
    const proxy = await serving(async (request, response) => {
      const asked = String(request.headers['cache-control'] ?? '').includes('no-cache') ? undefined : cache.get(request.url!);
      if (asked === undefined) {
        const answer = await fetch(`${pb.url}${request.url}`);
        const entry = { type: answer.headers.get('content-type') ?? '', body: Buffer.from(await answer.arrayBuffer()) };
        if (answer.ok) cache.set(request.url!, entry);
        response.writeHead(answer.status, { 'Content-Type': entry.type }).end(entry.body);
      } else response.writeHead(200, { 'Content-Type': asked.type, Age: '60' }).end(asked.body);
    });
    const probe = probeOf(pb, { urls: [pb.url, proxy] }, 'auto');
    await probe.look(never);
    expect(probe.open).toBeNull();
    const giveBack = await loseHooks(pb);
    await found(pb, { urls: [proxy] }, 'auto');
    await giveBack();
    expect(await found(pb, { urls: [pb.url] }, 'auto')).toBeNull();
    await probe.look(never);
    expect(probe.open).toMatchObject({ url: proxy });
    cache.clear();
    await probe.look(never);
    expect(probe.open).toBeNull();
  });

  it('takes neither the page of a login nor silence for the file, and is done with silence in time', async () => {
    const pb = await started({});
    const login = await serving((request, response) => {
      if (request.url?.startsWith('/login'))
        response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>Log in</title>');
      else response.writeHead(302, { Location: `/login?to=${encodeURIComponent(request.url ?? '')}` }).end();
    });
    expect(await found(pb, { urls: [login] }, 'auto')).toBeNull();
    await upload(pb, { 'closed.txt': 'closed' });
    expect(await found(pb, { urls: [login] }, 'auto')).toBeNull();
    const silent = await serving(() => {});
    const began = performance.now();
    expect(await found(pb, { urls: [silent] }, 'auto')).toBeNull();
    // A look each minute, and this long at most for one: 90 s.
    expect(performance.now() - began).toBeLessThan(30_000);
  });

  it('is made among the builds of a host only when asked for, and what stands in the way is said', async () => {
    const host = (required: boolean) => ({
      '1800000000_host.js': `migrate((app) => app.save(new Collection({ type: 'base', name: 'app_builds', listRule: '', viewRule: '', fields: [
        { name: 'serial', type: 'number', required: ${required} },
        { name: 'installer', type: 'file', maxSelect: 1, mimeTypes: ['application/zip'] }, { name: 'shots', type: 'file', maxSelect: 9 }] })), () => {})`,
    });
    const pb = await started({ env: { AV_CREATE_APP_BUILDS: '' }, migrations: host(false) });
    const shy = buildOf(pb, 'auto');
    expect(await shy.doors(never)).toBeNull();
    expect(shy.why).toContain('the builds are yours');
    const none = buildOf(pb, 'false');
    expect([await none.doors(never), none.why]).toEqual([null, null]);
    expect((await pb.client.collection('app_builds').getList(1, 1)).totalItems).toBe(0);
    expect((await buildOf(pb, 'true').doors(never))?.file).toMatch(/\.png$/);

    const strict = await started({ env: { AV_CREATE_APP_BUILDS: '' }, migrations: host(true) });
    let now = 0;
    const refused = buildOf(strict, 'true', () => now);
    expect(await refused.doors(never)).toBeNull();
    expect(refused.why).toMatch(/PocketBase does not take it: .*serial/);
    // Until then a host's hooks are left in peace.
    await strict.client.collections.update('app_builds', {
      fields: (await strict.client.collections.getOne('app_builds')).fields.map((field) => ({ ...field, required: false })),
    });
    expect(await refused.doors(never)).toBeNull();
    now += 3_700_000;
    expect(await refused.doors(never)).not.toBeNull();
    expect(refused.why).toBeNull();
  });

  it('is nobody else’s to make', async () => {
    const pb = await started({});
    const ask = (headers: Record<string, string>) =>
      fetch(`${pb.url}/api/av/probe`, { method: 'POST', body: '{"anywhere":true}', headers });
    expect((await ask({})).status).toBe(401);
    expect((await pb.client.collection('app_builds').getList(1, 1)).totalItems).toBe(0);
  });
});

describe('the console', () => {
  const ready = async (url: string) => {
    const answer = await fetch(`${url}/readyz`, { headers: { Authorization: `Bearer ${operatorToken}` } });
    return {
      status: answer.status,
      body: (await answer.json()) as { parts: { gate: { ready: boolean; why: string | null } }; warnings: string[] },
    };
  };

  it('is not ready, and says so everywhere, once a byte of the probe is had', async () => {
    const pb = await started({});
    await using first = await startConsole({ pocketbase: pb, env: { GATE_PROBE_BUILD: 'auto' } });
    const probe = await eventually('the probe is made', async () => (await pb.client.collection('app_builds').getList(1, 1)).items[0]);
    expect((await ready(first.url)).body.parts.gate).toEqual({ ready: true, why: null });
    await loseHooks(pb);
    expect((await download(pb, probe as never)).status).toBe(200);
    await using second = await startConsole({ pocketbase: pb, env: { GATE_PROBE_BUILD: 'auto' } });
    await eventually('the gate is not ready', async () => !(await ready(second.url)).body.parts.gate.ready);
    const { status, body } = await ready(second.url);
    expect(status).toBe(503);
    expect(body.parts.gate).toMatchObject({
      ready: false,
      why: expect.stringContaining(`the gate stands open: a file of the closed build ${probe.id}`),
    });
    expect(second.events('gate-open')).toMatchObject([{ build: probe.id }]);
    expect(await second.metrics()).toContain('pocketwarden_gate_probe_open 1');
  });

  it('is ready without a build of its own, and says what it does instead', async () => {
    const host = `migrate((app) => { const builds = app.findCollectionByNameOrId('app_builds'); builds.fields.addMarshaledJSON('{"name":"notes","type":"text"}'); app.save(builds) }, () => {})`;
    const pb = await started({ migrations: { '9100000000_host.js': host } });
    await using console = await startConsole({ pocketbase: pb, env: { GATE_PROBE_BUILD: 'auto' } });
    await eventually('it says so', async () =>
      (await ready(console.url)).body.warnings.join().includes('with the newest closed builds only'),
    );
    expect((await ready(console.url)).status).toBe(200);
  });
});
