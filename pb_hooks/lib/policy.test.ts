import { describe, expect, it } from 'vitest';
import { formats, policyFor, policyLine, policyProblem, readPolicy, stillAllows } from './policy.ts';
import { reasons, type UnscannableReason } from './reasons.ts';

const clean = { verdict: 'clean' } as const;
const infected = { verdict: 'infected' } as const;
const of = (reason: UnscannableReason) => ({ verdict: 'unscannable', reason }) as const;
const allowed = readPolicy('zstd,lz4').allowed;

describe('ALLOW_UNSCANNABLE', () => {
  it('takes the name of every unscannable reason, whatever stands around it', () => {
    expect(readPolicy(formats.join()).unknown).toEqual([]);
    expect(formats.map((name) => `unscannable:${name}`)).toEqual(Object.keys(reasons).filter((code) => code.startsWith('unscannable:')));
    expect([...readPolicy(' ZSTD , ,7z-method,').allowed]).toEqual(['zstd', '7z-method']);
    expect(readPolicy('').allowed.size).toBe(0);
  });

  it.each(['zst', '*', 'all', 'unscannable:zstd', 'download', 'constructor', 'zstd lz4'])(
    'gives %s no meaning, and says what it takes',
    (name) => {
      const { allowed, unknown } = readPolicy(`lz4,${name}`);
      expect([...allowed]).toEqual(['lz4']);
      expect(unknown).toEqual([name]);
      expect(policyProblem(`lz4,${name}`)).toContain(JSON.stringify(name));
      expect(policyProblem(`lz4,${name}`)).toContain('zip-method');
      expect(policyProblem('lz4')).toBeNull();
    },
  );

  it('lets out a build none of whose files is anything but clean or allowed', () => {
    expect(policyFor([clean, of('unscannable:zstd'), of('unscannable:lz4'), of('unscannable:zstd')], allowed)).toEqual({
      by: 'policy:lz4,zstd',
      note: 'ALLOW_UNSCANNABLE lets through what no engine can look into: lz4, zstd.',
    });
    expect(policyFor([of('unscannable:zstd'), of('unscannable:encrypted')], allowed)).toBeNull();
    expect(policyFor([of('unscannable:zstd'), infected], allowed)).toBeNull();
    expect(policyFor([clean], allowed)).toBeNull();
    expect(policyFor([], allowed)).toBeNull();
    expect(policyFor([{ verdict: 'unscannable' }], allowed)).toBeNull();
    expect(policyFor([of('unscannable:zstd')], readPolicy('').allowed)).toBeNull();
  });

  it('knows whether it would give a release again', () => {
    expect(stillAllows('policy:lz4,zstd', allowed)).toBe(true);
    expect(stillAllows('policy:zstd,rar', allowed)).toBe(false);
    expect(stillAllows('policy:', allowed)).toBe(false);
  });

  it('is written as one line', () => {
    expect(policyLine(['zstd', 'lz4', 'zstd'])).toBe('ALLOW_UNSCANNABLE=lz4,zstd');
  });
});
