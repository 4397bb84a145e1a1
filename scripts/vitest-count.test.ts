import { describe, expect, it } from 'vitest';
import { countVitest } from './vitest-count.ts';

const json = (numbers: Record<string, number>, files: object[] = []) =>
  JSON.stringify({ numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults: files, ...numbers });

describe('counting a run of vitest', () => {
  it('takes over passed and failed tests', () => {
    expect(countVitest(json({ numPassedTests: 7, numFailedTests: 2 }), 1)).toEqual({ passed: 7, failed: 2, notes: [] });
    expect(countVitest(json({ numPassedTests: 7 }), 0)).toEqual({ passed: 7, failed: 0, notes: [] });
  });

  it('counts skipped tests as failed', () => {
    expect(countVitest(json({ numPassedTests: 7, numPendingTests: 1, numTodoTests: 1 }), 0)).toMatchObject({ passed: 7, failed: 2 });
  });

  it('counts a file that could not be loaded', () => {
    const file = { name: 'broken.test.ts', status: 'failed', assertionResults: [] };
    expect(countVitest(json({ numPassedTests: 7 }, [file]), 1)).toEqual({
      passed: 7,
      failed: 1,
      notes: ['broken.test.ts could not be loaded'],
    });
  });

  it('never calls it a success when vitest ran nothing, failed by itself, or left no report', () => {
    expect(countVitest(json({}), 0).failed).toBe(1);
    expect(countVitest(json({ numPassedTests: 7 }), 1).failed).toBe(1);
    expect(countVitest('', null)).toMatchObject({ passed: 0, failed: 1 });
    expect(countVitest('{}', 0)).toMatchObject({ passed: 0, failed: 1 });
  });
});
