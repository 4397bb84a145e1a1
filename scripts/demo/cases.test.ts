import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type Case, type Course, complaints } from './cases.ts';
import { inMemory, randomPayload } from './payload.ts';

const content = Buffer.from('content');
const good = { status: 200, code: '', bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
const refusedFor = (code: string) => ({ status: 403, code, bytes: 0, sha256: '' });
const check = (status: string, virus_name = '') => ({ build: 'b', status, open: status === 'clean', reason: '', virus_name });
const clean: Case = { title: 'clean', payload: inMemory('a', content), expected: 'clean' };
const infected: Case = { title: 'infected', payload: inMemory('a', content), expected: 'infected' };
const cleanCourse: Course = { before: refusedFor('scan_pending'), openBefore: false, check: check('clean'), after: good };
const infectedCourse: Course = {
  before: refusedFor('scan_pending'),
  openBefore: false,
  check: check('infected', 'Eicar'),
  after: refusedFor('scan_infected'),
};

describe('what the demo complains about', () => {
  it('is nothing when all went as it must', () => {
    expect(complaints(clean, cleanCourse)).toEqual([]);
    expect(complaints(infected, infectedCourse)).toEqual([]);
    const shut = (code: string) => ({ ...refusedFor(code), status: 404 });
    expect(complaints(infected, { ...infectedCourse, before: shut('scanning'), after: shut('infected') })).toEqual([]);
    expect(complaints(infected, { ...infectedCourse, before: shut('scanning'), after: shut('clean') })).toHaveLength(1);
  });

  it('is a download before the verdict, unless the gate may have been open already', () => {
    expect(complaints(clean, { ...cleanCourse, before: good })).toHaveLength(1);
    expect(complaints(clean, { ...cleanCourse, before: good, openBefore: true })).toEqual([]);
    expect(complaints(infected, { ...infectedCourse, before: good, openBefore: true })).toHaveLength(1);
    expect(complaints(clean, { ...cleanCourse, before: { ...refusedFor(''), status: 404 } })).toHaveLength(1);
  });

  it('is a wrong verdict, a wrong gate, wrong bytes', () => {
    expect(complaints(clean, { ...cleanCourse, check: check('error') })).not.toEqual([]);
    expect(complaints(clean, { ...cleanCourse, after: { ...good, sha256: '0' } })).toHaveLength(1);
    expect(complaints(clean, { ...cleanCourse, after: refusedFor('scan_pending') })).toHaveLength(1);
    expect(complaints(infected, { ...infectedCourse, after: good })).toHaveLength(1);
    expect(complaints(infected, { ...infectedCourse, check: { ...check('infected', 'Eicar'), open: true } })).toHaveLength(1);
    expect(complaints(infected, { ...infectedCourse, check: check('infected') })).toHaveLength(1);
  });
});

describe('a random payload', () => {
  it('has its size and is the same in every pass', () => {
    const payload = randomPayload('x', 3);
    const passes = [1, 2].map(() => Buffer.concat([...payload.chunks()]));
    expect(passes[0]).toHaveLength(payload.size);
    expect(passes[0]?.equals(passes[1] ?? Buffer.alloc(0))).toBe(true);
  });
});
