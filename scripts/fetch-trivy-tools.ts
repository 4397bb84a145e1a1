/** Copies trivy-db, with what it needs beside it, and bbolt into the given folder; for the image build. */
import { cp, mkdir, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { obtainGoTool } from './parts/go-tools.ts';

const [target] = process.argv.slice(2);
if (target === undefined) {
  console.error('usage: node scripts/fetch-trivy-tools.ts FOLDER');
  process.exit(64);
}
await mkdir(target, { recursive: true });
for (const tool of ['trivy-db', 'bbolt'] as const) {
  const bin = await obtainGoTool(tool, (line) => console.log(line));
  const isPart = (name: string) => name === basename(bin) || name.startsWith(`${basename(bin)}.`);
  for (const name of (await readdir(dirname(bin))).filter(isPart)) await cp(join(dirname(bin), name), join(target, name));
  console.log(`${tool} is at ${join(target, basename(bin))}.`);
}
