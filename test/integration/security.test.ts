/** What docs/threat-model.md promises of strangers, hostile names, secrets and bombs, on the real parts. */
import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { zipOf } from '../../sidecar/clamd/payloads.ts';
import { checkOf, claim, clearAll, download, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { notifySecret } from '../harness/sidecar.ts';
import { type Stack, startStack } from '../harness/stack.ts';

const secrets = {
  AV_NOTIFY_SECRET: notifySecret,
  AV_HISTORY_KEY: 'history key that nobody may see',
  OPERATOR_TOKEN: 'operator token that nobody may see',
  POCKETBASE_SUPERUSER_PASSWORD: 'correct horse battery',
};
let stack: Stack;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-secrets-'));
  const asFiles: Record<string, string> = {};
  for (const [name, secret] of Object.entries(secrets)) {
    await writeFile(join(folder, name), `${secret}\n`, { mode: 0o600 });
    asFiles[`${name}_FILE`] = join(folder, name);
  }
  const { AV_NOTIFY_SECRET_FILE = '', AV_HISTORY_KEY_FILE = '', ...ofSidecar } = asFiles;
  const unset = Object.fromEntries(Object.keys(secrets).map((name) => [name, '']));
  stack = await startStack({
    // Of the 300 s that it may take for one file elsewhere.
    clamd: { conf: { MaxScanTime: '10000' } },
    pocketbase: { env: { ...unset, AV_NOTIFY_SECRET_FILE, AV_HISTORY_KEY_FILE } },
    sidecar: { ...unset, ...ofSidecar, AV_NOTIFY_SECRET_FILE, LOG_LEVEL: 'debug' },
  });
});
afterAll(async () => {
  await stack?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

describe('notifications', () => {
  it('from strangers wake nobody, and slow ones hold nothing open', async () => {
    const { sidecar } = stack;
    const { hostname, port } = new URL(sidecar.url);
    const slow: Socket[] = [];
    for (let i = 0; i < 50; i++) {
      const socket = connect(Number(port), hostname).on('error', () => {});
      // Half in the middle of the headers, half in the middle of the body.
      const headers = 'POST /notify HTTP/1.1\r\nHost: x\r\nX-AV-Timestamp: 1\r\n';
      socket.write(i % 2 === 0 ? headers : `${headers}Content-Length: 16000\r\n\r\n{"check":`);
      slow.push(socket);
    }
    const body = '{"check":"x"}';
    const timestamp = String(Math.floor(Date.now() / 1000));
    const sign = (key: string, text: string) => createHmac('sha256', key).update(text).digest('hex');
    const post = (headers: Record<string, string>, sent = body) =>
      fetch(`${sidecar.url}/notify`, { method: 'POST', headers, body: sent }).then(({ status }) => status);
    const good = { 'X-AV-Timestamp': timestamp, 'X-AV-Signature': sign(notifySecret, `${timestamp}.${body}`) };
    expect(await post(good)).toBe(202);
    expect(await post({ ...good, 'X-AV-Signature': sign('another secret', `${timestamp}.${body}`) })).toBe(401);
    expect(await post(good, '{"check":"y"}')).toBe(401);
    const old = String(Number(timestamp) - 3600);
    expect(await post({ 'X-AV-Timestamp': old, 'X-AV-Signature': sign(notifySecret, `${old}.${body}`) })).toBe(401);
    expect(await post(good, 'x'.repeat(20_000))).toBe(413);
    await Promise.all(slow.map((socket) => socket.closed || once(socket.resume(), 'close')));
    expect((await fetch(`${sidecar.url}/healthz`)).status).toBe(200);
  });
});

describe('names of files', () => {
  const hostile = [
    'a"; filename="b.exe',
    'x\r\nSet-Cookie: a=b',
    '../../../data.db',
    '<script>alert(1)</script>.zip',
    '\u202etxt.exe',
    '%2e%2e%2f',
    "' OR 1=1; --",
  ];

  it('reach storage, log and headers as names and nothing else', async () => {
    const { pb, sidecar } = stack;
    for (const name of hostile) {
      const build = await upload(pb, { [name]: `content of ${name}` });
      const stored = build.files[0]!;
      expect(stored).toMatch(/^[\w.\-()]+$/);
      await eventually(`${JSON.stringify(name)} is judged`, async () => (await checkOf(pb, build)).status === 'clean');
      const answer = await download(pb, build);
      expect([answer.status, answer.body]).toEqual([200, `content of ${name}`]);
      expect(answer.headers.get('set-cookie')).toBeNull();
      expect((await checkOf(pb, build)).log.replaceAll('\n', '')).not.toMatch(/\p{Cc}|\p{Cf}/u);
    }
    for (const line of sidecar.log().trim().split('\n')) expect(() => JSON.parse(line), line).not.toThrow();
  });

  it('that no upload could have are no way out of the storage', async () => {
    const { pb } = stack;
    await sidecarOff(async () => {
      await clearAll(pb);
      for (const name of ['../../../pb_data/data.db', '../../data.db', '/etc/passwd', '..', '%2e%2e/data.db', 'a\u0000b']) {
        const build = await upload(pb, { 'a.txt': 'harmless' });
        await pb.sql(`UPDATE app_builds SET files = '${JSON.stringify([name])}' WHERE id = '${build.id}'`);
        const check = (await claim(pb, { max: 1 })).checks.find((each) => each.build === build.id)!;
        const headers = { Authorization: pb.client.authStore.token, 'X-AV-Lease': check.lease };
        const answer = await fetch(`${pb.url}/api/av/checks/${check.id}/files/${encodeURIComponent(name)}`, { headers });
        expect([name, answer.status]).not.toEqual([name, 200]);
        await pb.sql(`DELETE FROM app_builds WHERE id = '${build.id}'`);
        await pb.sql(`DELETE FROM av_build_checks WHERE build = '${build.id}'`);
      }
    });
  });
});

describe('lease tokens', () => {
  it('cannot be guessed', async () => {
    const { pb } = stack;
    await sidecarOff(async () => {
      await clearAll(pb);
      await upload(pb, { 'a.txt': 'harmless' });
      const [check] = (await claim(pb, { max: 1 })).checks;
      expect(check!.lease).toMatch(/^\w{32,}$/);
      const guesses = Array.from({ length: 500 }, (_, i) =>
        i % 2 === 0 ? randomBytes(24).toString('base64url').slice(0, 32) : check!.lease.slice(0, i % 32),
      );
      const { results } = await pb.client.send('/api/av/renew', {
        method: 'POST',
        body: { leaseSeconds: 60, leases: guesses.map((lease) => ({ id: check!.id, lease })) },
      });
      expect(results.filter(({ ok }: { ok: boolean }) => ok)).toEqual([]);
      await clearAll(pb);
    });
  });
});

describe('secrets', () => {
  it('stay out of logs, answers, metrics, process lists and environments', async () => {
    const { pb, sidecar } = stack;
    const outputs = [sidecar.log(), pb.output()];
    for (const path of ['/readyz', '/metrics', '/healthz', '/nothing', '/api/scans'])
      outputs.push(await (await fetch(`${sidecar.url}${path}`, { headers: { Authorization: 'Bearer wrong' } })).text());
    for (const path of ['/api/av/health', '/api/av/claim', '/api/av/builds/x', '/api/av/nothing'])
      outputs.push(await (await fetch(`${pb.url}${path}`, { headers: { Authorization: pb.client.authStore.token } })).text());
    for (const pid of [pb.pid, sidecar.pid])
      for (const file of ['cmdline', 'environ']) outputs.push(await readFile(`/proc/${pid}/${file}`, 'latin1'));
    const data = join(pb.dir, 'pb_data');
    for (const name of await readdir(data)) if (/\.db/.test(name)) outputs.push(await readFile(join(data, name), 'latin1'));
    for (const [name, secret] of Object.entries(secrets))
      for (const output of outputs) expect(output.includes(secret), `${name} in ${output.slice(0, 80)}`).toBe(false);
  });
});

describe('bombs', () => {
  it('end as what they are, in bounded time and memory', async () => {
    const { pb, clamd, sidecar } = stack;
    // 64 MiB of nothing in 64 KiB, sixteen of them in each of five archives around each other: 64 TiB.
    let bomb = zipOf({ name: 'zeros', data: Buffer.alloc(64 * 1024 * 1024) });
    for (let level = 0; level < 5; level++)
      bomb = zipOf(...Array.from({ length: 16 }, (_, i) => ({ name: `${level}-${i}.zip`, data: bomb })));
    const before = { clamd: await rss(clamd.pid), sidecar: await rss(sidecar.pid) };
    const began = Date.now();
    const build = await upload(pb, { 'bomb.zip': Uint8Array.from(bomb) });
    let peak = { clamd: 0, sidecar: 0 };
    await eventually(
      'it is judged',
      async () => {
        peak = { clamd: Math.max(peak.clamd, await rss(clamd.pid)), sidecar: Math.max(peak.sidecar, await rss(sidecar.pid)) };
        const check = await checkOf(pb, build);
        if (check.status !== 'error') return false;
        expect(check.reason).toMatch(/^unscannable:/);
        return true;
      },
      90_000,
    );
    console.log(
      `a bomb of ${Math.round(bomb.length / 1024)} KiB: ${Date.now() - began} ms, clamd +${peak.clamd - before.clamd} MiB, sidecar +${peak.sidecar - before.sidecar} MiB`,
    );
    expect(peak.sidecar - before.sidecar).toBeLessThan(100);
    expect(peak.clamd - before.clamd).toBeLessThan(600);
    expect((await download(pb, build)).status).toBe(403);
  }, 120_000);
});

async function sidecarOff(work: () => Promise<void>): Promise<void> {
  await stack.sidecar.stop();
  try {
    await work();
  } finally {
    await stack.sidecar.restart();
  }
}

/** In MiB. */
async function rss(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(text)?.[1]) / 1024);
}
