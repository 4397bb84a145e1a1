import { describe, expect, it } from 'vitest';
import { BUILD_IS_OPEN, lockedRule, type Rule, readRule } from './lock-rule.ts';

const FILE = '@request.context = "protectedFile"';

describe('the rule with our question', () => {
  it.each<[string, Rule, boolean, Rule]>([
    ['everybody', '', true, BUILD_IS_OPEN],
    ['everybody, protected', '', false, BUILD_IS_OPEN],
    ['superusers only, public files', null, true, `${FILE} && ${BUILD_IS_OPEN}`],
    ['superusers only, protected files', null, false, null],
    ['a rule, public files', 'a = 1 || b = 2', true, `(${FILE} || (a = 1 || b = 2)) && ${BUILD_IS_OPEN}`],
    ['a rule, protected files', 'a = 1 || b = 2', false, `${BUILD_IS_OPEN} && (a = 1 || b = 2)`],
    ['a comment at its end', 'a = 1 // (why', false, `${BUILD_IS_OPEN} && (a = 1 // (why\n)`],
  ])('%s', (_, own, wasPublic, expected) => {
    const locked = lockedRule(own, BUILD_IS_OPEN, wasPublic);
    expect(locked).toBe(expected);
    expect(readRule(locked, BUILD_IS_OPEN)).toEqual({ lock: own === null && !wasPublic ? 'none' : 'ours', own });
    expect(readRule(own, BUILD_IS_OPEN)).toEqual({ lock: 'none', own });
  });

  it.each(['(a = 1) && (b = 2)', '(a = ")(") && (b = 2)', `${FILE} && a = 1`, `(${FILE} || (a = 1))`, `${FILE} || (a = 1)`])(
    'gives %s back as it was',
    (own) => {
      for (const wasPublic of [true, false])
        expect(readRule(lockedRule(own, BUILD_IS_OPEN, wasPublic), BUILD_IS_OPEN)).toEqual({ lock: 'ours', own });
    },
  );

  it('keeps what was changed within the part of the host', () => {
    const edited = lockedRule('a = 1', BUILD_IS_OPEN, true)!.replace('a = 1', 'a = 1 && c = 3');
    expect(readRule(edited, BUILD_IS_OPEN)).toEqual({ lock: 'ours', own: 'a = 1 && c = 3' });
  });

  it.each([
    `${BUILD_IS_OPEN} || a = 1`,
    `${BUILD_IS_OPEN} && a = 1`,
    `a = 1 && ${BUILD_IS_OPEN}`,
    `${BUILD_IS_OPEN} && (a = 1) || (b = 2)`,
    `(a = 1) || (b = 2) && ${BUILD_IS_OPEN}`,
    `(${FILE} || a = 1) && ${BUILD_IS_OPEN}`,
    `(${BUILD_IS_OPEN}) && ${BUILD_IS_OPEN}`,
  ])('takes nothing out of %s', (rule) => {
    expect(readRule(rule, BUILD_IS_OPEN)).toEqual({ lock: 'edited', own: undefined });
  });
});
