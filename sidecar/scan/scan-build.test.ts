import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ScanError } from './errors.ts';
import { FakeScanner, FakeStore, fakeEngine, ManualClock, settled } from './fakes.ts';
import type { Answer, BuildFile, Check } from './model.ts';
import { LARGE_BYTES, Permits } from './permits.ts';
import type { FileStream } from './ports.ts';
import { scanBuild } from './scan-build.ts';
import { Story } from './story.ts';

const never = new AbortController().signal;
const tooLarge: Answer = { kind: 'unscannable', reason: 'unscannable:too-large' };
const text = (content: string) => new TextEncoder().encode(content);

function setUp(contents: Record<string, Uint8Array | ScanError>, concurrency = 4) {
  const clock = new ManualClock();
  const tools = { store: new FakeStore(), scanner: new FakeScanner(), clock, permits: new Permits(concurrency) };
  for (const [name, bytes] of Object.entries(contents)) tools.store.files.set(name, bytes);
  const story = new Story(clock);
  const ignore = () => {};
  const progress = { story, parked: ignore, begun: ignore, opened: ignore, closed: ignore };
  const scan = (files: readonly BuildFile[] = Object.keys(contents).map((name) => ({ name, size: 0 })), signal = never) => {
    const check: Check = {
      id: 'c',
      build: 'b',
      attempts: 0,
      suspect: false,
      rescan: false,
      lease: { id: 'c', token: 't' },
      waitedSeconds: 0,
      files,
    };
    return scanBuild(check, tools, progress, signal);
  };
  return { ...tools, story, scan };
}

