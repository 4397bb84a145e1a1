/** `npm run sbom`: writes what runs in production as CycloneDX to build/sbom.json. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runOrThrow } from './parts/run.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const file = join(root, 'build', 'sbom.json');

// From the lock file alone, so that it says the same on every machine.
const list = await runOrThrow(
  'npm',
  ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--omit', 'dev', '--package-lock-only'],
  {
    cwd: root,
  },
);
const bom = JSON.parse(list) as { metadata: { component: { name: string } }; components: unknown[] };
// npm takes the name of the folder.
bom.metadata.component.name = 'pocketwarden';
await mkdir(join(root, 'build'), { recursive: true });
await writeFile(file, `${JSON.stringify(bom, null, 2)}\n`);
console.log(`${bom.components.length} packages are listed in build/sbom.json.`);
