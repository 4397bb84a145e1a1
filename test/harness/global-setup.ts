/** Once before all tests that run real parts: they are there and build/ is current. */
import { ensureBuilt } from '../../scripts/ensure-built.ts';
import { obtainArchivers } from '../../scripts/parts/archivers.ts';
import { obtainChromium } from '../../scripts/parts/chromium.ts';
import { obtainClamd } from '../../scripts/parts/clamd.ts';
import { type GoToolName, obtainGoTool } from '../../scripts/parts/go-tools.ts';
import { obtainPocketBase } from '../../scripts/parts/pocketbase.ts';
import type { Report } from '../../scripts/parts/report.ts';
import { obtainSkopeo } from '../../scripts/parts/skopeo.ts';

const GO_TOOLS: readonly GoToolName[] = ['bbolt', 'crane', 'trivy-db'];

export default async function setup(): Promise<void> {
  const report = (line: string) => console.log(line);
  await obtainRealParts(report);
  await ensureBuilt(report);
}

/** Everything that tests run for real, with one line each about where it is. A missing part fails, it never skips. */
export async function obtainRealParts(report: Report): Promise<readonly string[]> {
  const [pocketbase, clamd, chromium, skopeo, archivers] = await Promise.all([
    obtainPocketBase(report),
    obtainClamd(report),
    obtainChromium(report),
    obtainSkopeo(report),
    obtainArchivers(report),
  ]);
  const found = [
    `PocketBase ${pocketbase.version} (${pocketbase.bin})`,
    `clamd ${clamd.version} (${clamd.clamd})`,
    `Chromium ${chromium.version} (${chromium.bin})`,
    `skopeo (${skopeo.bin})`,
    `archivers (${archivers.bin['7zz']} and others)`,
  ];
  // One after the other: two Go builds at once only fight for the same processors.
  for (const tool of GO_TOOLS) found.push(`${tool} (${await obtainGoTool(tool, report)})`);
  return found;
}
