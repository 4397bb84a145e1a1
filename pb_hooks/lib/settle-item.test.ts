import { describe, expect, it } from 'vitest';
import { readSettleItem } from './settle-item.ts';

const sha256 = 'a'.repeat(64);
const file = { name: 'a.zst', size: 1, sha256, verdict: 'clean', ms: 1 };
const closed = { ...file, verdict: 'unscannable', reason: 'unscannable:zstd' };
const found = { ...file, verdict: 'infected', signature: 'Test' };
const engine = {
  name: 'one:3310',
  version: '1.4.6',
  signatures: 27_900,
  signaturesAt: '2026-11-20T00:00:00.000Z',
  limits: { stream: 100, scan: 200, recursion: 17 },
  canaryAt: '2026-11-21T10:00:00.000Z',
};
const item = (some: object) => readSettleItem({ id: 'c', lease: 'l', log: '', verdict: 'clean', files: [file], engine, ...some });
const refused = (some: object) => {
  const answer = item(some);
  return 'ok' in answer ? answer.message : 'accepted';
};

describe('reading a verdict', () => {
  it('keeps the limits and the canary of the engine, and the engine of a file', () => {
    const two = { ...engine, name: 'two:3310', canaryAt: '2026-11-21T10:00:01Z' };
    const files = [file, { ...file, engine: two }];
    expect(item({ files })).toMatchObject({
      engine,
      files: [file, { ...file, engine: { ...two, canaryAt: '2026-11-21T10:00:01.000Z' } }],
    });
  });

  it.each([
    ['limits that are no numbers', { engine: { ...engine, limits: { stream: '1', scan: 1, recursion: 1 } } }, 'engine.limits.stream'],
    ['limits without recursion', { engine: { ...engine, limits: { stream: 1, scan: 1 } } }, 'engine.limits.recursion'],
    ['an engine without limits', { engine: { ...engine, limits: undefined } }, 'engine.limits'],
    ['an engine without a canary', { engine: { ...engine, canaryAt: undefined } }, 'engine.canaryAt'],
    ['limits that are null', { engine: { ...engine, limits: null } }, 'engine.limits'],
    ['a canary without its time', { engine: { ...engine, canaryAt: '2026-11-21' } }, 'engine.canaryAt'],
    ['a canary in local time', { engine: { ...engine, canaryAt: '2026-11-21T10:00:00' } }, 'engine.canaryAt'],
    ['a canary on a day that is none', { engine: { ...engine, canaryAt: '2026-13-41T10:00:00Z' } }, 'engine.canaryAt'],
    ['an empty canary', { engine: { ...engine, canaryAt: '' } }, 'engine.canaryAt'],
    ['a file with an engine that is only a name', { files: [{ ...file, engine: 'two:3310' }] }, 'engine is missing'],
    [
      'a file whose engine has a canary without its time',
      { files: [{ ...file, engine: { ...engine, canaryAt: 'now' } }] },
      'engine.canaryAt',
    ],
    [
      'an unscannable build in which something was found',
      { verdict: 'unscannable', reason: 'unscannable:zstd', files: [closed, found] },
      'infected',
    ],
    ['an unscannable build whose files are all clean', { verdict: 'unscannable', reason: 'unscannable:zstd', files: [file] }, 'reason'],
    ['a reason that none of the files has', { verdict: 'unscannable', reason: 'unscannable:lz4', files: [closed] }, 'reason'],
  ])('refuses %s', (_, some, why) => {
    expect(refused(some)).toContain(why);
  });
});
