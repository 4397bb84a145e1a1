import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type PocketBase from 'pocketbase';

export interface Orphan {
  /** `<collection id>/<record id>`, below the storage folder. */
  readonly path: string;
  readonly collection: string;
  readonly files: number;
  readonly bytes: number;
  readonly changedAt: Date;
}

export interface Found {
  readonly orphans: readonly Orphan[];
  /** Folders of collections that this PocketBase does not have. Whose they are cannot be told, so they are nobody's orphans. */
  readonly unknownCollections: readonly string[];
}

/** PocketBase accepts filters of at most 3,500 characters. */
const IDS_PER_QUESTION = 100;

/**
 * Folders of a PocketBase's storage whose record does not exist. Files are stored before their row is, so a folder counts only when
 * nothing in it changed after `changedBefore`.
 *
 * Throws when the folder cannot be read, or when it holds none of the records' folders and so belongs to another PocketBase.
 *
 * @param client logged in as superuser: to anybody else existing rows look missing
 */
export async function findOrphans(client: PocketBase, storage: string, changedBefore: Date): Promise<Found> {
  const collections = new Map((await client.collections.getFullList()).map(({ id, name }) => [id, name]));
  const folders = await subfolders(storage);
  const orphans: Orphan[] = [];
  let known = 0;
  for (const id of folders.filter((folder) => collections.has(folder))) {
    const records = await subfolders(join(storage, id));
    const existing = await existingRecords(client, id, records);
    known += existing.size;
    for (const record of records.filter((name) => !existing.has(name))) {
      const orphan = await describe(storage, id, record, collections.get(id) ?? id);
      if (orphan.changedAt < changedBefore) orphans.push(orphan);
    }
  }
  if (orphans.length > 0 && known === 0)
    throw new Error(
      `${storage} holds no file of any record of ${client.baseURL}: it is the storage of another PocketBase, or the wrong folder.`,
    );
  return { orphans, unknownCollections: folders.filter((folder) => !collections.has(folder)) };
}

/** Which of these ids are rows. */
export async function existingRecords(client: PocketBase, collection: string, ids: readonly string[]): Promise<Set<string>> {
  const existing = new Set<string>();
  for (let at = 0; at < ids.length; at += IDS_PER_QUESTION) {
    const some = ids.slice(at, at + IDS_PER_QUESTION);
    const filter = some.map((id) => client.filter('id={:id}', { id })).join('||');
    const page = await client.collection(collection).getList(1, some.length, { filter, fields: 'id', skipTotal: true });
    for (const { id } of page.items) existing.add(id);
  }
  return existing;
}

/** Links are left out: what they point to is not PocketBase's. */
async function subfolders(folder: string): Promise<string[]> {
  return (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

async function describe(storage: string, collectionId: string, record: string, collection: string): Promise<Orphan> {
  const path = join(storage, collectionId, record);
  let [files, bytes, changed] = [0, 0, (await stat(path)).mtimeMs];
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    const { size, mtimeMs } = await stat(join(entry.parentPath, entry.name));
    changed = Math.max(changed, mtimeMs);
    if (!entry.isFile()) continue;
    files += 1;
    bytes += size;
  }
  return { path: join(collectionId, record), collection, files, bytes, changedAt: new Date(changed) };
}
