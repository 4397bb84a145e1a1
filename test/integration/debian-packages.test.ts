/** .deb packages on a real engine, which does not open them: each of their members is asked about by itself. */
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tarOf } from '../../sidecar/clamd/payloads.ts';
import type { Answer } from '../../sidecar/scan/model.ts';
import { type RunningClamd, startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { type RunningPool, startPool } from '../harness/engine-pool.ts';

let clamd: RunningClamd;
let running: RunningPool;
const never = new AbortController().signal;

beforeAll(async () => {
  clamd = await startClamd();
  running = startPool([clamd.address]);
  await running.pool.ready(never);
});
afterAll(async () => {
  await running?.[Symbol.asyncDispose]();
  await clamd?.[Symbol.asyncDispose]();
});

/** deb(5): version, control and data, in this order. */
function packageOf(name: string, data: Buffer): Buffer {
  const member = (title: string, content: Buffer) => {
    const head = `${title.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(content.length).padEnd(10)}\`\n`;
    return Buffer.concat([Buffer.from(head), content, Buffer.from(content.length % 2 === 1 ? '\n' : '')]);
  };
  const control = gzipSync(tarOf('./control', Buffer.from('Package: sample\n')));
  return Buffer.concat([
    Buffer.from('!<arch>\n'),
    member('debian-binary', Buffer.from('2.0\n')),
    member('control.tar.gz', control),
    member(name, data),
  ]);
}

async function ask(bytes: Buffer): Promise<Answer> {
  const input = {
    size: bytes.length,
    bytes: (async function* () {
      for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
    })(),
  };
  return (await running.pool.scan(input, never)).answer;
}

describe('a .deb', () => {
  it('is clean where all its members are', async () => {
    expect(await ask(packageOf('data.tar.gz', gzipSync(tarOf('./usr/bin/sample', Buffer.from('harmless')))))).toEqual({ kind: 'clean' });
  });

  it('is infected by what is packed in it', async () => {
    const data = tarOf('./usr/bin/sample', eicar());
    expect(await ask(packageOf('data.tar.gz', gzipSync(data)))).toMatchObject({ kind: 'infected' });
    expect(await ask(packageOf('data.tar', data))).toMatchObject({ kind: 'infected' });
  });

  it('is unscannable by the compression of its data, which is named', async () => {
    expect(await ask(packageOf('data.tar.zst', zstdCompressSync(tarOf('./usr/bin/sample', eicar()))))).toEqual({
      kind: 'unscannable',
      reason: 'unscannable:zstd',
    });
  });

  it('is damaged when it is cut', async () => {
    const whole = packageOf('data.tar.gz', gzipSync(tarOf('./usr/bin/sample', Buffer.from('harmless'))));
    expect(await ask(whole.subarray(0, -7))).toEqual({ kind: 'unscannable', reason: 'unscannable:damaged' });
  });
});
