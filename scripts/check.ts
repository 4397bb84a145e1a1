/** `npm run check`: everything that needs no running part. */
import { runStaticChecks } from './static-checks.ts';

const results = await runStaticChecks((line) => console.log(line));
process.exitCode = results.every(({ passed }) => passed) ? 0 : 1;
