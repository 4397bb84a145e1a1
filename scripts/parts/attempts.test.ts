import { describe, expect, it } from 'vitest';
import { firstThatWorks } from './attempts.ts';

const source = (from: string, take: () => Promise<string | null>, asked: string[]) => ({
  from,
  take: () => {
    asked.push(from);
    return take();
  },
});

describe('asking sources', () => {
  it('takes the first that works and asks no further', async () => {
    const asked: string[] = [];
    const lines: string[] = [];
    const part = await firstThatWorks(
      'engine',
      [
        source('PATH', async () => null, asked),
        source('release', async () => Promise.reject(new Error('no network')), asked),
        source('source', async () => 'built', asked),
        source('never', async () => 'not reached', asked),
      ],
      (line) => lines.push(line),
      'Install it.',
    );
    expect(part).toBe('built');
    expect(asked).toEqual(['PATH', 'release', 'source']);
    expect(lines).toEqual(['engine: not from release (no network)']);
  });

  it('says what to do and why each source failed', async () => {
    const failing = firstThatWorks('engine', [source('a', () => Promise.reject(new Error('broken')), [])], () => {}, 'Install it.');
    await expect(failing).rejects.toThrow('engine could not be obtained. Install it.\n  - a: broken');
  });
});
