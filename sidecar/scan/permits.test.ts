import { describe, expect, it } from 'vitest';
import { settled } from './fakes.ts';
import { type FileClass, Permits } from './permits.ts';

const never = new AbortController().signal;

/** Who got a permit, in order. */
function queueUp(permits: Permits) {
  const granted: string[] = [];
  const releases = new Map<string, () => void>();
  const ask = (name: string, size: FileClass, signal = never) => {
    permits.acquire(size, signal).then(
      (permit) => {
        granted.push(name);
        releases.set(name, () => permit.release());
      },
      () => granted.push(`${name} refused`),
    );
  };
  return { granted, ask, release: (name: string) => releases.get(name)?.() };
}

describe('permits', () => {
  it('leaves one place to a file that is not large', async () => {
    const { granted, ask, release } = queueUp(new Permits(3));
    for (const name of ['L1', 'L2', 'L3']) ask(name, 'large');
    ask('s1', 'small');
    ask('s2', 'small');
    await settled();
    expect(granted).toEqual(['L1', 'L2', 's1']);
    release('s1');
    await settled();
    expect(granted).toEqual(['L1', 'L2', 's1', 's2']);
    release('L1');
    await settled();
    expect(granted.at(-1)).toBe('L3');
  });

  it('serves large files too where there is only one place', async () => {
    const { granted, ask, release } = queueUp(new Permits(1));
    ask('L1', 'large');
    ask('s1', 'small');
    ask('L2', 'large');
    await settled();
    release('L1');
    await settled();
    release('s1');
    await settled();
    expect(granted).toEqual(['L1', 's1', 'L2']);
  });

  it('forgets whoever gives up waiting, and releases once only', async () => {
    const { granted, ask, release } = queueUp(new Permits(1));
    const impatient = new AbortController();
    ask('a', 'small');
    ask('b', 'small', impatient.signal);
    ask('c', 'small');
    ask('d', 'small');
    await settled();
    impatient.abort();
    release('a');
    release('a');
    await settled();
    expect(granted).toEqual(['a', 'b refused', 'c']);
  });

  it('enlarges a small permit only while a large one could be had', async () => {
    const permits = new Permits(3);
    const [a, b, c] = await Promise.all([
      permits.acquire('small', never),
      permits.acquire('small', never),
      permits.acquire('small', never),
    ]);
    expect([a.enlarge(), a.enlarge(), b.enlarge(), c.enlarge()]).toEqual([true, true, true, false]);
    b.release();
    expect([b.enlarge(), c.enlarge()]).toEqual([false, true]);
  });
});
