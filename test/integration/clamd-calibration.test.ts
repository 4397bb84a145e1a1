/** Engines on settings of their own: what they really look at is measured, and each setting that would make them lie is named. */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { settingsOf } from '../../sidecar/clamd/canary.ts';
import { nestedZip, zipOf } from '../../sidecar/clamd/payloads.ts';
import { inputOf } from '../contract/scanner.ts';
import { startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { startPool } from '../harness/engine-pool.ts';
import { eventually } from '../harness/eventually.ts';

const never = new AbortController().signal;
const tooLarge = { kind: 'unscannable', reason: 'unscannable:too-large' };
const sizes = ['MaxFileSize 2147483645', 'MaxScanSize 2147483644'];

it.each<[string, Record<string, string>, readonly string[]]>([
  ['it calls encrypted archives clean', { AlertEncrypted: 'no' }, ['AlertEncrypted yes']],
  ['it is silent about its limits', { AlertExceedsMax: 'no' }, ['AlertExceedsMax yes']],
  ['it does not look into archives', { ScanArchive: 'no' }, ['ScanArchive yes']],
  ['it follows no archive', { MaxRecursion: '1' }, ['MaxRecursion 17']],
  ['it cuts zip members silently at 104857600 bytes', { MaxFileSize: '100M', MaxScanSize: '400M' }, sizes],
  ['it cuts zip members silently', { MaxFileSize: '0', MaxScanSize: '0' }, sizes],
  ['it calls encrypted archives clean', { AlertEncrypted: 'no', AlertExceedsMax: 'no' }, ['AlertEncrypted yes', 'AlertExceedsMax yes']],
  ['it cuts zip members silently', { AlertEncrypted: 'no', MaxFileSize: '25M', MaxScanSize: '100M' }, ['AlertEncrypted yes', ...sizes]],
])('takes no work, and every setting that must change is named: %s (%o)', async (what, conf, settings) => {
  await using clamd = await startClamd({ conf });
  await using running = startPool([clamd.address]);
  const state = await eventually('it was asked', () => running.pool.state().find((each) => each.why !== 'not asked yet'));
  expect(state).toMatchObject({ ready: false, why: expect.stringContaining(what) });
  expect(settingsOf(state!.faults)).toEqual(settings);
  for (const setting of settings) expect(state!.why).toContain(setting);
  const lie = { engine: clamd.address, since: null, reason: state!.why };
  expect(running.events.filter(({ kind }) => kind === 'engine-lied')).toEqual([{ kind: 'engine-lied', lie }]);
  await expect(running.pool.scan(inputOf(eicar()), never)).rejects.toMatchObject({
    code: 'engine-unavailable',
    message: expect.stringContaining(what),
  });
});

it('says which setting keeps it from being asked at all, and calls that no lie', async () => {
  await using clamd = await startClamd({ conf: { StreamMaxLength: '1K' } });
  await using running = startPool([clamd.address]);
  await eventually('it says so', () => running.pool.state()[0]?.why?.includes('set StreamMaxLength 2147483645'));
  expect(running.events.map(({ kind }) => kind)).toEqual(['engine-down']);
});

it('measures the limits of the shared configuration', async () => {
  await using clamd = await startClamd();
  await using running = startPool([clamd.address]);
  await running.pool.ready(never);
  const limits = { stream: 2_147_483_645, scan: 2_147_483_644, recursion: 16 };
  expect(running.pool.state()).toMatchObject([{ limits }]);
  expect((await running.pool.scan(inputOf(randomBytes(10)), never)).engine).toMatchObject({ limits });
});

it('measures small limits to the byte, and reads nothing that lies beyond', async () => {
  const conf = { MaxScanSize: '1M', MaxFileSize: '2M', StreamMaxLength: '1500000', MaxRecursion: '5' };
  await using clamd = await startClamd({ conf });
  await using running = startPool([clamd.address]);
  await running.pool.ready(never);
  expect(running.pool.state()).toMatchObject([{ limits: { stream: 1_500_000, scan: 1_048_576, recursion: 4 } }]);
  const answerTo = async (bytes: Buffer) => (await running.pool.scan(inputOf(bytes), never)).answer;
  const text = (length: number) => Buffer.alloc(length, 'harmless ');
  expect(await answerTo(text(1_048_576))).toEqual({ kind: 'clean' });
  const unpacked = (size: number) => zipOf({ name: 'a.txt', data: text(size) });
  expect(await answerTo(unpacked(1_000_000))).toEqual({ kind: 'clean' });
  expect(await answerTo(unpacked(1_048_576))).toEqual(tooLarge);
  expect(await answerTo(nestedZip(4, text(1000)))).toEqual({ kind: 'clean' });
  expect(await answerTo(nestedZip(5, text(1000)))).toEqual({ kind: 'unscannable', reason: 'unscannable:too-deep' });
  const unread: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]() {
      throw new Error('it was read');
    },
  };
  expect(await running.pool.scan({ size: 1_048_577, bytes: unread }, never)).toMatchObject({ answer: tooLarge, sent: 0 });
});

it('gives a large file to the engine that looks at all of it, and waits for that one when it is away', async () => {
  await using small = await startClamd({ conf: { MaxScanSize: '1M', MaxFileSize: '2M', StreamMaxLength: '3M' } });
  await using large = await startClamd();
  await using running = startPool([small.address, large.address]);
  await eventually('both are ready', () => running.pool.state().filter((engine) => engine.ready).length === 2);
  const content = Buffer.alloc(2_000_000, 'harmless ');
  for (let round = 0; round < 3; round++) {
    const { answer, engine } = await running.pool.scan(inputOf(content), never);
    expect([answer.kind, engine.name]).toEqual(['clean', large.address]);
  }
  await large.kill();
  await eventually('its death is noticed', async () => {
    await expect(running.pool.scan(inputOf(content), never)).rejects.toMatchObject({ name: 'ScanError' });
    return running.pool.state().some(({ ready }) => !ready);
  });
  await expect(running.pool.scan(inputOf(content), never)).rejects.toMatchObject({ code: 'engine-unavailable' });
  expect((await running.pool.scan(inputOf(Buffer.from('small')), never)).engine.name).toBe(small.address);
});

it('measures anew when a clamd comes back with other limits', async () => {
  await using clamd = await startClamd();
  await using running = startPool([clamd.address], { canaryIntervalMs: 100 });
  await running.pool.ready(never);
  await clamd.kill();
  await using other = await startClamd({ port: clamd.port, conf: { MaxScanSize: '3M', MaxFileSize: '4M' } });
  await eventually('the new limits are known', () => running.pool.state()[0]?.limits?.scan === 3_145_728);
  expect(running.pool.state()).toMatchObject([{ name: other.address, ready: true }]);
  expect(running.events.some(({ kind }) => kind === 'engine-lied')).toBe(false);
});
