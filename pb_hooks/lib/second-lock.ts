/**
 * The second lock: file fields of builds that PocketBase itself serves under the view rule alone, which asks whether the check is open.
 * It holds where the hooks, the first lock, are not loaded.
 */
import { buildsCollectionId, HISTORY } from './checks.ts';
import { appendHistory, READABLE_ENTRY } from './history.ts';
import { BUILD_IS_OPEN, lockedRule, type ReadRule, type Rule, readRule, VIEWED_BUILD_IS_OPEN } from './lock-rule.ts';
import { gateMode } from './settings.ts';

export interface LockChange {
  collection: string;
  isView: boolean;
  fields: { name: string; before: boolean; after: boolean }[];
  rule: { before: Rule; after: Rule };
  /** What somebody should know before the change is made. */
  notes: string[];
}

interface Side {
  collection: core.Collection;
  question: string;
  /** Those that hold files of builds. */
  fields: core.FileField[];
  isView: boolean;
}

/** Turns it on, for fields and views that are new since the last time too. Throws a sentence where it cannot be done without harm. */
export function lockOn(tx: CoreApp): LockChange[] {
  const [builds, ...views] = sides(tx);
  const switched = builds!.fields.filter((field) => !field.protected);
  const changes = [changeOn(builds!), ...views.map((view) => changeOfView(tx, view, builds!))];
  for (const field of switched) field.protected = true;
  putAll(tx, [builds!, ...views], changes);
  if (changes.some(isReal)) remember(tx, 'second-lock-on', builds!.collection.id, switched);
  return changes;
}

/** Turns it on for an `app_builds` that is as our migration made it and that no view of a host shows; says whether it did. */
export function lockOurOwn(tx: CoreApp): boolean {
  const [builds, ...views] = sides(tx);
  if (views.length > 0 || !isOurOwn(builds!.collection)) return false;
  const change = changeOn(builds!);
  for (const field of builds!.fields) field.protected = true;
  putAll(tx, [builds!], [change]);
  return isReal(change);
}

/**
 * Takes it off: what a rule asks for beside our question stays, also what was put into it since, and only fields that the lock has
 * protected are public again. Throws a sentence for a rule whose form only its editor knows.
 */
export function lockOff(tx: CoreApp): LockChange[] {
  const [builds, ...views] = sides(tx);
  const known = switchedFields(tx, builds!.collection);
  const changes = [builds!, ...views].map((side) => {
    const { lock, own } = read(side);
    if (lock === 'edited') throw new Error(editedProblem(side));
    const fields = side.fields.map((field) => ({
      name: field.name,
      before: field.protected,
      after: field.protected && (side.isView || lock === 'none' || !known.has(field.id)),
    }));
    return { ...named(side), fields, rule: { before: ruleOf(side.collection), after: own! }, notes: [] };
  });
  for (const field of builds!.fields) field.protected = changes[0]!.fields.find(({ name }) => name === field.name)!.after;
  putAll(tx, [builds!, ...views], changes);
  if (changes.some(isReal)) remember(tx, 'second-lock-off', builds!.collection.id, []);
  return changes;
}

/** Where the second lock is on and does not hold everything that it could, or more than the gate is told to, in a sentence. Asks no more than what PocketBase keeps in memory. */
export function secondLockProblem(app: CoreApp): string | null {
  const builds = app.findCachedCollectionByNameOrId(buildsCollectionId(app));
  if (gateMode() !== 'enforce' && readRule(ruleOf(builds), BUILD_IS_OPEN).lock === 'ours') {
    return 'The second lock is on and keeps closed builds shut all the same. "av-lock off" takes it off.';
  }
  const open = fileFieldsOf(builds).filter((field) => !field.protected);
  if (readRule(ruleOf(builds), BUILD_IS_OPEN).lock === 'none' || open.length === 0) return null;
  return `The second lock is on and leaves out ${open.map(({ name }) => `${builds.name}.${name}`).join(', ')}: run "av-lock on" again.`;
}

/** Whether anything differs. */
export function isReal({ fields, rule }: LockChange): boolean {
  return rule.before !== rule.after || fields.some(({ before, after }) => before !== after);
}

