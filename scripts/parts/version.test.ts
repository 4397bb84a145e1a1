import { describe, expect, it } from 'vitest';
import { isWithin, parseVersion } from './version.ts';

describe('versions', () => {
  it.each([
    ['pocketbase version 0.40.4\n', [0, 40, 4]],
    ['ClamAV 1.4.6/27000/Sat Nov 21 06:04:42 2026\n', [1, 4, 6]],
    ['v2.40.3', [2, 40, 3]],
    ['1.4.6+dfsg-0+deb12u1', [1, 4, 6]],
    ['go1.26', [1, 26, 0]],
    ['pocketbase version (untracked)\n', null],
    ['', null],
  ])('reads %j', (text, version) => {
    expect(parseVersion(text)).toEqual(version);
  });

  it.each([
    [[0, 40, 3], false],
    [[0, 40, 4], true],
    [[0, 40, 11], true],
    [[0, 41, 0], false],
    [[1, 0, 0], false],
  ] as const)('%j between 0.40.4 and 0.41: %s', (version, expected) => {
    expect(isWithin(version, { atLeast: [0, 40, 4], below: [0, 41, 0] })).toBe(expected);
  });
});
