import { expect, it } from 'vitest';
import { bannerOf, Overview, type OverviewParts } from './overview.ts';

const counts = { pending: 12, scanning: 1, clean: 10, infected: 0, error: 0 };
const last = {
  hooksVersion: '1',
  gate: 'enforce' as const,
  problems: [],
  counts,
  reasons: {},
  oldestPendingSeconds: 40,
  wouldRefuse: { total: 0, byCode: {}, byReason: {}, policy: '' },
  foundLater: 0,
};
const engine = { name: 'main', ready: true, why: null, version: '1.4.3', signatures: 27_512, signaturesAt: '2026-11-21T06:00:00Z' };
const now = () => Date.parse('2026-11-21T12:00:00Z');

function overviewOf(changes: Partial<OverviewParts> = {}): Overview {
  return new Overview({
    health: { last, why: null, ask: async () => {} },
    session: { send: async () => ({ totalItems: 0 }) },
    scanner: async () => Response.json({ scans: [], engines: [engine], queue: { scanning: 1, claimedAhead: 2 } }),
    maxSignatureAgeMs: 168 * 3_600_000,
    attention: [],
    lines: [],
    now,
    ...changes,
  });
}

const plain = async (text: unknown) => String(await text).replace(/<[^>]+>/g, '');

it('says of the scanner in a line what waits and who works', async () => {
  const { lines } = await overviewOf().known();
  const scanner = lines.find(({ name }) => name === 'Scanner');
  expect(await plain(scanner?.line)).toBe('12 builds wait, oldest 40 s; engine main up, signatures 27,512 of 6 h ago.');
  expect(scanner?.tone).toBe('ok');
});

it('says in monitor mode what a policy would change', async () => {
  const wouldRefuse = { total: 12, byCode: { scan_error: 12 }, byReason: { 'unscannable:zstd': 12 }, policy: 'ALLOW_UNSCANNABLE=zstd' };
  const health = { last: { ...last, gate: 'monitor' as const, wouldRefuse }, why: null, ask: async () => {} };
  const { lines } = await overviewOf({ health }).known();
  expect(await plain(lines.find(({ name }) => name === 'Gate')?.line)).toBe(
    'It only watches: it let 12 downloads through that it would have refused. ALLOW_UNSCANNABLE=zstd would keep open what no engine can judge.',
  );
});

it('knows a scanner without this route by its readiness', async () => {
  const readiness = { parts: { engines: { ready: true, why: null, each: [{ ...engine, signatures: 'test' }] } } };
  const scanner = async (path: string) =>
    path === '/readyz' ? Response.json(readiness, { status: 503 }) : new Response('', { status: 404 });
  const { attention } = await overviewOf({ scanner }).known();
  expect(attention[0]?.what).toBe('Signatures are the TEST set.');
});

it.each<[string, () => Promise<Response>, string]>([
  ['refuses', async () => new Response('', { status: 401 }), 'The scanner refuses this console: give both the same OPERATOR_TOKEN.'],
  ['is something else', async () => new Response('<html>'), 'What answers as the scanner is none, or of another version.'],
  ['is not there', () => Promise.reject(new TypeError('fetch failed')), 'The scanner does not answer.'],
])('says so when the scanner %s', async (_how, scanner, said) => {
  const known = await overviewOf({ scanner }).known();
  expect(bannerOf(known)?.what).toBe(said);
});

it('is shown in time while a part hangs, and then with what the others say', async () => {
  const never = () => new Promise<never>(() => {});
  const started = performance.now();
  const overview = overviewOf({ scanner: never, attention: [never], lines: [never], now: Date.now });
  const first = await overview.known();
  expect(performance.now() - started).toBeLessThan(3000);
  expect(first.lines[0]?.line).toContain('None has answered yet');
  await expect.poll(async () => (await overview.known()).lines.map(({ name }) => name), { timeout: 12_000 }).toEqual(['Gate', 'Scanner']);
}, 20_000);

it('has one fingerprint while nothing but time passes', async () => {
  let seconds = 100;
  let pending = 12;
  const health = {
    get last() {
      return { ...last, counts: { ...counts, pending }, oldestPendingSeconds: seconds };
    },
    why: null,
    ask: async () => {},
  };
  let at = now();
  const overview = overviewOf({ health, now: () => at });
  const before = await overview.live.fingerprint();
  seconds += 2;
  at += 2000;
  expect(await overview.live.fingerprint()).toBe(before);
  pending += 1;
  at += 2000;
  expect(await overview.live.fingerprint()).not.toBe(before);
});
