import { expect, it } from 'vitest';
import { EndedSessions } from './ended-sessions.ts';

it('forgets what has run out, and beyond its bound the oldest', () => {
  const ended = new EndedSessions(2);
  ended.add('short', 10, 0);
  ended.add('long', 100, 0);
  ended.add('third', 100, 20);
  expect(['short', 'long', 'third'].map((id) => ended.has(id))).toEqual([false, true, true]);
  ended.add('fourth', 100, 20);
  expect(['long', 'third', 'fourth'].map((id) => ended.has(id))).toEqual([false, true, true]);
});
