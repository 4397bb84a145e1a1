/** A build and its check, in one transaction: both rows or none. */
import { appendLog, apply, fileFields, fileNames, findCheck, forgetVerdict, newCheck, stateOf } from './checks.ts';
import { appendHistory } from './history.ts';
import { begin, filesChanged } from './rules.ts';

/** onModelCreateExecute of the builds collection: runs after the upload, around the INSERT. */
export function createCheckWithBuild(e: core.ModelEvent): void {
  const build = recordOf(e);
  const filled = hasFiles(build);
  withinTransaction(e, (tx) => {
    const check = newCheck(tx, build.id);
    apply(check, begin(filled, 1, Date.now()));
    tx.saveNoValidate(check);
  });
}

/** onModelUpdateExecute of the builds collection. */
export function resetCheckWhenFilesChange(e: core.ModelEvent): void {
  const build = recordOf(e);
  const change = changeOf(build);
  if (change === null) return e.next();
  const filled = hasFiles(build);
  withinTransaction(e, (tx) => {
    const now = Date.now();
    const check = findCheck(tx, build.id) ?? newCheck(tx, build.id);
    const patch = check.isNew() ? begin(filled, 1, now) : filesChanged(stateOf(check), change, filled, now);
    if (patch === null) return;
    apply(check, patch);
    forgetVerdict(check);
    appendLog(check, `${new Date(now).toISOString()} The files of the build changed; whatever was said of it before no longer counts.`);
    tx.saveNoValidate(check);
  });
}

/** onModelDelete of the builds collection, before the check goes with it: the deletion of an infected build goes on record. */
export function recordDeletionOfInfected(e: core.ModelEvent): void {
  const build = recordOf(e);
  const outer = e.app;
  const check = findCheck(outer, build.id);
  if (check?.getString('status') !== 'infected') return e.next();
  try {
    outer.runInTransaction((tx) => {
      e.app = tx;
      appendHistory(tx, [{ event: 'infected-build-deleted', check: check.id, build: build.id, virusName: check.getString('virus_name') }]);
      e.next();
    });
  } finally {
    e.app = outer;
  }
}

/** What an update that is about to be saved does to the set of files; null where it leaves it, in whatever order. */
function changeOf(build: core.Record): 'added' | 'removed' | null {
  if (newFilesOf(build).length > 0) return 'added';
  const before = new Set(fileNames(build.original()));
  const after = new Set(fileNames(build));
  for (const name of after) if (!before.has(name)) return 'added';
  return after.size < before.size ? 'removed' : null;
}

/** Whether a build about to be saved will have files: new ones are objects until it is saved, and no names yet. */
function hasFiles(build: core.Record): boolean {
  return newFilesOf(build).length > 0 || fileNames(build).length > 0;
}

function newFilesOf(build: core.Record): unknown[] {
  return fileFields(build.collection()).flatMap((field) => [...build.getUnsavedFiles(field)]);
}

function recordOf(e: core.ModelEvent): core.Record {
  return e.model as unknown as core.Record;
}

/**
 * Runs the rest of the chain and `extra` in one transaction. PocketBase deletes the uploaded files when this throws, so a throw is
 * passed on only while nothing is committed: what comes after COMMIT is another hook's failure on a stored build.
 */
function withinTransaction(e: core.ModelEvent, extra: (tx: CoreApp) => void): void {
  const outer = e.app;
  let finished = false;
  try {
    outer.runInTransaction((tx) => {
      e.app = tx;
      e.next();
      extra(tx);
      finished = true;
    });
  } catch (error) {
    if (!finished || outer.isTransactional() || findCheck(outer, recordOf(e).id) === null) throw error;
    outer
      .logger()
      .error('av: an after-success hook failed; the build and its check are stored', 'build', recordOf(e).id, 'error', String(error));
  } finally {
    e.app = outer;
  }
}
