import { expect, it } from 'vitest';
import { attentionOf, type Facts } from './attention.ts';

const now = Date.parse('2026-11-21T12:00:00Z');
const rules = { maxSignatureAgeMs: 168 * 3_600_000, now };
const counts = { pending: 0, scanning: 0, clean: 10, infected: 0, error: 0 };
const health = {
  hooksVersion: '1',
  gate: 'enforce' as const,
  problems: [],
  counts,
  reasons: {},
  oldestPendingSeconds: 0,
  wouldRefuse: { total: 0, byCode: {}, byReason: {}, policy: '' },
  foundLater: 0,
};
const engine = { name: 'main:3310', ready: true, why: null, version: '1.4.3', signatures: 27_512, signaturesAt: '2026-11-21T06:00:00Z' };
const well: Facts = {
  store: { health, why: null },
  scanner: { kind: 'speaks', engines: [engine], scanning: 0 },
  infectedLately: 0,
  others: [],
};
const first = (facts: Partial<Facts>) => attentionOf({ ...well, ...facts }, rules)[0]?.what ?? null;
const engines = (...each: object[]) => ({
  scanner: { kind: 'speaks' as const, engines: each.map((changes) => ({ ...engine, ...changes })), scanning: 0 },
});
const store = (changes: object) => ({ store: { health: { ...health, ...changes }, why: null } });

it('has nothing to say when all is well', () => {
  expect(attentionOf(well, rules)).toEqual([]);
});

it.each<[string, Partial<Facts>, string]>([
  ['test signatures', engines({ signatures: 'test', signaturesAt: null }), 'Signatures are the TEST set.'],
  [
    'a gate that watches',
    store({ gate: 'monitor', problems: ['AV_GATE=monitor: only noted.'] }),
    'The gate does not enforce (AV_GATE=monitor).',
  ],
  ['no PocketBase', { store: { health: null, why: 'it is down' } }, 'PocketBase cannot be used: it is down.'],
  ['no scanner', { scanner: { kind: 'silent', why: 'The scanner does not answer.' } }, 'The scanner does not answer.'],
  ['no engine that works', engines({ ready: false, why: 'refused' }), 'No engine is ready, so nothing is scanned.'],
  ['one of two engines', engines({}, { name: 'spare:3310', ready: false, why: 'refused' }), 'Engine spare:3310 is not ready: refused.'],
  ['old signatures', engines({ signaturesAt: '2026-11-15T12:00:00Z' }), 'The signatures of engine main:3310 are 6 d old.'],
  ['an old queue', store({ oldestPendingSeconds: 301 }), 'A build has waited for 5 min 1 s.'],
  ['infected builds', { infectedLately: 1 }, '1 build found infected in the last 24 hours.'],
  [
    'failed checks, not what nobody can judge',
    store({ reasons: { download: 2, 'unscannable:encrypted': 9, 'no-files': 1 } }),
    '2 checks failed.',
  ],
  ['a problem of the hooks', store({ problems: ['AV_NOTIFY_SECRET is not set.'] }), 'AV_NOTIFY_SECRET is not set.'],
])('notices %s', (_what, facts, said) => {
  expect(first(facts)).toBe(said);
});

it('puts first what protects nobody, then what stands still, then the rest', () => {
  const facts: Facts = {
    ...well,
    ...engines({ signatures: 'test', signaturesAt: null }, { name: 'spare:3310', ready: false, why: 'refused' }),
    ...store({ gate: 'off', oldestPendingSeconds: 900, reasons: { download: 1 } }),
    infectedLately: 3,
    others: [{ weight: 90, tone: 'bad', what: 'The scan history is broken.', next: '', href: null }],
  };
  expect(attentionOf(facts, rules).map(({ what }) => what)).toEqual([
    'Signatures are the TEST set.',
    'The gate does not enforce (AV_GATE=off).',
    'The scan history is broken.',
    'A build has waited for 15 min.',
    '3 builds found infected in the last 24 hours.',
    'Engine spare:3310 is not ready: refused.',
    '1 check failed.',
  ]);
});
