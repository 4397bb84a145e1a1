/** What every Voids must do. Run on the fake and on the adapter over a real PocketBase. */
import { expect, it } from 'vitest';
import type { Voids } from '../../sidecar/scan/ports.ts';

export interface VoidsSubject {
  readonly voids: Voids;
  /** A build that the engine called this; resolves with a name for it. */
  judged(engine: string, canaryAt: string, kind: 'clean' | 'infected'): Promise<string>;
  /** Whether the verdict still stands. */
  stands(build: string): Promise<boolean>;
}

const never = new AbortController().signal;
const at = (second: number) => new Date(Date.UTC(2026, 0, 2, 0, 0, second)).toISOString();

/** Each test has engines of its own. */
export function voidsContract(subject: () => VoidsSubject): void {
  const reason = 'it misses the EICAR test file';
  const standing = async (builds: readonly string[]) => await Promise.all(builds.map((build) => subject().stands(build)));

  it('takes back what that engine said since then, and nothing else', async () => {
    const { voids, judged } = subject();
    const builds = [
      await judged('liar-1', at(1), 'clean'),
      await judged('liar-1', at(2), 'clean'),
      await judged('liar-1', at(3), 'infected'),
      await judged('honest-1', at(3), 'clean'),
    ];
    expect(await voids.voidSince({ engine: 'liar-1', since: at(2), reason }, never)).toEqual({ closed: 1, rescanned: 1 });
    expect(await standing(builds)).toEqual([true, false, false, true]);
  });

  it('goes back to its newest canary where the time is not known', async () => {
    const { voids, judged } = subject();
    const builds = [await judged('liar-2', at(1), 'clean'), await judged('liar-2', at(5), 'clean'), await judged('liar-2', at(5), 'clean')];
    expect(await voids.voidSince({ engine: 'liar-2', since: null, reason }, never)).toEqual({ closed: 2, rescanned: 0 });
    expect(await standing(builds)).toEqual([true, false, false]);
  });

  it('does nothing twice', async () => {
    const { voids, judged } = subject();
    const build = await judged('liar-3', at(1), 'clean');
    const lie = { engine: 'liar-3', since: at(1), reason };
    await voids.voidSince(lie, never);
    expect(await voids.voidSince(lie, never)).toEqual({ closed: 0, rescanned: 0 });
    expect(await standing([build])).toEqual([false]);
  });

  it('has nothing to do for an engine that never judged anything', async () => {
    for (const since of [null, at(1)])
      expect(await subject().voids.voidSince({ engine: 'unknown', since, reason }, never)).toEqual({ closed: 0, rescanned: 0 });
  });

  it('takes a reason of any length', async () => {
    const lie = { engine: 'unknown', since: at(1), reason: `${'long '.repeat(1000)}\nand two lines` };
    expect(await subject().voids.voidSince(lie, never)).toEqual({ closed: 0, rescanned: 0 });
  });

  it('rejects with the reason of an abort', async () => {
    const enough = new Error('enough');
    const lie = { engine: 'unknown', since: null, reason };
    await expect(subject().voids.voidSince(lie, AbortSignal.abort(enough))).rejects.toBe(enough);
  });
}
