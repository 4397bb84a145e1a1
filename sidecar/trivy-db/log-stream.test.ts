import { once } from 'node:events';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { type HttpServer, listen } from '../http/server.ts';
import { streamEvents } from './api.ts';
import { FakeBuilder, FakeBuildLogs, fakeAccess, fakeRecord } from './fakes.ts';
import type { LogStreamOptions } from './log-stream.ts';
import type { LogLine } from './model.ts';
import { createTrivyDbRoutes } from './routes.ts';

const [first, second] = ['20261121T150000Z-000001', '20261121T160000Z-000002'];

let builder: FakeBuilder;
let logs: FakeBuildLogs;
let stopping: AbortController;
let server: HttpServer;

/** In place of that of the connection. */
let address: string | null;
const whose = { addressOf: () => address ?? '127.0.0.1' };

async function serve(stream: Partial<LogStreamOptions> = {}) {
  await server?.close();
  const events = { asked() {} };
  const options = { pollMs: 10, ...stream };
  server = await listen(
    createTrivyDbRoutes({ builder, logs, access: fakeAccess, now: () => 0, events, stopping: stopping.signal, stream: options, ...whose }),
    '127.0.0.1',
    0,
  );
}

beforeEach(async () => {
  address = null;
  builder = new FakeBuilder();
  logs = new FakeBuildLogs();
  stopping = new AbortController();
  await serve();
});
afterEach(async () => {
  stopping.abort();
  await server.close();
});

/** A viewer as a browser is one. */
async function view(query = '', headers: Record<string, string> = {}) {
  const asked = request(`${server.url}/api/logs/stream${query}`, { headers });
  asked.end();
  const [incoming] = await once(asked, 'response');
  let text = '';
  let isOver = false;
  incoming.setEncoding('utf8');
  incoming.on('data', (chunk: string) => {
    text += chunk;
  });
  incoming.on('close', () => {
    isOver = true;
  });
  incoming.on('error', () => {});
  const blocks = () => text.split('\n\n').filter((block) => block.startsWith('id:'));
  return {
    status: incoming.statusCode as number,
    headers: incoming.headers as Record<string, string>,
    text: () => text,
    isOver: () => isOver,
    /** `name id` of each event, with the text of lines. */
    events: () =>
      blocks().map((block) => {
        const [, id, name, data] = /^id: (.*)\nevent: (\w+)\ndata: (.*)$/s.exec(block)!;
        const parsed = streamEvents[name as keyof typeof streamEvents].strict().parse(JSON.parse(data!));
        return `${name} ${id}${'text' in parsed ? ` ${parsed.text}` : ''}${'outcome' in parsed ? ` ${parsed.outcome}` : ''}`;
      }),
    leave: () => asked.destroy(),
    incoming,
  };
}

const lines = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => `line ${from + index}`);