/** The builds, and after them the views that show their files. */
function sides(tx: CoreApp): Side[] {
  const id = buildsCollectionId(tx);
  const followers = followingFields(tx, id);
  const collection = tx.findCollectionByNameOrId(id);
  const builds = { collection, question: BUILD_IS_OPEN, fields: fileFieldsOf(collection), isView: false };
  const views = [...followers].map(([view, names]) => {
    const found = tx.findCollectionByNameOrId(view);
    const fields = fileFieldsOf(found).filter(({ name }) => names.has(name));
    return { collection: found, question: VIEWED_BUILD_IS_OPEN, fields, isView: true };
  });
  return [builds, ...views];
}

/**
 * Fields of views that are copies of the builds' file fields, by id of the view. PocketBase keeps no trace of where a copy comes from, but
 * makes it follow its original: so the originals are changed, which ones follow is noted, and they are changed back.
 */
function followingFields(tx: CoreApp, builds: string): Map<string, Set<string>> {
  const collection = tx.findCollectionByNameOrId(builds);
  const flags = fileFieldsOf(collection).map((field) => [field, field.protected] as const);
  const look = (value: (was: boolean) => boolean) => {
    for (const [field, was] of flags) field.protected = value(was);
    tx.save(collection);
    const seen = new Map<string, boolean>();
    for (const view of tx.findAllCollections('view')) {
      for (const field of fileFieldsOf(view!)) seen.set(`${view!.id} ${field.name}`, field.protected);
    }
    return seen;
  };
  const turned = look((was) => !was);
  const back = look((was) => was);
  const found = new Map<string, Set<string>>();
  for (const [key, value] of back) {
    if (turned.get(key) === value) continue;
    const [view = '', name = ''] = key.split(' ');
    found.set(view, (found.get(view) ?? new Set()).add(name));
  }
  return found;
}

function changeOn(side: Side): LockChange {
  const before = ruleOf(side.collection);
  const open = side.fields.filter((field) => !field.protected).map(({ name }) => name);
  const fields = side.fields.map(({ name, protected: was }) => ({ name, before: was, after: true }));
  const change = { ...named(side), fields, rule: { before, after: before }, notes: [] as string[] };
  const { lock, own } = read(side);
  if (lock === 'edited') change.notes.push(`The view rule asks whether the check is open, in a form of its own; it is left as it is.`);
  if (lock !== 'none') return change;
  const isMixed = open.length > 0 && open.length < fields.length;
  if (isMixed && own === null) {
    throw new Error(
      `Pocketwarden: ${change.collection} has no view rule, so that its protected files are for superusers alone, and public files beside them (${open.join(', ')}). Under one view rule they cannot stay both. Set a view rule, or protect the others yourself, and try again.`,
    );
  }
  change.rule.after = lockedRule(own!, side.question, !isMixed && open.length > 0);
  if (isMixed && own !== '')
    change.notes.push(`${open.join(', ')}: was public, needs a file token (?token=) from now on, as the view rule asks for a login.`);
  if (own === null && open.length === 0) change.notes.push('Superusers alone have the files, which no rule holds back; nothing to change.');
  return change;
}

function changeOfView(tx: CoreApp, view: Side, builds: Side): LockChange {
  if (!showsOthers(tx, view, builds)) return changeOn(view);
  const before = ruleOf(view.collection);
  const fields = view.fields.map(({ name, protected: was }) => ({ name, before: was, after: true }));
  const [lock, why] = [
    read(view).lock,
    'a row of it has not the id of the build whose files it shows, so that its rule cannot ask for the check',
  ];
  const note =
    lock === 'none'
      ? `NOT COVERED: ${why}. Its own rule decides alone over files that the gate does not hold back.`
      : `Some of its files can be had by nobody: ${why}. "av-lock off" and "av-lock on" leave it as not covered.`;
  return { ...named(view), fields, rule: { before, after: before }, notes: [note] };
}

/** Whether a row of the view is none of a build, or shows a file that is not of the build with its id. */
function showsOthers(tx: CoreApp, view: Side, builds: Side): boolean {
  const originals = builds.fields.map(({ name }) => `b.\`${name}\``).join(', ');
  const same = view.fields.map(({ name }) => `COALESCE(v.\`${name}\`, '') IN ('', '[]', ${originals})`).join(' AND ');
  const rows = arrayOf(new DynamicModel({ id: '' }));
  tx.db()
    .newQuery(
      `SELECT v.id AS id FROM \`${view.collection.name}\` v
       WHERE NOT EXISTS (SELECT 1 FROM \`${builds.collection.name}\` b WHERE b.id = v.id AND ${same}) LIMIT 1`,
    )
    .all(rows);
  return rows.length > 0;
}

