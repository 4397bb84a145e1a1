/** `npm run test:trivy`: a stock Trivy, built from source when there is none, scans with the database of our own registry. */
import { obtainTrivy } from './parts/trivy.ts';
import { runVitest } from './run-vitest.ts';

try {
  console.log(`Trivy (${await obtainTrivy((line) => console.log(line), { build: true })})`);
  const { passed, failed, notes } = await runVitest(['--project=trivy', ...process.argv.slice(2)]);
  for (const note of notes) console.log(note);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
