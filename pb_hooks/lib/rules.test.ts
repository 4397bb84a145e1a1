import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { giveBackCodes } from './reasons.ts';
import {
  begin,
  type CheckState,
  claimed,
  filesChanged,
  gaveBack,
  hasGivenUp,
  imported,
  isRescan,
  lapsed,
  type Patch,
  policyReleased,
  policyRevoked,
  released,
  rescanAsked,
  revisited,
  revoked,
  settled,
  statuses,
  voided,
} from './rules.ts';

const now = 1_800_000_000_000;
type Whole = CheckState & Required<Patch>;
const fresh = (some: Partial<Whole> = {}): Whole => ({ ...(begin(true, 1, now) as Whole), findings: '', ...some });
const scanning = (patch: Patch = {}): Whole =>
  fresh({ status: 'scanning', leaseToken: 't', leaseUntil: now + 60_000, worker: 'w', ...patch });
const policy = { by: 'policy:zstd', note: 'it is allowed' };
const byPolicy = { releasedBy: policy.by, releasedAt: now, releaseReason: policy.note, open: true };
const release = { releasedBy: 'ana', releasedAt: now, releaseReason: 'known tool', open: true };

const state = fc
  .record({
    status: fc.constantFrom(...statuses),
    attempts: fc.nat(5),
    lapses: fc.nat(3),
    suspect: fc.boolean(),
    virusName: fc.constantFrom('', 'A', 'B'),
    releasedBy: fc.constantFrom('', 'ana', 'policy:zstd'),
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
  fc.constantFrom(voided, policyRevoked).map(
    (end): Step =>
      (before) =>
        end(before, now),
  ),
  fc.constantFrom('revoke', 'rescan').map(
    (kind): Step =>
      (before) => {
        const decided = kind === 'rescan' ? rescanAsked(before, now) : revoked(before, 'eve');
        return typeof decided === 'string' ? null : decided;
      },
  ),
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
        ...fresh({ status, ...release, attempts: 2, suspect: true, leaseToken: 't', leaseUntil: now }),
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
    const before = fresh({ status: 'infected', virusName: 'A', ...release, findings: 'A in x' });
    const infected = (virusName: string, findings: string) => settled(before, { kind: 'infected', virusName }, findings, now);
    expect(infected('A', 'A in x')).toMatchObject({ open: true });
    expect(infected('B', 'B in x')).toMatchObject({ open: false, releasedBy: '' });
    expect(infected('A', 'A in x, B in y')).toMatchObject({ open: false, releasedBy: '' });
    expect(settled(before, { kind: 'clean' }, '', now)).toMatchObject({ open: true, releasedBy: '' });
    const unjudged = fresh({ status: 'error', reason: 'unscannable:zstd', ...release, findings: 'zstd' });
    const again = (findings: string) => settled(unjudged, { kind: 'unscannable', reason: 'unscannable:zstd' }, findings, now);
    expect(again('zstd')).toMatchObject({ open: true });
    expect(again('zstd, lz4')).toMatchObject({ open: false, releasedBy: '' });
    const failed = fresh({ status: 'error', reason: 'download', ...release, findings: '' });
    expect(settled(failed, { kind: 'unscannable', reason: 'unscannable:zstd' }, '', now)).toMatchObject({ open: false, releasedBy: '' });
  });

  it('lets a policy release what no engine can judge, and keeps that as it is while nothing changes', () => {
    const unscannable = { kind: 'unscannable', reason: 'unscannable:zstd' } as const;
    expect(settled(scanning(), unscannable, 'zstd', now, policy)).toMatchObject({ status: 'error', ...byPolicy });
    const opened = fresh({ status: 'error', reason: 'unscannable:zstd', ...byPolicy, findings: 'zstd' });
    expect(settled(opened, unscannable, 'zstd', now + 1, policy)).not.toHaveProperty('releasedAt');
    expect(settled(opened, unscannable, 'zstd', now + 1, policy)).toMatchObject({ open: true });
    expect(settled(opened, unscannable, 'zstd, lz4', now + 1, { by: 'policy:lz4,zstd', note: 'both' })).toMatchObject({
      open: true,
      releasedBy: 'policy:lz4,zstd',
      releasedAt: now + 1,
    });
    expect(settled(opened, unscannable, 'zstd', now, null)).toMatchObject({ open: false, releasedBy: '', releasedAt: 0 });
    expect(settled(opened, { kind: 'infected', virusName: 'A' }, 'A', now, policy)).toMatchObject({ open: false, releasedBy: '' });
    expect(filesChanged(opened, 'added', true, now)).toMatchObject({ open: false, releasedBy: '', status: 'pending' });
  });

  it('never lets a policy keep open what is infected', () => {
    const odd = fresh({ status: 'infected', virusName: 'A', ...byPolicy, findings: 'A' });
    expect(settled(odd, { kind: 'infected', virusName: 'A' }, 'A', now, policy)).toMatchObject({ open: false, releasedBy: '' });
  });

  it('holds to what a person decided about the same findings, against any policy', () => {
    const unscannable = { kind: 'unscannable', reason: 'unscannable:zstd' } as const;
    const shut = { ...fresh({ status: 'error', reason: 'unscannable:zstd', ...byPolicy, findings: 'zstd' }) };
    Object.assign(shut, revoked(shut, 'eve'));
    expect(shut).toMatchObject({ open: false, releasedBy: '', shutBy: 'eve' });
    const again = settled(shut, unscannable, 'zstd', now, policy);
    expect(again).toMatchObject({ open: false });
    expect({ ...shut, ...again }).toMatchObject({ shutBy: 'eve' });
    expect(policyReleased({ ...shut, ...again }, policy, now)).toBeNull();
    expect(settled(shut, unscannable, 'zstd in another file', now, policy)).toMatchObject({ open: true, shutBy: '' });
    expect(settled(shut, { kind: 'clean' }, '', now)).toMatchObject({ open: true, shutBy: '' });
    expect(filesChanged(shut, 'added', true, now)).toMatchObject({ shutBy: '' });
    expect(released(shut, 'ana', 'why', now)).toMatchObject({ open: true, shutBy: '' });
    const kept = fresh({ status: 'error', reason: 'unscannable:zstd', ...release, findings: 'zstd' });
    expect({ ...kept, ...settled(kept, unscannable, 'zstd', now, policy) }).toMatchObject({ open: true, releasedBy: 'ana' });
  });

  it('opens by a later policy only what no person decided about, and takes back only what a policy opened', () => {
    const closed = fresh({ status: 'error', reason: 'unscannable:zstd' });
    expect(policyReleased(closed, policy, now)).toMatchObject(byPolicy);
    for (const some of [{ shutBy: 'eve' }, release, { reason: 'download' as const }, { status: 'infected' as const }])
      expect(policyReleased({ ...closed, ...some }, policy, now)).toBeNull();
    expect(policyRevoked({ ...closed, ...byPolicy })).toEqual({ open: false, releasedBy: '', releasedAt: 0, releaseReason: '' });
    expect(policyRevoked({ ...closed, ...release })).toBeNull();
  });

  it('closes what a lying engine let out, and has all of it looked at again', () => {
    expect(voided(fresh({ status: 'clean', open: true, revision: 7, leaseToken: 't', leaseUntil: now }), now)).toMatchObject({
      status: 'pending',
      open: false,
      revision: 7,
      leaseToken: '',
      pendingSince: now,
    });
    expect(voided(fresh({ status: 'infected' }), now)).toMatchObject({ rescanAt: now });
    const released = voided(fresh({ status: 'infected', ...release }), now);
    expect(released).toMatchObject({ rescanAt: now });
    expect(released).not.toHaveProperty('open');
    const allowed = fresh({ status: 'error', reason: 'unscannable:zstd', ...byPolicy });
    expect(voided(allowed, now)).toMatchObject({ rescanAt: now, open: false, releasedBy: '' });
    expect(voided({ ...allowed, rescanAt: now }, now)).toMatchObject({ open: false, releasedBy: '' });
    expect(voided(fresh({ status: 'infected', rescanAt: now }), now)).toBeNull();
    for (const status of ['pending', 'scanning'] as const) expect(voided(fresh({ status }), now)).toBeNull();
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

  it('delays what an overload is to blame for, the longer the longer it waits, and never counts it', () => {
    for (const code of ['engine-busy', 'store-unavailable'] as const) {
      const delay = (waited: number, jitter: number) => {
        const { notBefore, ...rest } = gaveBack({ ...scanning(), pendingSince: now - waited }, code, 1, now, jitter);
        expect(rest).toEqual({ status: 'pending', lapses: 0, leaseUntil: 0, worker: '' });
        return notBefore! - now;
      };
      expect([0, 60_000, 86_400_000].map((waited) => delay(waited, 0))).toEqual([5_000, 15_000, 300_000]);
      expect(delay(0, 1)).toBe(6_250);
      expect(gaveBack(fresh({ status: 'clean', open: true, rescanAt: now }), code, 1, now, 0).rescanAt).toBe(now + 5_000);
    }
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

  it('gives up a rescan of what is shut, and asks a clean build again tomorrow', () => {
    const failures: [string, (before: Whole) => Patch][] = [
      ['engine-reply', (before) => gaveBack(before, 'engine-reply', maxRetries, now, 0)],
      ['download', (before) => gaveBack(before, 'download', maxRetries, now, 0)],
      ['a lapse', (before) => lapsed(before, true, maxRetries, now, 0)],
    ];
    for (const [name, fail] of failures) {
      for (const status of ['error', 'infected', 'clean'] as const) {
        const begun = fresh({
          status,
          reason: status === 'error' ? 'engine-reply' : '',
          open: status === 'clean',
          rescanAt: now,
          suspect: true,
        });
        let check = begun;
        const ends: boolean[] = [];
        for (let time = 0; time < maxRetries; time++) {
          const patch = fail(check);
          ends.push(hasGivenUp(patch));
          check = { ...check, ...patch };
        }
        expect(ends, `${status} by ${name}`).toEqual([false, false, true]);
        expect(check).toMatchObject({ status, open: begun.open, reason: begun.reason, attempts: 0, leaseUntil: 0 });
        if (status === 'clean') expect(check).toMatchObject({ rescanAt: now + 24 * 3_600_000, suspect: true });
        else expect(check).toMatchObject({ rescanAt: 0, suspect: false });
      }
    }
  });

  it('has given up a check that waits at its last counted failure alone', () => {
    expect(hasGivenUp(gaveBack(scanning({ attempts: 1 }), 'download', maxRetries, now, 0))).toBe(false);
    expect(hasGivenUp(gaveBack(scanning({ attempts: 2 }), 'download', maxRetries, now, 0))).toBe(true);
    expect(hasGivenUp(lapsed(scanning({ attempts: 2 }), true, maxRetries, now, 0))).toBe(true);
    expect(hasGivenUp(lapsed(scanning({ attempts: 2 }), false, maxRetries, now, 0))).toBe(false);
    expect(hasGivenUp(gaveBack(scanning({ attempts: 2 }), 'interrupted', maxRetries, now, 0))).toBe(false);
    expect(hasGivenUp(gaveBack(fresh({ status: 'clean', attempts: 2 }), 'engine-unavailable', maxRetries, now, 0))).toBe(false);
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

describe('time that passes', () => {
  const day = 24 * 3_600_000;
  const judged = (some: Partial<Whole>) => fresh({ judgedAt: now - 10 * day, ...some });

  it('begins with the first verdict on the present files', () => {
    const first = settled(scanning(), { kind: 'clean' }, '', now, null, 0);
    expect(first).toMatchObject({ judgedAt: now, revisitAt: now + day });
    const later = { ...scanning(), ...first, rescanAt: now };
    expect(settled(later, { kind: 'infected', virusName: 'A' }, 'A', now + 10 * day, null, 1)).toMatchObject({
      judgedAt: now,
      rescanAt: 0,
      revisitAt: now + 10 * day + 6.25 * day,
    });
    expect(filesChanged(later, 'added', true, now)).toMatchObject({ judgedAt: 0, revisitAt: 0 });
  });

  it('brings back every verdict where signatures are newer, its gate as it is, and puts it off where they are not', () => {
    for (const status of ['clean', 'infected', 'error'] as const) {
      const before = judged({ status, attempts: 2, lapses: 1 });
      expect(revisited(before, true, now, 0)).toEqual({ rescanAt: now, revisitAt: 0, attempts: 0, lapses: 0 });
      expect(revisited(before, false, now, 0)).toEqual({ revisitAt: now + 5 * day });
    }
  });

  it('changes nothing about what waits for a scan or never had a verdict', () => {
    const others = [
      { status: 'pending' },
      { status: 'scanning' },
      { status: 'clean', rescanAt: now + 1 },
      { status: 'error', judgedAt: 0 },
    ] as const;
    for (const some of others) expect(revisited(judged(some), true, now, 0)).toEqual({ revisitAt: 0 });
  });
});

describe('what a person decides', () => {
  it('releases what is infected or in error, and nothing else', () => {
    for (const status of statuses) {
      const releasable = status === 'infected' || status === 'error';
      const expected = { open: true, releasedBy: 'ana', releasedAt: now, releaseReason: 'why', shutBy: '' };
      expect(released(fresh({ status }), 'ana', 'why', now)).toEqual(releasable ? expected : 'not_releasable');
    }
    expect(released(fresh({ status: 'error', reason: 'no-files' }), 'ana', 'why', now)).toBe('not_releasable');
    expect(released(fresh({ status: 'infected', ...release }), 'eve', 'why', now)).toBe('already_released');
  });

  it('closes again what was released, and nothing else', () => {
    expect(revoked(fresh({ status: 'infected', ...release }), 'eve')).toEqual({
      open: false,
      releasedBy: '',
      releasedAt: 0,
      releaseReason: '',
      shutBy: '',
    });
    for (const status of statuses) expect(revoked(fresh({ status }), 'eve')).toBe('not_released');
  });

  it('has what was judged scanned again, its gate as it is', () => {
    for (const status of ['clean', 'infected', 'error'] as const) {
      const patch = rescanAsked(fresh({ status, attempts: 2, lapses: 1 }), now);
      expect(patch).toEqual({ rescanAt: now, attempts: 0, lapses: 0, suspect: false });
      expect(rescanAsked(fresh({ status, rescanAt: now }), now)).toBe('already_waiting');
      expect(rescanAsked(fresh({ status, rescanAt: now + 1 }), now)).toMatchObject({ rescanAt: now });
    }
    for (const status of ['pending', 'scanning'] as const) expect(rescanAsked(fresh({ status }), now)).toBe('already_waiting');
    expect(rescanAsked(fresh({ status: 'error', reason: 'no-files' }), now)).toBe('nothing_to_scan');
  });

  it('has what may have stopped the engine or its worker scanned alone', () => {
    for (const reason of ['engine-reply', 'lease-expired'] as const) {
      expect(rescanAsked(fresh({ status: 'error', reason }), now)).toMatchObject({ suspect: true });
    }
    expect(rescanAsked(fresh({ status: 'clean', suspect: true }), now)).toMatchObject({ suspect: true });
  });
});