/** The builds come first; fields of views follow theirs, so that a view is read again before its rule is set. */
function putAll(tx: CoreApp, all: readonly Side[], changes: readonly LockChange[]): void {
  for (const [i, side] of all.entries()) {
    const change = changes[i]!;
    const collection = side.isView ? tx.findCollectionByNameOrId(side.collection.id) : side.collection;
    if (change.rule.before !== change.rule.after || !side.isView) {
      (collection as unknown as { viewRule: Rule }).viewRule = change.rule.after;
      tx.save(collection);
    }
    const now = new Map(fileFieldsOf(collection).map((field) => [field.name, field.protected]));
    for (const field of change.fields) field.after = now.get(field.name) ?? field.after;
  }
}

function remember(tx: CoreApp, event: 'second-lock-on' | 'second-lock-off', builds: string, switched: readonly core.FileField[]): void {
  appendHistory(tx, [
    { event, check: '', build: '', by: 'av-lock', note: JSON.stringify({ builds, fields: switched.map(({ id }) => id) }) },
  ]);
}

/** Ids of the fields that were public before the lock. Our migration leaves no word in the history: where it made the collection, all. */
function switchedFields(tx: CoreApp, builds: core.Collection): Set<string> {
  const rows = arrayOf(new DynamicModel({ event: '', note: '' }));
  tx.db()
    .newQuery(
      `SELECT json_extract(entry, '$.event') AS event, json_extract(entry, '$.note') AS note
       FROM (SELECT seq, ${READABLE_ENTRY} AS entry FROM ${HISTORY} WHERE entry LIKE '%second-lock-o%')
       WHERE json_extract(entry, '$.event') IN ('second-lock-on', 'second-lock-off') ORDER BY seq`,
    )
    .all(rows);
  let switched = new Set<string>();
  for (const row of rows) {
    const said = JSON.parse(String(row['note'])) as { builds: string; fields: string[] };
    if (row['event'] === 'second-lock-off') switched = new Set();
    else if (said.builds === builds.id) for (const id of said.fields) switched.add(id);
  }
  return rows.at(-1)?.['event'] !== 'second-lock-on' && isOurOwn(builds) ? new Set(fileFieldsOf(builds).map(({ id }) => id)) : switched;
}

/** Names, types and order of what our migration makes; a host that has added or taken anything has made it its own. */
const OUR_FIELDS = 'id:text files:file os:text arch:text branch:text app:text created:autodate updated:autodate';

/** Whether a collection is the `app_builds` that our migration made, as it made it; the second lock itself does not count as a change. */
export function isOurOwn(collection: core.Collection): boolean {
  const fields = [...(collection.fields as unknown as core.Field[])].map((field) => `${field.getName()}:${field.type()}`).join(' ');
  const { own } = readRule(ruleOf(collection), BUILD_IS_OPEN);
  return collection.name === 'app_builds' && collection.type === 'base' && fields === OUR_FIELDS && own === '';
}

function read({ collection, question }: Side): ReadRule {
  return readRule(ruleOf(collection), question);
}

function ruleOf(collection: core.Collection): Rule {
  const rule = (collection as unknown as { viewRule: unknown }).viewRule ?? null;
  return rule === null ? null : String(rule);
}

function named({ collection, isView }: Side): Pick<LockChange, 'collection' | 'isView'> {
  return { collection: collection.name, isView };
}

function editedProblem({ collection, question }: Side): string {
  return `Pocketwarden: somebody has changed the view rule of ${collection.name} around the second lock. Take "${question}" out of it by hand, and try again. Nothing was changed.`;
}

function fileFieldsOf(collection: core.Collection): core.FileField[] {
  const found: core.FileField[] = [];
  for (const field of collection.fields as unknown as core.Field[])
    if (field?.type() === 'file') found.push(field as unknown as core.FileField);
  return found;
}
