/**
 * The file of the journal, in a folder of its own beside `pb_data`: neither a backup of PocketBase nor a copy of its database carries it,
 * so that restoring one of them leaves it as it is. Everything here throws where the folder cannot be used.
 */

const FILE = 'closings.log';
const PART = `${FILE}.part`;
/** As in Go; the flags for appending differ from system to system, this one does not. */
const READ_WRITE = 2;
const FROM_END = 2;

const BUSY_SINCE = 'av.journal.busySince';
const PATIENCE_MS = 2_000;
/** Whoever has held it for so long has died: closing 100,000 builds takes a quarter of that. */
const STUCK_MS = 60_000;

/** AV_JOURNAL_DIR, or a folder beside the one of the database and named after it: two databases never share one by accident. */
export function journalFolder(app: CoreApp): string {
  return $os.getenv('AV_JOURNAL_DIR').trim() || `${app.dataDir().replace(/[/\\]+$/, '')}.av_journal`;
}

/** Null where there is none yet. */
export function readText(app: CoreApp): string | null {
  return inFolder(app, (root, names) => (names.includes(FILE) ? toString(root.readFile(FILE)) : null));
}

/** Bytes; null where there is none. */
export function sizeOf(app: CoreApp): number | null {
  return inFolder(app, (root, names) => (names.includes(FILE) ? root.stat(FILE).size() : null));
}

/** On the disk when it returns. Where the file is gone nothing is written, since a journal that begins in the middle would be believed. */
export function appendText(app: CoreApp, text: string): void {
  inFolder(app, (root) => {
    const file = root.openFile(FILE, READ_WRITE, mode(0o600));
    try {
      file.seek(0, FROM_END);
      file.writeString(text);
      file.sync();
    } finally {
      file.close();
    }
  });
}

/** Whole or not at all, and on the disk when it returns. */
export function replaceText(app: CoreApp, text: string): void {
  inFolder(app, (root) => {
    const file = root.create(PART);
    try {
      root.chmod(PART, mode(0o600));
      file.writeString(text);
      file.sync();
    } finally {
      file.close();
    }
    root.rename(PART, FILE);
    const folder = root.open('.');
    try {
      folder.sync();
    } finally {
      folder.close();
    }
  });
}

/** One at a time, over all runtimes of the hooks; throws after two seconds. Whatever writes belongs in here. */
export function locked(app: CoreApp, work: () => void): void {
  const giveUpAt = Date.now() + PATIENCE_MS;
  while (!enter(app)) {
    if (Date.now() > giveUpAt) throw new Error('another use of it does not come to an end');
    sleep(2);
  }
  try {
    work();
  } finally {
    app.store().remove(BUSY_SINCE);
  }
}

function inFolder<T>(app: CoreApp, work: (root: os.Root, names: string[]) => T): T {
  const folder = journalFolder(app);
  $os.mkdirAll(folder, mode(0o700));
  const root = $os.openRoot(folder);
  try {
    return work(
      root,
      $os.readDir(folder).map((entry) => entry!.name()),
    );
  } finally {
    root.close();
  }
}

/** Atomic: the callback runs under the store's lock. */
function enter(app: CoreApp): boolean {
  let entered = false;
  const now = Date.now();
  app.store().setFunc(BUSY_SINCE, (since: unknown) => {
    entered = Number(since ?? 0) < now - STUCK_MS;
    return entered ? String(now) : since;
  });
  return entered;
}

/** PocketBase's types make an object of what is a number. */
function mode(bits: number): os.FileMode {
  return bits as unknown as os.FileMode;
}
