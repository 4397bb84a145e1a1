/// Lets a check tell since when it is open, how often it was downloaded and who shut it; creates the record of voided verdicts.
import { CHECKS, HISTORY } from '../pb_hooks/lib/checks.ts';
import { READABLE_ENTRY } from '../pb_hooks/lib/history.ts';
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
    // Who shut what a policy might open says the history alone until now.
    app
      .db()
      .newQuery(
        `WITH decisions AS (
           SELECT seq, json_extract(entry, '$.check') AS id, json_extract(entry, '$.event') AS event, json_extract(entry, '$.by') AS by,
                  json_extract(entry, '$.revision') AS revision
           FROM (SELECT seq, ${READABLE_ENTRY} AS entry FROM ${HISTORY} WHERE entry LIKE '%"event":"re%')
           WHERE event IN ('released', 'revoked')),
         shut AS (SELECT d.* FROM decisions d JOIN (SELECT MAX(seq) AS seq FROM decisions GROUP BY id) l ON l.seq = d.seq
                  WHERE d.event = 'revoked' AND d.by NOT LIKE 'policy:%')
         UPDATE ${CHECKS} SET shut_by = shut.by FROM shut WHERE shut.id = ${CHECKS}.id AND shut.revision = ${CHECKS}.revision
           AND ${CHECKS}.status = 'error' AND ${CHECKS}.released_by = ''`,
      )
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
