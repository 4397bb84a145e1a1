import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { giveBackCodes } from './reasons.ts';
import {
  begin,
  type CheckState,
  claimed,
  filesChanged,
  gaveBack,
  imported,
  isRescan,
  lapsed,
  type Patch,
  settled,
  statuses,
} from './rules.ts';

const now = 1_800_000_000_000;
type Whole = CheckState & Required<Patch>;
const fresh = (some: Partial<Whole> = {}): Whole => ({ ...(begin(true, 1, now) as Whole), findings: '', ...some });
const scanning = (patch: Patch = {}): Whole =>
  fresh({ status: 'scanning', leaseToken: 't', leaseUntil: now + 60_000, worker: 'w', ...patch });
const released = { releasedBy: 'ana', releasedAt: now, releaseReason: 'known tool', open: true };

const state = fc
  .record({
    status: fc.constantFrom(...statuses),
    attempts: fc.nat(5),
    lapses: fc.nat(3),
    suspect: fc.boolean(),
    virusName: fc.constantFrom('', 'A', 'B'),
    releasedBy: fc.constantFrom('', 'ana'),
    revision: fc.nat(9),
  })
  .map((some): Whole => {
    const open = some.status === 'clean' || (some.releasedBy !== '' && (some.status === 'infected' || some.status === 'error'));
    return { ...fresh(), ...some, open, reason: some.status === 'error' ? 'unscannable:zstd' : '' };
  });
type Step = (before: Whole) => Patch | null;
const maxRetries = 3;
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.constantFrom(...giveBackCodes).map(
    (code): Step =>
      (before) =>
        gaveBack(before, code, maxRetries, now, 0),
  ),
  fc.boolean().map(
    (begun): Step =>
      (before) =>
        lapsed(before, begun, maxRetries, now, 0),
  ),
  fc.constantFrom('added' as const, 'removed' as const).map(
    (change): Step =>
      (before) =>
        filesChanged(before, change, true, now),
  ),
  fc.constant<Step>((before) => claimed(before, { token: 't', until: now + 1, worker: 'w' })),
  fc.constantFrom('A', 'B').map(
    (virusName): Step =>
      (before) =>
        settled(before, { kind: 'infected', virusName }, virusName, now),
  ),
  fc.constant<Step>((before) => settled(before, { kind: 'unscannable', reason: 'unscannable:lz4' }, 'lz4', now)),
);

