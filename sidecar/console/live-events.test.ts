import { Hono } from 'hono';
import { afterEach, expect, it } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { listen } from '../http/server.ts';
import type { ConsoleEnv } from './console-env.ts';
import { LiveEvents, type LiveOptions } from './live-events.ts';

const running: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of running.splice(0)) await stop();
});

async function setUp(options: LiveOptions = {}) {
  const state = { value: 'a', asked: 0, hangs: false };
  const checks = async () => {
    state.asked += 1;
    return state.value;
  };
  const sources = [
    { topic: 'checks', fingerprint: checks },
    { topic: 'hung', fingerprint: () => (state.hangs ? new Promise<string>(() => {}) : Promise.resolve('')) },
    { topic: 'broken', fingerprint: () => Promise.reject(new Error('gone')) },
  ];
  const live = new LiveEvents(sources, { everyMs: 10, ...options });
  const app = new Hono<ConsoleEnv>();
  live.addTo(app);
  const server = await listen(app, '127.0.0.1', 0);
  running.push(async () => {
    live.stop();
    await server.close();
  });
  return { state, live, url: server.url, look: () => look(server.url) };
}

async function look(url: string) {
  const away = new AbortController();
  const answer = await fetch(`${url}/events`, { signal: away.signal });
  const viewer = { answer, text: '', hasEnded: false, leave: () => away.abort() };
  const decoder = new TextDecoder();
  const read = async () => {
    for await (const chunk of answer.body!) viewer.text += decoder.decode(chunk, { stream: true });
    viewer.hasEnded = true;
  };
  // Whoever leaves breaks off the reading.
  read().catch(() => {});
  return viewer;
}

const changes = (text: string, topic = 'checks') => text.match(new RegExp(`event: changed\ndata: ${topic}\n`, 'g')) ?? [];

it('tells every viewer of a change, once, and asks no more often for more of them', async () => {
  const { state, look } = await setUp();
  const viewers = [await look(), await look(), await look()];
  await eventually('the source was asked', () => state.asked >= 3);
  const before = viewers.map(({ text }) => changes(text).length);
  state.value = 'b';
  const { asked } = state;
  await eventually('all were told', () => viewers.every(({ text }, at) => changes(text).length === before[at]! + 1));
  expect(state.asked - asked).toBeLessThan(30);
  expect(viewers[0]!.answer.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
});

it('asks nobody while nobody looks', async () => {
  const { state, live, look } = await setUp();
  const first = await look();
  await eventually('the source was asked', () => state.asked > 0);
  first.leave();
  await eventually('the viewer is gone', () => live.viewers === 0);
  const { asked } = state;
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect(state.asked).toBe(asked);
});

it('tells a newcomer, once, of what may have changed since their page was made', async () => {
  const { state, look } = await setUp();
  const first = await look();
  await eventually('the first was told', () => changes(first.text).length === 1);
  const second = await look();
  await eventually('the second was told', () => changes(second.text).length === 1);
  const { asked } = state;
  await eventually('the source was asked again', () => state.asked > asked + 5);
  expect([first, second].map(({ text }) => changes(text).length)).toEqual([1, 1]);
});

it('goes on when one source hangs and another fails', async () => {
  const { state, look } = await setUp();
  state.hangs = true;
  const viewer = await look();
  await eventually('the viewer was told', () => changes(viewer.text).length === 1);
  state.value = 'b';
  await eventually('the viewer was told again', () => changes(viewer.text).length === 2);
  expect(changes(viewer.text, 'broken')).toHaveLength(1);
  expect(changes(viewer.text, 'hung')).toHaveLength(0);
});

it('ends a stream after its life, so that who comes back must still be logged in', async () => {
  const { live, look } = await setUp({ lifeMs: 50 });
  const viewer = await look();
  await eventually('it ended', () => viewer.hasEnded);
  expect(live.viewers).toBe(0);
});

it('takes so many viewers and no more', async () => {
  const { look } = await setUp({ maxViewers: 2 });
  expect([(await look()).answer.status, (await look()).answer.status, (await look()).answer.status]).toEqual([200, 200, 503]);
});

it('ends all streams when it stops', async () => {
  const { live, look } = await setUp();
  const viewer = await look();
  live.stop();
  await eventually('it ended', () => viewer.hasEnded);
  expect((await look()).answer.status).toBe(503);
});

it('counts nobody who asks for the head alone', async () => {
  const { live, url } = await setUp();
  expect((await fetch(`${url}/events`, { method: 'HEAD' })).status).toBe(200);
  expect(live.viewers).toBe(0);
});
