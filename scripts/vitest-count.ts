import { z } from 'zod';

/** The parts of vitest's JSON report that decide whether all is well. */
const reportSchema = z.object({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numPendingTests: z.int(),
  numTodoTests: z.int(),
  testResults: z.array(z.object({ name: z.string(), status: z.string(), assertionResults: z.array(z.unknown()) })),
});

export interface Count {
  readonly passed: number;
  readonly failed: number;
  /** What failed without being a failed test, one sentence each; included in `failed`. */
  readonly notes: readonly string[];
}

/**
 * Counts a run of vitest. A test that was skipped is a failed one, for nothing may be skipped here; so is a file that could not be
 * loaded, a run without any test, and a run that ended with an error of its own.
 *
 * @param exitCode of vitest; null when it was killed
 */
export function countVitest(json: string, exitCode: number | null): Count {
  const parsed = reportSchema.safeParse(parseJson(json));
  if (!parsed.success) return { passed: 0, failed: 1, notes: [`vitest left no report and ended with ${exitCode}`] };
  const report = parsed.data;
  const skipped = report.numPendingTests + report.numTodoTests;
  const unloaded = report.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
  const notes = unloaded.map((file) => `${file.name} could not be loaded`);
  if (skipped > 0) notes.push(`${skipped} tests were skipped`);
  let failed = report.numFailedTests + skipped + unloaded.length;
  if (failed === 0 && report.numPassedTests === 0) {
    failed = 1;
    notes.push('vitest ran no test');
  }
  if (failed === 0 && exitCode !== 0) {
    failed = 1;
    notes.push(`vitest ended with ${exitCode} although every test passed: see its messages above`);
  }
  return { passed: report.numPassedTests, failed, notes };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
