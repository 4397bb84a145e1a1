/** Once before all integration and fault tests: the real parts are there and build/ is current. A missing part fails, it never skips. */
import { ensureBuilt } from '../../scripts/ensure-built.ts';
import { obtainClamd } from '../../scripts/parts/clamd.ts';
import { obtainPocketBase } from '../../scripts/parts/pocketbase.ts';

export default async function setup(): Promise<void> {
  const report = (line: string) => console.log(line);
  await Promise.all([obtainPocketBase(report), obtainClamd(report)]);
  await ensureBuilt(report);
}
