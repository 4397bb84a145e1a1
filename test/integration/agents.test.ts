/** The login for scanners: what it may do, all that it may not, and that a whole sidecar needs nothing more. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Client from 'pocketbase';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkOf, claim, clean, clearAll, download, settle, upload } from '../harness/builds.ts';
import { type RunningClamd, startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { eventually } from '../harness/eventually.ts';
import { preparePocketBase, type RunningPocketBase, servePocketBase } from '../harness/pocketbase.ts';
import { startSidecar } from '../harness/sidecar.ts';

const login = { email: 'scanner@example.com', password: 'a password of the scanner' };
let pb: RunningPocketBase;
let clamd: RunningClamd;
let agent: Client;

beforeAll(async () => {
  const folder = await preparePocketBase();
  const passwordFile = join(folder.dir, 'agent-password');
  await writeFile(passwordFile, `${login.password}\n`, { mode: 0o600 });
  pb = await servePocketBase(folder);
  const create = ['av-agent', '--email', login.email, '--password-file', passwordFile];
  expect((await folder.run(create)).output).toContain(`The agent ${login.email} was created.`);
  expect((await folder.run(create)).output).toContain('exists; nothing changed');
  expect(await folder.run(['av-agent', '--email', login.email])).toMatchObject({ output: expect.stringContaining('usage: av-agent') });
  clamd = await startClamd();
  agent = new Client(pb.url);
  agent.autoCancellation(false);
  await agent.collection('av_agents').authWithPassword(login.email, login.password);
});
afterAll(async () => {
  await clamd?.[Symbol.asyncDispose]();
  await pb?.stop();
});

const status = async (path: string, options: RequestInit = {}): Promise<number> => {
  const headers = { Authorization: agent.authStore.token, 'Content-Type': 'application/json', ...options.headers };
  const answer = await fetch(`${pb.url}${path}`, { ...options, headers });
  await answer.arrayBuffer();
  return answer.status;
};
const post = (path: string, body: object = {}) => status(path, { method: 'POST', body: JSON.stringify(body) });

describe('an agent', () => {
  it('claims, reads what it has claimed, renews and settles', async () => {
    const build = await upload(pb, { 'a.txt': 'harmless' });
    const { checks } = await claim({ client: agent });
    const check = checks.find((each) => each.build === build.id)!;
    const file = `/api/av/checks/${check.id}/files/${build.files[0]}`;
    expect(await status(file, { headers: { 'X-AV-Lease': check.lease } })).toBe(200);
    expect(await post('/api/av/renew', { leaseSeconds: 60, leases: [{ id: check.id, lease: check.lease }] })).toBe(200);
    expect(await status('/api/av/health')).toBe(200);
    await settle({ client: agent }, [clean(check)]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'clean', open: true });
    expect(await status(file, { headers: { 'X-AV-Lease': check.lease } }), 'its lease has ended').toBe(409);
  });

  it('reads no file without a lease, nor under the lease of another check', async () => {
    const [first, second] = [await upload(pb, { 'a.txt': 'one' }), await upload(pb, { 'b.txt': 'two' })];
    const { checks } = await claim({ client: agent });
    const held = checks.find(({ build }) => build === first.id)!;
    const other = checks.find(({ build }) => build === second.id)!;
    const file = `/api/av/checks/${other.id}/files/${second.files[0]}`;
    for (const lease of ['', held.lease, other.lease.slice(0, -1), `${other.lease}x`, '%00', "' OR 1=1 --"])
      expect(await status(file, { headers: { 'X-AV-Lease': lease } }), lease).toBe(409);
    for (const name of ['..%2f..%2fdata.db', `..%2f${first.id}%2f${first.files[0]}`, first.files[0], 'data.db'])
      expect(await status(`/api/av/checks/${other.id}/files/${name}`, { headers: { 'X-AV-Lease': other.lease } }), name).toBe(404);
    expect((await download(pb, second, { headers: { Authorization: agent.authStore.token } })).status).not.toBe(200);
    await settle({ client: agent }, [clean(held), clean(other)]);
  });

  it('sees and changes nothing else', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    await clearAll(pb);
    const { id } = await checkOf(pb, build);
    const reason = { reason: 'because I can' };
    for (const decision of ['release', 'revoke', 'rescan'])
      expect(await post(`/api/av/checks/${id}/${decision}`, reason), decision).toBe(403);
    for (const path of ['/api/av/history/verify', '/api/av/stats']) expect(await status(path), path).toBe(403);
    for (const name of [
      'av_build_checks',
      'av_scan_history',
      'av_deliveries',
      'av_agents',
      '_superusers',
      'users',
      '_authOrigins',
      '_externalAuths',
    ]) {
      const listed = await fetch(`${pb.url}/api/collections/${name}/records`, { headers: { Authorization: agent.authStore.token } });
      const { items = [] } = (await listed.json()) as { items?: unknown[] };
      expect([name, items]).toEqual([name, []]);
      // Anybody may sign up there, as PocketBase makes it.
      if (name === 'users') continue;
      expect(
        await post(`/api/collections/${name}/records`, { email: 'x@example.com', password: '1234567890', passwordConfirm: '1234567890' }),
        name,
      ).toBeGreaterThanOrEqual(400);
    }
    expect(await status(`/api/collections/av_build_checks/records/${id}`)).toBe(403);
    expect(await status(`/api/collections/app_builds/records/${build.id}`, { method: 'PATCH', body: '{}' })).toBeGreaterThanOrEqual(400);
    expect(await status(`/api/collections/app_builds/records/${build.id}`, { method: 'DELETE' })).toBeGreaterThanOrEqual(400);
    for (const path of ['/api/settings', '/api/collections', '/api/logs', '/api/backups', '/api/crons'])
      expect(await status(path), path).toBe(403);
    const self = `/api/collections/av_agents/records/${agent.authStore.record!.id}`;
    expect(
      await status(self, { method: 'PATCH', body: '{"password":"another one","passwordConfirm":"another one","oldPassword":"x"}' }),
    ).toBeGreaterThanOrEqual(400);
    expect(await post('/api/collections/av_agents/request-email-change', { newEmail: 'thief@example.com' })).toBe(403);
    expect(await post('/api/collections/av_agents/impersonate/x', {})).toBe(403);
  });

  it('is no anonymous: whoever is neither agent nor superuser gets none of its routes', async () => {
    const calls = [
      ['POST', 'claim'],
      ['POST', 'renew'],
      ['POST', 'settle'],
      ['GET', 'health'],
      ['GET', 'checks/x/files/y'],
    ] as const;
    const users = new Client(pb.url);
    const account = { email: 'somebody@example.com', password: 'somebody else', passwordConfirm: 'somebody else' };
    await pb.client.collection('users').create(account);
    await users.collection('users').authWithPassword(account.email, account.password);
    for (const [method, path] of calls) {
      expect((await fetch(`${pb.url}/api/av/${path}`, { method })).status, path).toBe(401);
      expect((await fetch(`${pb.url}/api/av/${path}`, { method, headers: { Authorization: users.authStore.token } })).status, path).toBe(
        403,
      );
    }
  });
});

it('is all that a scanner needs', async () => {
  const env = {
    POCKETBASE_AGENT_EMAIL: login.email,
    POCKETBASE_AGENT_PASSWORD: login.password,
    POCKETBASE_SUPERUSER_EMAIL: '',
    POCKETBASE_SUPERUSER_PASSWORD: '',
  };
  await using sidecar = await startSidecar({ pocketbase: pb, clamd, env });
  const [good, bad] = [await upload(pb, { 'a.txt': 'harmless' }), await upload(pb, { 'b.com': Uint8Array.from(eicar()) })];
  await eventually('both are judged', async () => {
    const checks = [await checkOf(pb, good), await checkOf(pb, bad)];
    expect(checks.map((check) => check.status)).toEqual(['clean', 'infected']);
    return true;
  });
  expect(sidecar.log()).not.toContain(login.password);
  const environ = await readFile(`/proc/${sidecar.pid}/cmdline`, 'utf8');
  expect(environ).not.toContain(login.password);
});

it('tells a wrong password of the agent from one of a superuser', async () => {
  const env = { POCKETBASE_AGENT_EMAIL: login.email, POCKETBASE_AGENT_PASSWORD: 'wrong', METRICS_TOKEN: '' };
  await using sidecar = await startSidecar({ pocketbase: pb, clamd, env, until: 'listening' });
  await eventually('it says so', async () =>
    (await (await fetch(`${sidecar.url}/readyz`)).text()).includes('password of the agent scanner@example.com'),
  );
});
