import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ScanError, type ScanErrorCode } from './errors.ts';
import { fakeEngine } from './fakes.ts';
import { fold } from './fold.ts';
import type { Answer, Engine, FileVerdict, Verdict } from './model.ts';

const clean: Answer = { kind: 'clean' };
const infected: Answer = { kind: 'infected', signature: 'Test.Signature' };
const unscannable: Answer = { kind: 'unscannable', reason: 'unscannable:encrypted' };

const judged = (answer: Answer, engine: Engine | null = fakeEngine): FileVerdict => ({
  name: 'f',
  size: 1,
  sha256: 'aa',
  answer,
  ms: 1,
  engine,
});
const failed = (code: ScanErrorCode) => new ScanError(code, `it was ${code}`);

function outcome(results: readonly (FileVerdict | ScanError)[]): string {
  try {
    return fold(results, null).kind;
  } catch (thrown) {
    return ScanError.from(thrown).code;
  }
}

describe('fold', () => {
  it.each<[string, readonly (FileVerdict | ScanError)[], string]>([
    ['all clean', [judged(clean), judged(clean)], 'clean'],
    ['one unscannable', [judged(clean), judged(unscannable)], 'unscannable'],
    ['one infected', [judged(unscannable), judged(infected), judged(clean)], 'infected'],
    ['infected beside a failure', [judged(infected), failed('download')], 'infected'],
    ['unscannable beside a failure', [judged(unscannable), failed('download')], 'download'],
    ['two failures', [judged(clean), failed('engine-unavailable'), failed('download:missing')], 'download:missing'],
    ['a lost lease', [judged(infected), failed('lease-lost')], 'lease-lost'],
    ['no files', [], 'unexpected'],
  ])('%s', (_name, results, expected) => {
    expect(outcome(results)).toBe(expected);
  });

  const codes: ScanErrorCode[] = [
    'engine-unavailable',
    'engine-reply',
    'download',
    'download:missing',
    'interrupted',
    'unexpected',
    'store-unavailable',
    'lease-lost',
  ];
  const result = fc.oneof(
    fc.constantFrom(clean, infected, unscannable).map((answer) => judged(answer)),
    fc.constantFrom(...codes).map(failed),
  );

  it('is clean only if every single file was answered clean', () => {
    fc.assert(
      fc.property(fc.array(result, { maxLength: 8 }), (results) => {
        const isClean = results.length > 0 && results.every((each) => !(each instanceof ScanError) && each.answer.kind === 'clean');
        expect(outcome(results) === 'clean').toBe(isClean);
      }),
    );
  });

  it('does not depend on the order of the files', () => {
    const shuffled = fc
      .array(result, { minLength: 1, maxLength: 8 })
      .chain((results) => fc.tuple(fc.constant(results), fc.shuffledSubarray(results, { minLength: results.length })));
    fc.assert(
      fc.property(shuffled, ([one, other]) => {
        expect(outcome(one)).toBe(outcome(other));
      }),
    );
  });

  it('names the engine that knew least', () => {
    const older = { ...fakeEngine, name: 'older', signatures: 26_999 };
    const test: Engine = { ...fakeEngine, name: 'test', signatures: 'test', signaturesAt: null };
    const engineOf = (...engines: (Engine | null)[]): Verdict['engine'] =>
      fold(
        engines.map((engine) => judged(clean, engine)),
        null,
      ).engine;
    expect(engineOf(fakeEngine, older, fakeEngine)).toBe(older);
    expect(engineOf(fakeEngine, test, older)).toBe(test);
    expect(engineOf(null, fakeEngine)).toBe(fakeEngine);
  });

  it('names it as it was when it last answered, so that a void since then finds the verdict', () => {
    const later = { ...fakeEngine, canaryAt: '2026-01-02T00:01:00.000Z' };
    for (const engines of [
      [fakeEngine, later],
      [later, fakeEngine],
    ])
      expect(
        fold(
          engines.map((engine) => judged(clean, engine)),
          null,
        ).engine,
      ).toBe(later);
  });
});
