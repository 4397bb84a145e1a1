/// Lets a check tell since when it is open, how often it was downloaded and who shut it; creates the record of voided verdicts.
import { CHECKS } from '../pb_hooks/lib/checks.ts';
import { addIndexes, shaped } from '../pb_hooks/lib/schema.ts';

const VOIDS = 'av_voids';
const COLUMNS = ['shut_by', 'opened_at', 'downloads'];

migrate(
  (app) => {
    const collection = app.findCollectionByNameOrId(CHECKS);
    const builds = collection.fields.getByName('build') as core.RelationField;
    const checks = shaped(collection, builds.collectionId);
    addIndexes(checks);
    app.save(checks);
    app
      .db()
      .newQuery(`UPDATE ${CHECKS} SET opened_at = CASE WHEN released_at != '' THEN released_at ELSE scan_time END WHERE open = TRUE`)
      .execute();
    if (app.hasTable(VOIDS)) return;
    app.save(
      new Collection({
        type: 'base',
        name: VOIDS,
        fields: [
          { name: 'engine', type: 'text', required: true, max: 500 },
          { name: 'since', type: 'date', required: true },
          { name: 'until', type: 'date', required: true },
          { name: 'reason', type: 'text', max: 2000 },
          { name: 'voided_by', type: 'text', max: 300 },
          { name: 'done', type: 'bool' },
          { name: 'created', type: 'autodate', onCreate: true },
        ],
        indexes: [
          'CREATE UNIQUE INDEX `idx_av_voids_engine` ON `av_voids` (`engine`, `since`)',
          'CREATE INDEX `idx_av_voids_until` ON `av_voids` (`engine`, `until`)',
          'CREATE INDEX `idx_av_voids_unfinished` ON `av_voids` (`created`) WHERE `done` = FALSE',
        ],
      } as unknown as ConstructorParameters<typeof Collection>[0]),
    );
  },
  (app) => {
    if (app.hasTable(VOIDS)) app.delete(app.findCollectionByNameOrId(VOIDS));
    if (!app.hasTable(CHECKS)) return;
    const collection = app.findCollectionByNameOrId(CHECKS);
    collection.removeIndex('idx_av_build_checks_released');
    for (const name of COLUMNS) collection.fields.removeByName(name);
    app.save(collection);
  },
);