describe('the next state of a check', () => {
  it('is open after nothing but a clean verdict, or where it was open before', () => {
    fc.assert(
      fc.property(state, fc.array(step, { maxLength: 12 }), (start, steps) => {
        let before = start;
        for (const next of steps) {
          const after = { ...before, ...next(before) };
          if (!before.open) expect(after.open).toBe(false);
          if (after.status === 'pending' || after.status === 'scanning') expect(after.open).toBe(false);
          expect(after.reason !== '').toBe(after.status === 'error');
          before = after;
        }
      }),
    );
  });

  it('waits for files where there are none', () => {
    expect(begin(false, 1, now)).toMatchObject({ status: 'error', reason: 'no-files', open: false, pendingSince: 0 });
    expect(begin(true, 1, now)).toMatchObject({ status: 'pending', reason: '', open: false, pendingSince: now });
  });

  it('starts over when files are added, whatever was decided', () => {
    for (const status of statuses) {
      const after = {
        ...fresh({ status, ...released, attempts: 2, suspect: true, leaseToken: 't', leaseUntil: now }),
        ...filesChanged(fresh({ status }), 'added', true, now),
      };
      expect(after).toMatchObject({
        status: 'pending',
        open: false,
        revision: 2,
        attempts: 0,
        suspect: false,
        leaseToken: '',
        leaseUntil: 0,
        releasedBy: '',
      });
    }
  });

  it('keeps a clean verdict for the files that are left', () => {
    expect(filesChanged(fresh({ status: 'clean', open: true }), 'removed', true, now)).toBeNull();
    expect(filesChanged(fresh({ status: 'clean', open: true }), 'removed', false, now)).toMatchObject({
      status: 'error',
      reason: 'no-files',
      open: false,
    });
    expect(filesChanged(fresh({ status: 'infected' }), 'removed', true, now)).toMatchObject({ status: 'pending', revision: 1 });
  });

  it('opens on clean and forgets failures', () => {
    expect(settled(scanning({ attempts: 2, suspect: true, lapses: 1 }), { kind: 'clean' }, '', now)).toMatchObject({
      status: 'clean',
      open: true,
      attempts: 0,
      suspect: false,
      lapses: 0,
      leaseUntil: 0,
      scanTime: now,
    });
  });

  it('keeps a release for the same findings alone', () => {
    const before = fresh({ status: 'infected', virusName: 'A', ...released, findings: 'A in x' });
    const infected = (virusName: string, findings: string) => settled(before, { kind: 'infected', virusName }, findings, now);
    expect(infected('A', 'A in x')).toMatchObject({ open: true });
    expect(infected('B', 'B in x')).toMatchObject({ open: false, releasedBy: '' });
    expect(infected('A', 'A in x, B in y')).toMatchObject({ open: false, releasedBy: '' });
    expect(settled(before, { kind: 'clean' }, '', now)).toMatchObject({ open: true, releasedBy: '' });
    const unjudged = fresh({ status: 'error', reason: 'unscannable:zstd', ...released, findings: 'zstd' });
    const again = (findings: string) => settled(unjudged, { kind: 'unscannable', reason: 'unscannable:zstd' }, findings, now);
    expect(again('zstd')).toMatchObject({ open: true });
    expect(again('zstd, lz4')).toMatchObject({ open: false, releasedBy: '' });
  });

  it('closes a clean build at once when a rescan finds or cannot judge', () => {
    const before = fresh({ status: 'clean', open: true });
    expect(settled(before, { kind: 'infected', virusName: 'A' }, 'A', now)).toMatchObject({ status: 'infected', open: false });
    expect(settled(before, { kind: 'unscannable', reason: 'unscannable:zstd' }, 'zstd', now)).toMatchObject({
      status: 'error',
      open: false,
    });
  });

  it('backs off twice as long each time, with a cap and jitter', () => {
    const wait = (attempts: number, jitter: number) =>
      (gaveBack(scanning({ attempts }), 'download', 100, now, jitter).notBefore ?? 0) - now;
    expect([0, 1, 2, 3].map((attempts) => wait(attempts, 0))).toEqual([2_000, 4_000, 8_000, 16_000]);
    expect(wait(0, 1)).toBe(2_500);
    expect(wait(50, 1)).toBe(375_000);
  });

  it('ends every pending check after that many counted failures, whatever they are', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('download', 'unexpected', 'lapse'), { minLength: maxRetries, maxLength: maxRetries }),
        (failures) => {
          let check = scanning();
          for (const failure of failures) {
            const patch =
              failure === 'lapse' ? lapsed(check, true, maxRetries, now, 0) : gaveBack(check, failure as 'download', maxRetries, now, 0);
            check = { ...check, ...patch };
          }
          expect(check).toMatchObject({ status: 'error', open: false, suspect: false, leaseUntil: 0, pendingSince: 0 });
        },
      ),
    );
  });

  it('never counts what is not the fault of the check', () => {
    for (const code of ['engine-unavailable', 'interrupted'] as const)
      expect(gaveBack(scanning(), code, 1, now, 0)).toEqual({ status: 'pending', lapses: 0, leaseUntil: 0, worker: '' });
  });

  it('leaves a rescan that fails as it was', () => {
    const clean = fresh({ status: 'clean', open: true, rescanAt: now });
    for (const code of giveBackCodes) {
      const after = { ...clean, ...gaveBack(clean, code, 1, now, 0) };
      expect(after).toMatchObject({ status: 'clean', open: true });
    }
    expect(gaveBack(clean, 'download', 1, now, 0).rescanAt).toBeGreaterThan(now);
    expect(isRescan(clean)).toBe(true);
    expect(claimed(clean, { token: 't', until: now, worker: 'w' })).not.toHaveProperty('status');
  });

  it('takes old verdicts over without opening anything, unless clean ones are trusted', () => {
    for (const status of statuses)
      expect(imported(status, 'A', false, true, now)).toMatchObject({
        open: false,
        status: status === 'infected' ? 'infected' : 'pending',
      });
    expect(imported('clean', '', true, true, now)).toMatchObject({ status: 'clean', open: true, rescanAt: now });
    expect(imported('error', '', true, true, now)).toMatchObject({ status: 'pending', open: false });
  });
});