describe('a viewer', () => {
  it('gets the newest lines, then each as it is written, then the end', async () => {
    logs.begin(first);
    logs.write(first, ...lines(1, 5));
    const viewer = await view('?tail=2');
    expect(viewer.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    const begun = [`build ${first}:3`, `line ${first}:4 line 4`, `line ${first}:5 line 5`];
    await eventually('what there is', () => viewer.events().length === 3);
    expect(viewer.events()).toEqual(begun);
    logs.write(first, 'line 6');
    await eventually('the next line', () => viewer.events().at(-1) === `line ${first}:6 line 6`);
    builder.records = [fakeRecord(first, { outcome: 'failed' })];
    logs.end(first);
    await eventually('the end', () => viewer.events().at(-1) === `end ${first}:6 failed`);
    expect(viewer.isOver()).toBe(false);
  });

  it('goes on with the next build', async () => {
    const viewer = await view();
    expect(viewer.events()).toEqual([]);
    logs.begin(first);
    logs.write(first, 'of the first');
    logs.end(first);
    await eventually('the first build', () => viewer.events().length === 3);
    logs.begin(second);
    logs.write(second, 'of the second');
    await eventually('the second build', () => viewer.events().length === 5);
    expect(viewer.events()).toEqual([
      `build ${first}:0`,
      `line ${first}:1 of the first`,
      `end ${first}:1 null`,
      `build ${second}:0`,
      `line ${second}:1 of the second`,
    ]);
  });

  it('resumes where it left off, over builds', async () => {
    logs.begin(first);
    logs.write(first, ...lines(1, 5));
    logs.end(first);
    logs.begin(second);
    logs.write(second, 'of the second');
    const expected = [
      `build ${first}:3`,
      `line ${first}:4 line 4`,
      `line ${first}:5 line 5`,
      `end ${first}:5 null`,
      `build ${second}:0`,
      `line ${second}:1 of the second`,
    ];
    for (const resumed of [
      await view('', { 'Last-Event-ID': `${first}:3` }),
      await view(`?after=${first}:3`),
      await view(`?after=${second}:1`, { 'Last-Event-ID': `${first}:3` }),
    ]) {
      await eventually('both builds', () => resumed.events().length === expected.length);
      expect(resumed.events()).toEqual(expected);
    }
  });

  it.each(['nonsense', '../../etc:1', `${first}:-1`, '20200101T000000Z-ffffff:7', ''])('that resumes with %j is a new one', async (id) => {
    logs.begin(first);
    logs.write(first, 'line 1');
    const viewer = await view('', { 'Last-Event-ID': id });
    await eventually('the line', () => viewer.events().at(-1) === `line ${first}:1 line 1`);
  });

  it('that resumes after a line that never was waits for what comes', async () => {
    logs.begin(first);
    logs.write(first, 'line 1');
    const viewer = await view('', { 'Last-Event-ID': `${first}:999` });
    await eventually('the beginning', () => viewer.events().length === 1);
    logs.write(first, 'line 2');
    await eventually('the line', () => viewer.events().at(-1) === `line ${first}:2 line 2`);
  });

  it('of one build gets that one, and is told not to come back', async () => {
    logs.begin(first);
    logs.write(first, ...lines(1, 2));
    logs.end(first);
    logs.begin(second);
    builder.records = [fakeRecord(first), fakeRecord(second, { outcome: null })];
    const viewer = await view(`?build=${first}`);
    await eventually('the end', () => viewer.isOver());
    expect(viewer.events()).toEqual([`build ${first}:0`, `line ${first}:1 line 1`, `line ${first}:2 line 2`, `end ${first}:2 succeeded`]);
    expect((await view(`?build=${first}`, { 'Last-Event-ID': `${first}:2` })).status).toBe(204);
    expect((await view(`?build=${first}`, { 'Last-Event-ID': `${first}:1` })).status).toBe(200);
    expect((await view(`?build=${second}`, { 'Last-Event-ID': `${second}:0` })).status).toBe(200);
    expect((await view('?build=20200101T000000Z-ffffff')).status).toBe(404);
  });

  it('is not held up by a log that nobody ended', async () => {
    logs.begin(first);
    logs.write(first, ...lines(1, 3));
    const viewer = await view('?tail=1');
    await eventually('the line', () => viewer.events().length === 2);
    logs.begin(second);
    const expected = [`build ${first}:2`, `line ${first}:3 line 3`, `end ${first}:3 null`, `build ${second}:0`];
    await eventually('the second build', () => viewer.events().length === expected.length);
    expect(viewer.events()).toEqual(expected);
    const resumed = await view(`?after=${first}:2`);
    await eventually('the second build again', () => resumed.events().length === expected.length);
    expect(resumed.events()).toEqual(expected);
    builder.records = [fakeRecord(first, { outcome: 'died' })];
    const ofOne = await view(`?build=${first}&tail=0`);
    await eventually('the end', () => ofOne.isOver());
    expect(ofOne.events()).toEqual([`build ${first}:3`, `end ${first}:3 died`]);
    expect(logs.followers).toBe(2);
  });

  it('gets the lines that are written after the outcome', async () => {
    await serve({ pollMs: 300 });
    logs.begin(first);
    builder.records = [fakeRecord(first)];
    const viewer = await view();
    await eventually('it follows', () => logs.followers === 1);
    logs.write(first, 'the last word');
    await eventually('the end', () => viewer.events().length === 3);
    expect(viewer.events()).toEqual([`build ${first}:0`, `line ${first}:1 the last word`, `end ${first}:1 succeeded`]);
  });

  it.each(['build=../x', 'after=x', 'tail=1001', 'tail=-1'])('is refused with %s', async (query) => {
    expect((await view(`?${query}`)).status).toBe(400);
  });

  it('cannot be misled by what a log says', async () => {
    const hostile = [
      'a\nid: x:9\nevent: end\ndata: {}\n\n',
      'b\r\rdata: x',
      '<script>alert(1)</script>',
      '\u001b[31mred\u0000',
      '\u2028\ufeff\ud800',
      'x'.repeat(300_000),
    ];
    logs.begin(first);
    logs.write(first, ...hostile);
    const viewer = await view();
    await eventually('all lines', () => viewer.events().length === 1 + hostile.length);
    const texts = viewer
      .text()
      .split('\n\n')
      .flatMap((block) => (/event: line/.test(block) ? [JSON.parse(block.slice(block.indexOf('data: ') + 6)).text as string] : []));
    expect(texts).toEqual(hostile);
    expect(viewer.text()).not.toContain('\r');
  });

  it('is kept from looking dead by a comment', async () => {
    await serve({ heartbeatMs: 20 });
    logs.begin(first);
    const viewer = await view();
    await eventually('three comments', () => viewer.text().split(':\n\n').length > 3);
    expect(viewer.events()).toEqual([`build ${first}:0`]);
  });
});

describe('who is gone', () => {
  it('is forgotten, whether it waited for a line, a build or neither', async () => {
    await serve({ maxViewers: 3 });
    const waitsForBuild = await view();
    logs.begin(first);
    await eventually('it follows', () => logs.followers === 1);
    waitsForBuild.leave();
    await eventually('nobody follows', () => logs.followers === 0);
    for (let round = 0; round < 3; round++) {
      const viewers = [await view(), await view(), await view()];
      expect((await view()).status).toBe(503);
      logs.write(first, ...lines(1, 1000));
      for (const { leave } of viewers) leave();
      await eventually('room for another one', async () => {
        const viewer = await view();
        viewer.leave();
        return viewer.status === 200;
      });
    }
    await eventually('nobody follows', () => logs.followers === 0);
  });

  it('keeps nobody else out: operators have room of their own, and an address only its own', async () => {
    await serve({ maxViewers: 3, maxPerAddress: 2 });
    logs.begin(first);
    const operator = { Authorization: 'Bearer let-me-in' };
    const viewers = [await view(), await view()];
    expect(viewers.map(({ status }) => status)).toEqual([200, 200]);
    expect((await view()).status).toBe(503);
    const operators = [await view('', operator), await view('', operator), await view('', operator)];
    expect(operators.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect((await view('', operator)).status).toBe(503);
    address = '192.0.2.7';
    expect((await view()).status).toBe(200);
    address = '192.0.2.8';
    expect((await view()).status).toBe(503);
    viewers[0]!.leave();
    await eventually('there is room again', async () => (await view()).status === 200);
  });

  it('includes everyone when the process stops', async () => {
    logs.begin(first);
    const [viewer, ofOne] = [await view(), await view(`?build=${first}`)];
    await eventually('both follow', () => logs.followers === 2);
    stopping.abort();
    await eventually('both are over', () => viewer.isOver() && ofOne.isOver() && logs.followers === 0);
    expect((await view()).status).toBe(503);
  });

  it('includes who reads nothing for too long', async () => {
    await serve({ stallMs: 200, heartbeatMs: 50 });
    logs.begin(first);
    const [slow, awake] = [await view(), await view()];
    slow.incoming.pause();
    logs.write(first, ...Array.from({ length: 100 }, () => 'x'.repeat(100_000)));
    await eventually('only one follows', () => logs.followers === 1);
    expect([slow.incoming.destroyed, awake.isOver()]).toEqual([false, false]);
  });

  it('also when it only asks for the headers', async () => {
    logs.begin(first);
    const answer = await fetch(`${server.url}/api/logs/stream`, { method: 'HEAD' });
    expect(answer.headers.get('content-type')).toContain('text/event-stream');
    expect(logs.followers).toBe(0);
  });
});

it('takes no more lines for a slow viewer than it reads', async () => {
  let taken = 0;
  const endless = async function* (after: number): AsyncGenerator<readonly LogLine[]> {
    for (let number = after + 1; ; number++) {
      taken++;
      yield [{ number, text: 'x'.repeat(10_000), cutBytes: 0 }];
    }
  };
  logs.latest = async () => ({ buildId: first, path: '', total: async () => 0, read: async () => [], follow: endless });
  const viewer = await view();
  viewer.incoming.pause();
  const settled = async () => {
    const before = taken;
    await sleep(100);
    return taken > 0 && taken === before;
  };
  await eventually('nothing more is taken', settled);
  // What the socket buffers of both ends hold, and one batch.
  expect(taken).toBeLessThan(3000);
  const before = taken;
  viewer.incoming.resume();
  await eventually('it goes on', () => taken > before + 1000);
  viewer.leave();
});
