/// Gives `av_build_checks` what automatic rescans go by: when a build was first judged, by which signatures, and when to look again.
import { CHECKS } from '../pb_hooks/lib/checks.ts';
import { addIndexes, shaped } from '../pb_hooks/lib/schema.ts';

const COLUMNS = ['judged_at', 'revisit_at', 'signatures'];

migrate(
  (app) => {
    const collection = app.findCollectionByNameOrId(CHECKS);
    const checks = shaped(collection, (collection.fields.getByName('build') as core.RelationField).collectionId);
    addIndexes(checks);
    app.save(checks);
    // What was judged before there were rescans is looked at within 30 days, spread evenly: an upgrade must not bring all of it at once.
    app
      .db()
      .newQuery(
        `UPDATE ${CHECKS} SET judged_at = scan_time, revisit_at = strftime('%Y-%m-%d %H:%M:%fZ', 'now', (abs(random()) % 2592000) || ' seconds'),
           signatures = CASE WHEN json_valid(engine) THEN CAST(COALESCE(json_extract(engine, '$.signatures'), 0) AS INTEGER) ELSE 0 END
         WHERE judged_at = '' AND scan_time != '' AND (status IN ('clean', 'infected') OR (status = 'error' AND reason LIKE 'unscannable:%'))`,
      )
      .execute();
  },
  (app) => {
    if (!app.hasTable(CHECKS)) return;
    const collection = app.findCollectionByNameOrId(CHECKS);
    for (const name of ['idx_av_build_checks_judged', 'idx_av_build_checks_revisit']) collection.removeIndex(name);
    for (const name of COLUMNS) collection.fields.removeByName(name);
    app.save(collection);
  },
);
