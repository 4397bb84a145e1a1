/** Checks as rows: reading the state that the rules need, writing a patch, finding the collections. */
import { dateMs, dateText } from './dates.ts';
import type { CheckState, Patch, Status } from './rules.ts';
import type { EngineInfo, WireFileVerdict } from './wire.ts';

export const CHECKS = 'av_build_checks';
export const HISTORY = 'av_scan_history';

/** Older lines of a log are dropped beyond this many characters. */
const LOG_CAP = 20_000;

const columns = {
  status: 'status',
  open: 'open',
  reason: 'reason',
  virusName: 'virus_name',
  revision: 'revision',
  attempts: 'attempts',
  lapses: 'lapses',
  suspect: 'suspect',
  notBefore: 'not_before',
  rescanAt: 'rescan_at',
  judgedAt: 'judged_at',
  revisitAt: 'revisit_at',
  pendingSince: 'pending_since',
  leaseToken: 'lease_token',
  leaseUntil: 'lease_until',
  worker: 'worker',
  releasedBy: 'released_by',
  releasedAt: 'released_at',
  releaseReason: 'release_reason',
  shutBy: 'shut_by',
  scanTime: 'scan_time',
} as const satisfies { [K in keyof Patch]-?: string };
const dates = new Set<keyof Patch>([
  'notBefore',
  'rescanAt',
  'judgedAt',
  'revisitAt',
  'pendingSince',
  'leaseUntil',
  'releasedAt',
  'scanTime',
]);

/** Id of the collection whose records are builds: whatever the relation points to. Throws where there are no checks at all. */
export function buildsCollectionId(app: CoreApp): string {
  const relation = app.findCachedCollectionByNameOrId(CHECKS).fields.getByName('build') as core.RelationField | undefined;
  if (!relation?.collectionId) throw new Error(`${CHECKS} has no relation "build": apply the migrations of Pocketwarden.`);
  return relation.collectionId;
}

/** Ids of our two collections and of the builds. Throws with the cure where one is missing, so that PocketBase does not serve without them. */
export function collectionIds(app: CoreApp): { builds: string; checks: string; history: string } {
  const id = (name: string) => {
    try {
      return app.findCollectionByNameOrId(name).id;
    } catch {
      throw new Error(
        `Pocketwarden: the collection ${name} is missing. Run "migrate down 9" and "migrate up" with its migrations to make it again.`,
      );
    }
  };
  return { history: id(HISTORY), checks: id(CHECKS), builds: buildsCollectionId(app) };
}

/** A copy: what is applied to the row afterwards does not show in it. */
export function stateOf(check: core.Record): CheckState {
  return {
    status: check.getString('status') as Status,
    reason: check.getString('reason') as CheckState['reason'],
    virusName: check.getString('virus_name'),
    revision: check.getInt('revision'),
    attempts: check.getInt('attempts'),
    lapses: check.getInt('lapses'),
    suspect: check.getBool('suspect'),
    rescanAt: dateMs(check.getString('rescan_at')),
    judgedAt: dateMs(check.getString('judged_at')),
    pendingSince: dateMs(check.getString('pending_since')),
    leaseToken: check.getString('lease_token'),
    worker: check.getString('worker'),
    releasedBy: check.getString('released_by'),
    shutBy: check.getString('shut_by'),
    findings: check.getString('released_by') + check.getString('shut_by') === '' ? '' : findingsOf(verdictsOf(check)),
  };
}

/** What an engine said of each file; none where it has said nothing, or where raw SQL has left what cannot be read. */
export function verdictsOf(check: core.Record): WireFileVerdict[] {
  const files = jsonOf(check, 'files');
  return Array.isArray(files) && files.every((file) => typeof file === 'object' && file !== null) ? files : [];
}

/** The engine of the verdict; null where none is named, or where raw SQL has left what cannot be read. */
export function engineOf(check: core.Record): EngineInfo | null {
  const engine = jsonOf(check, 'engine') as EngineInfo | null;
  return typeof engine?.name === 'string' ? engine : null;
}

function jsonOf(check: core.Record, field: string): unknown {
  try {
    return JSON.parse(check.getString(field));
  } catch {
    return null;
  }
}

