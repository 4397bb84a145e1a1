/** `npm run orphans`: what a crash left in the storage of a PocketBase, listed or removed. */
import { rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import PocketBase from 'pocketbase';
import { readDemoSettings } from './demo/settings.ts';
import { existingRecords, findOrphans, type Orphan } from './orphans/find-orphans.ts';

const HOUR_MS = 3_600_000;
const HELP = `usage: npm run orphans -- STORAGE [--remove] [--min-age-hours N]

STORAGE is the folder pb_data/storage of a running PocketBase. Lists the folders in it whose record does not exist: a PocketBase
that is killed in the middle of an upload leaves them, and never removes them. Nothing is changed without --remove.

  --remove                             remove what is listed
  --min-age-hours N                    leave alone what changed within N hours, as running uploads do (24)

  POCKETBASE_URL                       where that PocketBase answers
  POCKETBASE_SUPERUSER_EMAIL           superuser there
  POCKETBASE_SUPERUSER_PASSWORD(_FILE) its password, or a file that holds it
  DATA_DIR                             instead of these: data folder of a running npm start (.data)`;

interface Options {
  readonly storage: string;
  readonly remove: boolean;
  readonly minAgeHours: number;
}

/** Null when the help is wanted; throws with one sentence when the arguments make no sense. */
function readOptions(args: string[]): Options | null {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { help: { type: 'boolean', short: 'h' }, remove: { type: 'boolean' }, 'min-age-hours': { type: 'string', default: '24' } },
  });
  if (values.help === true) return null;
  const [storage, ...others] = positionals;
  const minAgeHours = Number(values['min-age-hours']);
  if (storage === undefined || others.length > 0) throw new Error(`Name one storage folder.\n\n${HELP}`);
  if (values['min-age-hours'].trim() === '' || !(minAgeHours >= 0)) throw new Error('--min-age-hours must be a number of hours.');
  return { storage: resolve(storage), remove: values.remove === true, minAgeHours };
}

async function listOrRemove({ storage, remove, minAgeHours }: Options): Promise<void> {
  const { url, email, password } = readDemoSettings(process.env);
  const client = new PocketBase(url).autoCancellation(false);
  await client.collection('_superusers').authWithPassword(email, password);
  const { orphans, unknownCollections } = await findOrphans(client, storage, new Date(Date.now() - minAgeHours * HOUR_MS));
  for (const orphan of orphans) {
    const { collection, path, files, bytes, changedAt } = orphan;
    const removed = remove && (await removeOrphan(client, storage, orphan));
    console.log(`${removed ? 'removed  ' : ''}${path}  ${collection}  ${files} files, ${mebibytes(bytes)}, of ${changedAt.toISOString()}`);
  }
  for (const folder of unknownCollections) console.log(`left alone: ${folder} belongs to no collection of ${url}`);
  const total = mebibytes(orphans.reduce((sum, { bytes }) => sum + bytes, 0));
  const done = remove || orphans.length === 0 ? '' : ' Nothing was removed: add --remove.';
  console.log(`${orphans.length} orphaned folders, ${total}.${done}`);
}

/** Asks once more: between the list and now its row may have come. */
async function removeOrphan(client: PocketBase, storage: string, { path }: Orphan): Promise<boolean> {
  const record = basename(path);
  if ((await existingRecords(client, dirname(path), [record])).has(record)) return false;
  await rm(join(storage, path), { recursive: true });
  return true;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === null) console.log(HELP);
  else await listOrRemove(options);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
