/** Reading a database without touching it: neither the file nor those beside it are opened for writing or locked. */
import { constants, copyFile, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { unlessAbsent } from '../../sidecar/durable.ts';

export interface Snapshot {
  readonly database: DatabaseSync;
  /** Whether a file was written since it was opened: what was read is then worth nothing. */
  isStale(): Promise<boolean>;
  close(): Promise<void>;
}

/** SQLite keeps what is not in the file yet here. */
const BESIDE = ['-wal', '-journal'];

/**
 * Opens it as it is; where changes lie in a file beside it, a copy in the temporary folder, since SQLite would write in order to read
 * them. Rejects where it is no database.
 */
export async function openSnapshot(path: string): Promise<Snapshot> {
  const before = await stamps(path);
  const beside = BESIDE.filter((_, index) => before[index + 1] !== '');
  const folder = beside.length > 0 ? await mkdtemp(join(tmpdir(), 'pocketwarden-history-')) : null;
  const clean = async () => {
    if (folder !== null) await rm(folder, { recursive: true, force: true });
  };
  try {
    const database = folder === null ? openImmutable(path) : new DatabaseSync(await copied(path, beside, folder));
    return {
      database,
      isStale: async () => (await stamps(path)).join() !== before.join(),
      async close() {
        database.close();
        await clean();
      },
    };
  } catch (thrown) {
    await clean();
    throw thrown;
  }
}

function openImmutable(path: string): DatabaseSync {
  const url = pathToFileURL(path);
  url.searchParams.set('immutable', '1');
  return new DatabaseSync(url, { readOnly: true });
}

async function copied(path: string, beside: readonly string[], folder: string): Promise<string> {
  const copy = join(folder, basename(path));
  for (const end of ['', ...beside]) await copyFile(`${path}${end}`, `${copy}${end}`, constants.COPYFILE_FICLONE);
  return copy;
}

/** Size and time of last change of each file; '' for one that is not there, or empty. */
async function stamps(path: string): Promise<string[]> {
  const stamp = async (each: string) => {
    const found = await unlessAbsent(stat(each, { bigint: true }));
    return found === null || found.size === 0n ? '' : `${found.size} ${found.mtimeNs}`;
  };
  return await Promise.all(['', ...BESIDE].map((end) => stamp(`${path}${end}`)));
}
