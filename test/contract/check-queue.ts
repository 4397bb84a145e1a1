/** What every CheckQueue must do. Run on the fake and on the adapter over a real PocketBase. */
import { expect, it } from 'vitest';
import { fakeEngine } from '../../sidecar/scan/fakes.ts';
import type { Check, FileVerdict, Outcome, Settlement } from '../../sidecar/scan/model.ts';
import type { CheckQueue } from '../../sidecar/scan/ports.ts';

export interface CheckQueueSubject {
  readonly queue: CheckQueue;
  /** New pending checks, each of a build with one file; resolves with their ids. */
  add(count: number): Promise<string[]>;
  /** Takes the lease of a check away from its holder. */
  steal(check: Check): Promise<void>;
  /** The status word that the store shows. */
  isSettled(id: string): Promise<boolean>;
}

const never = new AbortController().signal;

/** Each test begins with an empty queue. */
export function checkQueueContract(subject: () => CheckQueueSubject): void {
  const claim = (max = 100) => subject().queue.claim({ max, alone: false }, never);

  it('answers an empty list when there is nothing to do', async () => {
    expect(await claim()).toEqual({ checks: [], drain: false });
  });

  it('gives each check to one claim only, at most as many as asked for', async () => {
    const ids = await subject().add(5);
    const first = await claim(3);
    const rest = await claim();
    expect(first.checks).toHaveLength(3);
    expect([...first.checks, ...rest.checks].map((check) => check.id).toSorted()).toEqual(ids.toSorted());
    for (const check of first.checks) expect(check).toMatchObject({ suspect: false, rescan: false, attempts: 0, lease: { id: check.id } });
    await subject().queue.settle(
      [...first.checks, ...rest.checks].map((check) => settlement(check)),
      never,
    );
  });

  it('renews what is held and names what is lost', async () => {
    await subject().add(2);
    const { checks } = await claim();
    await subject().steal(checks[0]!);
    const { lost } = await subject().queue.renew(
      checks.map((check) => check.lease),
      never,
    );
    expect([...lost]).toEqual([checks[0]!.id]);
    await subject().queue.settle([settlement(checks[1]!)], never);
  });

  it('settles verdicts, once, however often they are repeated', async () => {
    await subject().add(2);
    const { checks } = await claim();
    const items = checks.map((check) => settlement(check));
    for (let time = 0; time < 2; time++)
      expect(await subject().queue.settle(items, never)).toEqual({ lost: new Set(), refused: new Map() });
    for (const check of checks) expect(await subject().isSettled(check.id)).toBe(true);
    expect((await claim()).checks).toEqual([]);
  });

  it('stores every kind of verdict', async () => {
    await subject().add(3);
    const { checks } = await claim();
    const answers = [
      { kind: 'clean' },
      { kind: 'infected', signature: 'Test.Signature-1' },
      { kind: 'unscannable', reason: 'unscannable:encrypted' },
    ] as const;
    const items = checks.map((check, at) => settlement(check, verdict(check, answers[at]!)));
    expect(await subject().queue.settle(items, never)).toEqual({ lost: new Set(), refused: new Map() });
    for (const check of checks) expect(await subject().isSettled(check.id)).toBe(true);
  });

  it('stores nothing for a lost lease, and names it beside what it stores', async () => {
    await subject().add(2);
    const { checks } = await claim();
    await subject().steal(checks[0]!);
    const { lost, refused } = await subject().queue.settle(
      checks.map((check) => settlement(check)),
      never,
    );
    expect([...lost]).toEqual([checks[0]!.id]);
    expect(refused.size).toBe(0);
    expect(await subject().isSettled(checks[0]!.id)).toBe(false);
    expect(await subject().isSettled(checks[1]!.id)).toBe(true);
  });

  it('takes a give-back', async () => {
    await subject().add(1);
    const { checks } = await claim();
    const items = [settlement(checks[0]!, { kind: 'give-back', code: 'interrupted' })];
    expect(await subject().queue.settle(items, never)).toEqual({ lost: new Set(), refused: new Map() });
  });

  it('rejects with the reason of an abort', async () => {
    const reason = new Error('enough');
    await expect(subject().queue.claim({ max: 1, alone: false }, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
}

function settlement(check: Check, outcome: Outcome = verdict(check, { kind: 'clean' })): Settlement {
  return { check, outcome, log: '+0.001s judged by a contract test' };
}

function verdict(check: Check, answer: FileVerdict['answer']): Outcome {
  const engine = { ...fakeEngine, name: 'contract' };
  const files = check.files.map(({ name }) => ({ name, size: 3, sha256: 'ab'.repeat(32), answer, ms: 1, engine }));
  return { kind: 'verdict', verdict: { kind: answer.kind, files, engine } };
}
