import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EnginePool } from '../../sidecar/clamd/pool.ts';
import { inputOf } from '../contract/scanner.ts';
import { type RunningClamd, startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { startPool } from '../harness/engine-pool.ts';
import { eventually } from '../harness/eventually.ts';
import { type Behaviour, startTcpProxy } from '../harness/tcp-proxy.ts';

const never = new AbortController().signal;
const small = randomBytes(10_240);
const large = randomBytes(40 * 1024 * 1024);

let clamd: RunningClamd;
beforeAll(async () => {
  clamd = await startClamd();
});
afterAll(() => clamd[Symbol.asyncDispose]());

async function provesItself(pool: EnginePool): Promise<void> {
  await pool.ready(AbortSignal.timeout(15_000));
  expect((await pool.scan(inputOf(small), never)).answer).toEqual({ kind: 'clean' });
  expect((await pool.scan(inputOf(eicar()), never)).answer).toMatchObject({ kind: 'infected' });
}

const says = (text: string) => () => Buffer.from(text, 'latin1');

const faults: readonly (readonly [what: string, behaviour: Behaviour, content: Buffer, code: string])[] = [
  ['nobody listens', { kind: 'refuse' }, small, 'engine-unavailable'],
  ['reset at the first byte', { kind: 'reset', after: 1 }, small, 'engine-reply'],
  ['reset in the middle', { kind: 'reset', after: 1_000_000 }, large, 'engine-busy'],
  ['a black hole, small file', { kind: 'blackhole' }, small, 'engine-reply'],
  ['a black hole, large file', { kind: 'blackhole' }, large, 'engine-reply'],
  ['everything taken, nothing said', { kind: 'silent' }, small, 'engine-reply'],
  ['half-closed in the middle', { kind: 'halfClose', after: 1_000_000 }, large, 'engine-busy'],
  ['half-closed at the end', { kind: 'halfClose', after: small.length + 18 }, small, 'engine-reply'],
  ['OK before the upload ends', { kind: 'early', after: 1_000_000, reply: 'stream: OK\0' }, large, 'engine-reply'],
  ['FOUND before the upload ends', { kind: 'early', after: 1_000_000, reply: 'stream: X FOUND\0' }, large, 'engine-reply'],
  ['no reply', { kind: 'replace', reply: says('') }, small, 'engine-reply'],
  ['a reply cut before its end', { kind: 'replace', reply: says('stream: OK') }, small, 'engine-reply'],
  ['a finding cut before its end', { kind: 'replace', reply: says('stream: X.BOOK-1 FOU') }, small, 'engine-reply'],
  ['a reply and another', { kind: 'replace', reply: says('stream: OK\0stream: OK\0') }, small, 'engine-reply'],
  ['no room to unpack', { kind: 'replace', reply: says("stream: Can't write to file ERROR\0") }, small, 'engine-busy'],
  ['no room for the upload', { kind: 'early', after: 1_000_000, reply: 'Error writing to temporary file ERROR\0' }, large, 'engine-busy'],
  ['an error of clamd', { kind: 'replace', reply: says('stream: Malformed database ERROR\0') }, small, 'engine-reply'],
  ['a stranger', { kind: 'replace', reply: says('HTTP/1.1 200 OK\r\n\r\n') }, small, 'engine-reply'],
  ['a reply without end', { kind: 'replace', reply: says('stream: '.repeat(100_000)), hang: true }, small, 'engine-reply'],
  ['a reply whose connection never ends', { kind: 'replace', reply: (whole) => whole, hang: true }, small, 'engine-reply'],
];

describe('a connection to clamd', () => {
  it.each(faults)('that fails gives no verdict: %s', async (_, behaviour, content, code) => {
    await using proxy = await startTcpProxy(clamd.address);
    await using running = startPool([proxy.address], { stallMs: 400, timeoutMs: 400 });
    const { pool } = running;
    await pool.ready(never);
    await proxy.behave(behaviour);
    await expect(pool.scan(inputOf(content), never)).rejects.toMatchObject({ name: 'ScanError', code });
    expect(pool.state()).toMatchObject([{ ready: false, inFlight: 0 }]);
    await proxy.behave({ kind: 'pass' });
    await provesItself(pool);
    await eventually('no connection is left', () => proxy.stillHeld() === 0);
  });

  it('that is slow, but says all, gives a verdict', async () => {
    await using proxy = await startTcpProxy(clamd.address);
    await using running = startPool([proxy.address]);
    await running.pool.ready(never);
    await proxy.behave({ kind: 'replace', reply: (whole) => whole, dripMs: 5 });
    expect((await running.pool.scan(inputOf(small), never)).answer).toEqual({ kind: 'clean' });
    expect((await running.pool.scan(inputOf(eicar()), never)).answer).toMatchObject({ kind: 'infected' });
  });

  it('is not tried while the engine is known to be down', async () => {
    await using proxy = await startTcpProxy(clamd.address);
    await using running = startPool([proxy.address]);
    await running.pool.ready(never);
    await proxy.behave({ kind: 'refuse' });
    await expect(running.pool.scan(inputOf(small), never)).rejects.toMatchObject({ code: 'engine-unavailable' });
    const before = proxy.accepted();
    let asked = false;
    async function* bytes() {
      asked = true;
      yield small;
    }
    await expect(running.pool.scan({ size: small.length, bytes: bytes() }, never)).rejects.toMatchObject({ code: 'engine-unavailable' });
    expect(asked).toBe(false);
    expect(proxy.accepted()).toBe(before);
  });
});

describe('an engine', () => {
  const lies: readonly (readonly [what: string, lie: (reply: string) => string, why: string])[] = [
    [
      'that has lost its signatures',
      (reply) => reply.replace(/^ClamAV.*/, 'ClamAV 1.4.6/4294967295/invalid timestam\0'),
      'lost its signatures',
    ],
    ['with old signatures', (reply) => reply.replace(/^ClamAV.*/, 'ClamAV 1.4.6/27000/Sat Nov 21 06:04:42 2020\0'), 'hours old'],
    ['that finds nothing', (reply) => reply.replace(/^stream: .*/, 'stream: OK\0'), 'misses the EICAR test file'],
    ['that finds everything', (reply) => reply.replace(/^stream: .*/, 'stream: Everything FOUND\0'), 'harmless bytes'],
    ['that is something else', () => '220 mail.example.org ESMTP\r\n', 'answered VERSION with'],
  ];

  it.each(lies)('%s takes no work', async (_, lie, why) => {
    await using proxy = await startTcpProxy(clamd.address);
    await proxy.behave({ kind: 'replace', reply: (whole) => Buffer.from(lie(whole.toString('latin1')), 'latin1') });
    await using running = startPool([proxy.address], { maxSignatureAgeMs: 168 * 3_600_000 });
    await eventually('the reason is known', () => running.pool.state()[0]?.why?.includes(why));
    expect(running.pool.state()).toMatchObject([{ ready: false }]);
    await expect(running.pool.scan(inputOf(small), never)).rejects.toMatchObject({ code: 'engine-unavailable' });
    await expect(running.pool.ready(AbortSignal.timeout(100))).rejects.toThrow();
    await proxy.behave({ kind: 'pass' });
    await provesItself(running.pool);
  });

  it('that stops to detect while it works takes no more work after the next canary', async () => {
    await using proxy = await startTcpProxy(clamd.address);
    await using running = startPool([proxy.address], { canaryIntervalMs: 100 });
    await running.pool.ready(never);
    await proxy.behave({ kind: 'replace', reply: (whole) => Buffer.from(whole.toString().replace(/^stream: .*/, 'stream: OK\0')) });
    await eventually('the canary fails', () => running.pool.state()[0]?.why?.includes('EICAR'));
    expect(running.events.map((event) => event.kind)).toEqual(['engine-ready', 'canaries-failed', 'engine-lied', 'engine-down']);
  });

  it('proves itself anew when its version changes, long before the next canary is due', async () => {
    let version = 'ClamAV 1.4.6\0';
    await using proxy = await startTcpProxy(clamd.address);
    await proxy.behave({ kind: 'replace', reply: (whole) => Buffer.from(whole.toString().replace(/^ClamAV.*/, version)) });
    await using running = startPool([proxy.address], { maxSignatureAgeMs: Number.MAX_SAFE_INTEGER });
    await running.pool.ready(never);
    version = 'ClamAV 1.4.6/27001/Sat Nov 21 06:04:42 2026\0';
    const { engine } = await eventually(
      'a verdict names the new signatures',
      async () => {
        const scanned = await running.pool.scan(inputOf(small), never);
        return scanned.engine.signatures === 27_001 ? scanned : null;
      },
      30_000,
    );
    expect(engine.signaturesAt).toBe('2026-11-21T06:04:42.000Z');
    expect(running.pool.state()[0]?.signatureAgeSeconds).toBeGreaterThanOrEqual(0);
  });
});