describe('scanBuild', () => {
  it('judges every file and lists every finding, in the order of the build', async () => {
    const { scan, scanner } = setUp({ a: text('bad 1'), b: text('good'), c: text('bad 2') });
    scanner.answer = async (bytes) => {
      const content = new TextDecoder().decode(bytes);
      return content.startsWith('bad') ? { kind: 'infected', signature: `Found.${content.at(-1)}` } : { kind: 'clean' };
    };
    const verdict = await scan();
    expect(verdict.kind).toBe('infected');
    expect(verdict.files.map(({ name, answer }) => [name, answer.kind === 'infected' ? answer.signature : answer.kind])).toEqual([
      ['a', 'Found.1'],
      ['b', 'clean'],
      ['c', 'Found.2'],
    ]);
    expect(verdict.files[1]).toMatchObject({ size: 4, sha256: createHash('sha256').update('good').digest('hex') });
    expect(verdict.engine).toBe(fakeEngine);
  });

  it('asks an engine about an empty file too', async () => {
    const { scan, scanner } = setUp({ empty: new Uint8Array() });
    let asked = 0;
    scanner.answer = async () => {
      asked++;
      return { kind: 'clean' };
    };
    expect(await scan()).toMatchObject({ kind: 'clean', files: [{ size: 0 }] });
    expect(asked).toBe(1);
  });

  it('is not clean when the engine answers before it has read everything', async () => {
    const { scan, scanner } = setUp({ a: new Uint8Array(200_000) });
    scanner.scan = async (input) => {
      for await (const _ of input.bytes) break;
      return { answer: { kind: 'clean' }, engine: fakeEngine, sent: 200_000 };
    };
    await expect(scan()).rejects.toMatchObject({ code: 'engine-reply' });
  });

  const bytes = 100;
  it.each<[string, string, Partial<FileStream>, number]>([
    ['fewer bytes than announced are downloaded', 'engine-reply', { size: bytes + 1 }, bytes],
    ['more bytes than announced are downloaded', 'download', { size: bytes - 1 }, bytes],
    ['the download miscounts', 'engine-reply', { position: bytes - 1 }, bytes],
    ['fewer bytes are sent', 'engine-reply', {}, bytes - 1],
    ['more bytes are sent', 'engine-reply', {}, bytes + 1],
    ['none are sent', 'engine-reply', {}, 0],
    ['fewer bytes are hashed', 'download', { digest: () => ({ sha256: 'ab'.repeat(32), bytes: bytes - 1 }) }, bytes],
    ['more bytes are hashed', 'download', { digest: () => ({ sha256: 'ab'.repeat(32), bytes: bytes + 1 }) }, bytes],
    [
      'there is no digest',
      'download',
      {
        digest: () => {
          throw new Error('none');
        },
      },
      bytes,
    ],
  ])('has no verdict, whatever the engine says, when %s', async (_, code, lie, sent) => {
    for (const answer of [{ kind: 'clean' }, { kind: 'infected', signature: 'Found' }, tooLarge] as const) {
      const { scan, scanner, store } = setUp({ a: new Uint8Array(bytes) });
      const open = store.open.bind(store);
      store.open = async (...args) => Object.create(await open(...args), Object.getOwnPropertyDescriptors(lie));
      const ask = scanner.scan.bind(scanner);
      scanner.answer = async () => answer;
      scanner.scan = async (...args) => ({ ...(await ask(...args)), sent });
      await expect(scan()).rejects.toMatchObject({ name: 'ScanError', code });
    }
  });

  it('takes a refusal by an engine that has not been sent a byte, and nothing else unread', async () => {
    const { scan, scanner } = setUp({ a: new Uint8Array(bytes) });
    const refused = { engine: fakeEngine, sent: 0 };
    scanner.scan = async () => ({ answer: tooLarge, ...refused });
    expect(await scan()).toMatchObject({ kind: 'unscannable', files: [{ size: bytes, sha256: '', engine: fakeEngine }] });
    scanner.scan = async () => ({ answer: { kind: 'clean' }, ...refused });
    await expect(scan()).rejects.toMatchObject({ code: 'engine-reply' });
    scanner.scan = async () => ({ answer: { kind: 'unscannable', reason: 'unscannable:encrypted' }, ...refused });
    await expect(scan()).rejects.toMatchObject({ code: 'engine-reply' });
  });

  it('is not clean when one of many files could not be read', async () => {
    const { scan } = setUp({ a: text('1'), b: new ScanError('download', 'short'), c: text('3') });
    await expect(scan()).rejects.toMatchObject({ code: 'download' });
  });

  it('does not read what is too large, and names the engine whose limit that is', async () => {
    const { scan, scanner, store, story } = setUp({ a: new Uint8Array(2000) });
    scanner.maxBytes = 1999;
    const verdict = await scan();
    expect(verdict).toMatchObject({ kind: 'unscannable', engine: fakeEngine });
    expect(verdict.files).toEqual([
      { name: 'a', size: 2000, sha256: '', answer: { kind: 'unscannable', reason: 'unscannable:too-large' }, ms: 0, engine: null },
    ]);
    expect(store.streams).toBe(0);
    expect(story.text()).toContain('not read');
  });

  it('does not even open what is announced as too large', async () => {
    const { scan, scanner, store } = setUp({ a: text('1') });
    scanner.maxBytes = 1999;
    expect(await scan([{ name: 'a', size: 2000 }])).toMatchObject({ kind: 'unscannable' });
    expect(store.opened).toEqual([]);
  });

  it('does not believe a store that announces two sizes', async () => {
    const { scan, store } = setUp({ a: text('123') });
    await expect(scan([{ name: 'a', size: 4 }])).rejects.toMatchObject({ code: 'download' });
    expect(store.streams).toBe(0);
  });

  it('scans a small file while all places for large ones are taken, and closes the stream of a large one that has to wait', async () => {
    const large = new Uint8Array(LARGE_BYTES + 1);
    const { scan, scanner, store } = setUp({ L1: large, L2: large, L3: large, s: text('small') }, 3);
    const gate = Promise.withResolvers<Answer>();
    const answered: number[] = [];
    scanner.answer = async (bytes) => {
      const answer = bytes.length > 10 ? await gate.promise : ({ kind: 'clean' } as const);
      answered.push(bytes.length);
      return answer;
    };
    const verdict = scan();
    await settled();
    expect(answered).toEqual([5]);
    expect(scanner.inFlight).toBe(2);
    expect(store.streams).toBe(2);
    gate.resolve({ kind: 'clean' });
    expect((await verdict).kind).toBe('clean');
    expect(scanner.mostInFlight).toBe(3);
    expect(store.streams).toBe(0);
  });

  it('ends with the reason of an abort, whatever the parts throw then', async () => {
    const { scan, scanner, store } = setUp({ a: text('1'), b: text('2'), c: text('3') }, 2);
    scanner.answer = (_bytes, signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('socket closed'))));
    const stop = new AbortController();
    const verdict = scan(undefined, stop.signal);
    await settled();
    const why = new ScanError('interrupted', 'told to stop');
    stop.abort(why);
    await expect(verdict).rejects.toBe(why);
    expect(store.streams).toBe(0);
  });
});
