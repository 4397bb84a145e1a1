/** Taking over the verdicts of an older `av_build_checks`: all go on record, none opens the gate unless it is trusted. */
import { apply, buildsCollectionId, CHECKS, fileNames, newCheck } from './checks.ts';
import { appendHistory } from './history.ts';
import { idsOf } from './leases.ts';
import { begin, imported, type Status } from './rules.ts';
import { flag } from './settings.ts';

/** Reads the old rows, records each, keeps one for each build and deletes the rest. Throws where the history cannot be written. */
export function takeOverLegacyChecks(app: CoreApp): void {
  const trustClean = flag('AV_TRUST_LEGACY');
  const kept = new Set<string>();
  for (const id of legacyIds(app)) {
    const check = app.findRecordById(CHECKS, id);
    const build = check.getString('build');
    appendHistory(app, [describe(check)]);
    const record = app.findRecordsByIds(buildsCollectionId(app), [build])[0];
    if (!record || kept.has(build)) {
      app.delete(check);
      continue;
    }
    kept.add(build);
    apply(
      check,
      imported(check.getString('status') as Status, check.getString('virus_name'), trustClean, fileNames(record).length > 0, Date.now()),
    );
    check.set('revision', 1);
    app.saveNoValidate(check);
  }
}

/** Makes the pending checks of builds that have none. */
export function backfillChecks(app: CoreApp): void {
  const builds = buildsCollectionId(app);
  const table = app.findCollectionByNameOrId(builds).name;
  const ids = idsOf(app, `SELECT b.id AS id FROM \`${table}\` b LEFT JOIN ${CHECKS} c ON c.build = b.id WHERE c.id IS NULL`, {});
  for (let from = 0; from < ids.length; from += 200) {
    for (const build of app.findRecordsByIds(builds, ids.slice(from, from + 200))) {
      const check = newCheck(app, build!.id);
      apply(check, begin(fileNames(build!).length > 0, 1, Date.now()));
      app.saveNoValidate(check);
    }
  }
}

/** A finding first, then the newest: of several rows for one build the first is kept. */
function legacyIds(app: CoreApp): string[] {
  return idsOf(app, `SELECT id FROM ${CHECKS} ORDER BY (status = 'infected') DESC, scan_time DESC, rowid DESC`, {});
}

function describe(check: core.Record): Parameters<typeof appendHistory>[1][number] {
  const detail = { status: check.getString('status'), virusName: check.getString('virus_name'), scanTime: check.getString('scan_time') };
  return { event: 'imported', check: check.id, build: check.getString('build'), ...detail, log: check.getString('log').slice(0, 2000) };
}
