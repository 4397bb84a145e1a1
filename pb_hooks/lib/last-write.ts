/** Whether anything was written since: an idle server need not look again at what it has seen. */

/** Times of files are coarse, 4 ms on Linux and 2 s on the coarsest, so two writes may bear the same one: none this young tells them apart. */
const SETTLED_MS = 2_000;

/**
 * A text that differs after any commit to the database of records, whoever made it; null where none can be trusted, as just after a write.
 * Ask before reading what is to be remembered under it. PocketBase's own log is another database, so a server without work writes nothing.
 *
 * The files are never opened: closing one would drop the locks that SQLite holds on it in this process (sqlite.org/howtocorrupt.html, 2.2).
 */
export function lastWrite(app: CoreApp, now: number): string | null {
  try {
    const database = fileState(`${app.dataDir()}/data.db`, now);
    // Where a commit goes first, if it is there: the database itself changes when this is copied into it.
    const log = fileState(`${app.dataDir()}/data.db-wal`, now);
    return database?.settled && (log === null || log.settled) ? `${database.text} ${log?.text}` : null;
  } catch {
    return null;
  }
}

function fileState(path: string, now: number): { text: string; settled: boolean } | null {
  let file: ReturnType<typeof $os.stat>;
  try {
    file = $os.stat(path);
  } catch (error) {
    if (String(error).includes('no such file')) return null;
    throw error;
  }
  const changed = file!.modTime() as unknown as { string(): string; unixMilli(): number };
  return { text: `${file!.size()} ${changed.string()}`, settled: now - changed.unixMilli() > SETTLED_MS };
}
