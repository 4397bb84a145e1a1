import { expect, it } from 'vitest';
import type { CheckRow } from './check-row.ts';
import { readCheck } from './check-row.ts';
import { longLine, placeInLine, type Surroundings, scanTime, shortLine } from './state-line.ts';

const fields = { collection: 'builds', files: ['files'], labels: [] };
const check = (record: object): CheckRow => readCheck({ id: 'c1', build: 'b1', ...record }, fields);
const around: Surroundings = { gate: 'enforce', position: null, progress: null, usualMs: null, now: Date.parse('2026-01-01T00:00:00Z') };
/** What a person reads. */
const words = async (markup: unknown) => String(await markup).replace(/<[^>]+>/g, '');
const short = (record: object, more: Partial<Surroundings> = {}) => words(shortLine(check(record), { ...around, ...more }));
const long = (record: object, more: Partial<Surroundings> = {}) => words(longLine(check(record), { ...around, ...more }));

const found = { name: 'setup.exe', size: 1, sha256: '', verdict: 'infected', signature: 'Win.Trojan-1', ms: 1 };
const infected = { status: 'infected', virus_name: 'Win.Trojan-1', files: [{ ...found, name: 'a.txt', verdict: 'clean' }, found] };

it('says where a waiting one stands, and how long it usually takes', async () => {
  expect(await short({ status: 'pending' }, { position: 3, usualMs: 4000 })).toBe('Third in line, usually 4.0 s.');
  expect(await short({ status: 'pending' }, { position: 1 })).toBe('Next in line.');
  expect(await short({ status: 'pending' })).toBe('In line.');
  expect([12, 21, 22, 103, 111].map(placeInLine)).toEqual(['12th', '21st', '22nd', '103rd', '111th'].map((place) => `${place} in line`));
});

it('says why one is not scanned in its turn', async () => {
  expect(await short({ status: 'pending', suspect: true })).toContain('so it is scanned alone');
  expect(await short({ status: 'pending', attempts: 2, not_before: '2026-01-01 00:00:30.000Z' })).toBe(
    '2 failures so far; tried again in 30 s.',
  );
});

it('says how far a scan is', async () => {
  const progress = { sentBytes: 212 * 2 ** 20, totalBytes: 640 * 2 ** 20, engine: 'main', startedAt: null };
  expect(await short({ status: 'scanning' }, { progress })).toContain('212 MiB of 640 MiB, main.');
  expect(await short({ status: 'scanning' }, { progress: { ...progress, totalBytes: null, engine: null } })).toBe('212 MiB sent.');
  expect(await short({ status: 'scanning' })).toBe('A scanner has taken it; its turn comes next.');
  expect(await short({ status: 'clean', lease_until: '2026-01-01 00:01:00.000Z' })).toContain('Being scanned again.');
});

it('names the finding, the file, and whether anybody could have it', async () => {
  expect(await long(infected)).toBe('Win.Trojan-1 in setup.exe. Nobody can download it.');
  expect(await long(infected, { gate: 'off' })).toBe('Win.Trojan-1 in setup.exe. It can be downloaded all the same: the gate is off.');
  expect(await long({ ...infected, released_by: 'ana@example.com', released_at: '2025-12-01 00:00:00.000Z' })).toMatch(
    /^Win\.Trojan-1 in setup\.exe\. Released by ana@example\.com, .* ago\.$/,
  );
});

it('says what a reason means, also one that it does not know', async () => {
  expect(await long({ status: 'error', reason: 'unscannable:encrypted' })).toBe(
    'The engine cannot look inside encrypted content. Nobody can download it.',
  );
  expect(await long({ status: 'error', reason: 'from-the-future' })).toContain('from-the-future');
});

it('shouts where a clean verdict rests on test signatures', async () => {
  const files = [{ ...found, verdict: 'clean' }];
  const engine = { name: 'main', version: '1.4.6', signatures: 'test', signaturesAt: null };
  expect(await long({ status: 'clean', files, engine })).toBe('1 file, TEST signatures: this protects nobody.');
  expect(await long({ status: 'clean', files, engine: { ...engine, signatures: 27_512 } })).toMatch(/^1 file, signatures 27,512/);
  expect(await long({ status: 'clean' })).toContain('no engine named');
});

it('reads rows of any age', () => {
  const row = check({ status: 'clean', files: 'nonsense', engine: 7, expand: { build: { files: ['a', 7, 'b'] } } });
  expect([row.files, row.engine, row.fileNames, row.scannedAt]).toEqual([[], null, ['a', 'b'], null]);
  expect(() => readCheck('no record', fields)).toThrow();
});

it('counts short scans in milliseconds', () => {
  expect([0.4, 12, 94, 95, 640, 61_000].map(scanTime)).toEqual(['0 ms', '12 ms', '94 ms', '0.1 s', '0.6 s', '1 min 1 s']);
});
