/** Copies a PocketBase that runs on this platform to the given path; for the image build. */
import { copyFile } from 'node:fs/promises';
import { obtainPocketBase } from './parts/pocketbase.ts';

const [target] = process.argv.slice(2);
if (target === undefined) {
  console.error('usage: node scripts/fetch-pocketbase.ts PATH');
  process.exit(64);
}
const { bin, version } = await obtainPocketBase((line) => console.log(line));
await copyFile(bin, target);
console.log(`PocketBase ${version} is at ${target}.`);