/** Sets what the patch changes, and with it since when the build is open; what `before` is known to hold already is left alone, since every set crosses into Go. */
export function apply(check: core.Record, patch: Patch, before: Partial<CheckState> = {}): void {
  if (patch.open === false) check.set('opened_at', '');
  if (patch.open === true && !check.getBool('open')) {
    check.set('opened_at', dateText(Date.now()));
    check.set('downloads', 0);
  }
  for (const key of Object.keys(patch) as (keyof Patch)[]) {
    if (key in before && before[key as keyof CheckState] === patch[key]) continue;
    const value = patch[key];
    check.set(columns[key], dates.has(key) ? dateText(value as number) : value);
  }
}

/**
 * The same of many checks at once, their verdicts forgotten and a line added to their logs: a tenth of the cost of records, and unseen by
 * whoever follows them live.
 */
export function applyToAll(tx: CoreApp, ids: readonly string[], patch: Patch, line: string): void {
  const now = Date.now();
  const keys = Object.keys(patch) as (keyof Patch)[];
  const params: { [name: string]: unknown } = { ids: JSON.stringify(ids), updated: dateText(now), line: logLine(now, line) };
  for (const key of keys) params[key] = dates.has(key) ? dateText(patch[key] as number) : patch[key];
  const set = keys.map((key) => `${columns[key]} = {:${key}}`).join(', ');
  tx.db()
    .newQuery(
      `UPDATE ${CHECKS} SET ${set}, files = NULL, engine = NULL, updated = {:updated}, log = ltrim(log || char(10) || {:line}, char(10))
       WHERE id IN (SELECT value FROM json_each({:ids}))`,
    )
    .bind(params)
    .execute();
}

/** What was found in which file, or why it could not be judged, as one text that is equal for equal findings. */
export function findingsOf(files: readonly WireFileVerdict[]): string {
  return files
    .filter(({ verdict }) => verdict !== 'clean')
    .map(({ name, signature, reason }) => JSON.stringify([name, signature ?? reason]))
    .sort()
    .join('\n');
}

/** Forgets what an engine said of files that are no longer the ones of the build. */
export function forgetVerdict(check: core.Record): void {
  check.set('files', null);
  check.set('engine', null);
}

/** One line with its time. */
export function appendLog(check: core.Record, at: number, line: string): void {
  appendStory(check, logLine(at, line));
}

function logLine(at: number, line: string): string {
  return `${new Date(at).toISOString()} ${line}`;
}

/** Lines as they are; the oldest are dropped beyond the cap. */
export function appendStory(check: core.Record, lines: string): void {
  const whole = [check.getString('log'), lines.trimEnd()].filter((part) => part !== '').join('\n');
  if (whole.length <= LOG_CAP) return check.set('log', whole);
  const tail = whole.slice(-LOG_CAP);
  check.set('log', tail.slice(tail.indexOf('\n') + 1));
}

/** The check of a build, or null. */
export function findCheck(app: CoreApp, buildId: string): core.Record | null {
  return app.findRecordsByFilter(CHECKS, 'build = {:build}', '', 1, 0, { build: buildId })[0] ?? null;
}

export function newCheck(app: CoreApp, buildId: string): core.Record {
  const check = new Record(app.findCachedCollectionByNameOrId(CHECKS));
  check.set('build', buildId);
  return check;
}

/** Names of all files of a build, over all its file fields. */
export function fileNames(build: core.Record): string[] {
  return fileFields(build.collection()).flatMap((field) => [...build.getStringSlice(field)]);
}

/** Names of the stored files of a build; empty where there is no such build. */
export function buildFiles(app: CoreApp, build: string): Set<string> {
  return new Set(app.findRecordsByIds(buildsCollectionId(app), [build]).flatMap((record) => fileNames(record!)));
}

/** Names of the file fields of a collection. */
export function fileFields(collection: core.Collection): string[] {
  const names: string[] = [];
  for (const field of collection.fields as unknown as core.Field[]) if (field?.type() === 'file') names.push(field.getName());
  return names;
}
