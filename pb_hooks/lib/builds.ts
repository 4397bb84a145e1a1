/** A build and its check, in one transaction: both rows or none. */
import { appendLog, apply, buildFiles, fileFields, fileNames, findCheck, forgetVerdict, newCheck, stateOf } from './checks.ts';
import { forgetFinished } from './counts.ts';
import { appendHistory, type HistoryRow, lastRevisions } from './history.ts';
import { refusal } from './http.ts';
import { keepClosings } from './journal.ts';
import { begin, filesChanged } from './rules.ts';

/** How long an overwritten build waits for the end of its upload, should that end never be told. */
const OVERWRITE_MS = 600_000;

/** onModelCreateExecute of the builds collection: runs after the upload, around the INSERT. */
export function createCheckWithBuild(e: core.ModelEvent): void {
  const build = recordOf(e);
  const filled = hasFiles(build);
  withinTransaction(e, (tx) => {
    e.next();
    const check = newCheck(tx, build.id);
    apply(check, begin(filled, 1, Date.now()));
    tx.saveNoValidate(check);
    return check;
  });
}

/** onModelUpdateExecute of the builds collection. */
export function resetCheckWhenFilesChange(e: core.ModelEvent): void {
  const build = recordOf(e);
  // Asked before e.next(): afterwards new files are plain names.
  const added = newFileNames(build).length > 0;
  const filled = hasFiles(build);
  withinTransaction(e, (tx) => {
    // What is stored, not what the record was loaded with: another update may have come in between.
    const before = buildFiles(tx, build.id);
    e.next();
    const change = added ? 'added' : changeOf(before, new Set(fileNames(build)));
    return change === null ? null : resetCheck(tx, build.id, change, filled);
  });
}

/**
 * onModelUpdate of the builds collection, before the upload. A new file is stored before any row changes, so one that takes a name in
 * use (only code of the host can do that) would be served under the old verdict: the check is closed first, in its own transaction.
 */
export function closeBeforeOverwrite(e: core.ModelEvent): void {
  const build = recordOf(e);
  const added = newFileNames(build);
  if (added.length > 0) {
    const listed = buildFiles(e.app, build.id);
    if (added.some((name) => listed.has(name))) closeForOverwrite(e.app, build.id);
  }
  e.next();
}

/** onModelDelete of the builds collection, before the check goes with it: the deletion of an infected build goes on record. */
export function recordDeletionOfInfected(e: core.ModelEvent): void {
  const build = recordOf(e);
  const outer = e.app;
  const check = findCheck(outer, build.id);
  let rows: HistoryRow[] = [];
  try {
    if (check?.getString('status') !== 'infected') return e.next();
    outer.runInTransaction((tx) => {
      e.app = tx;
      const virusName = check.getString('virus_name');
      rows = appendHistory(tx, [{ event: 'infected-build-deleted', check: check.id, build: build.id, virusName }]);
      e.next();
    });
    if (!outer.isTransactional()) keepClosings(outer, rows);
  } finally {
    e.app = outer;
    forgetFinished(outer);
  }
}

function resetCheck(tx: CoreApp, build: string, change: 'added' | 'removed', filled: boolean): core.Record {
  const now = Date.now();
  const check = findCheck(tx, build) ?? newCheck(tx, build);
  const patch = check.isNew() ? begin(filled, nextRevision(tx, build), now) : filesChanged(stateOf(check), change, filled, now);
  if (patch === null) {
    appendLog(check, now, 'Files of the build were removed; the verdict holds for the others.');
  } else {
    apply(check, patch);
    forgetVerdict(check);
    appendLog(check, now, 'The files of the build changed; whatever was said of it before no longer counts.');
  }
  tx.saveNoValidate(check);
  return check;
}

function closeForOverwrite(app: CoreApp, build: string): void {
  // Inside another transaction it would close only when that one commits, long after the bytes have changed.
  if (app.isTransactional()) {
    throw refusal(400, 'A file cannot take the name of a stored one within a transaction or batch.', 'files', 'name_in_use');
  }
  app.runInTransaction((tx) => {
    const check = resetCheck(tx, build, 'added', true);
    apply(check, { notBefore: Date.now() + OVERWRITE_MS });
    tx.saveNoValidate(check);
  });
}

function nextRevision(tx: CoreApp, build: string): number {
  return (lastRevisions(tx, [build]).get(build) ?? 0) + 1;
}

/** What an update did to the set of files; null where it left it, in whatever order. */
function changeOf(before: ReadonlySet<string>, after: ReadonlySet<string>): 'added' | 'removed' | null {
  for (const name of after) if (!before.has(name)) return 'added';
  return after.size < before.size ? 'removed' : null;
}

/** Whether a build about to be saved will have files: new ones are objects until it is saved, and no names yet. */
function hasFiles(build: core.Record): boolean {
  return newFileNames(build).length > 0 || fileNames(build).length > 0;
}

function newFileNames(build: core.Record): string[] {
  return fileFields(build.collection()).flatMap((field) => build.getUnsavedFiles(field).map((file) => file!.name));
}

function recordOf(e: core.ModelEvent): core.Record {
  return e.model as unknown as core.Record;
}

/**
 * Runs `work`, which carries on the chain, in one transaction; it answers the check that it wrote, if any. PocketBase deletes the
 * uploaded files when this throws, so a throw is passed on unless the check as written can be read back: then the transaction is
 * committed, and what failed afterwards is another hook on a stored build.
 */
function withinTransaction(e: core.ModelEvent, work: (tx: CoreApp) => core.Record | null): void {
  const outer = e.app;
  let written: core.Record | null = null;
  try {
    outer.runInTransaction((tx) => {
      e.app = tx;
      written = work(tx);
    });
  } catch (error) {
    if (outer.isTransactional() || !isStored(outer, written)) throw error;
    outer
      .logger()
      .error('av: an after-success hook failed; the build and its check are stored', 'build', recordOf(e).id, 'error', String(error));
  } finally {
    e.app = outer;
    forgetFinished(outer);
  }
}

function isStored(app: CoreApp, written: core.Record | null): boolean {
  if (written === null) return false;
  const stored = findCheck(app, written.getString('build'));
  return stored !== null && ['id', 'updated', 'status', 'log'].every((field) => stored.getString(field) === written.getString(field));
}
