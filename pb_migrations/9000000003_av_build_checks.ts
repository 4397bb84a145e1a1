/// Creates `av_build_checks`, or brings an older one to its shape, and gives every build a check.
import { CHECKS } from '../pb_hooks/lib/checks.ts';
import { historyProblem } from '../pb_hooks/lib/history.ts';
import { backfillChecks, takeOverLegacyChecks } from '../pb_hooks/lib/legacy.ts';
import { addIndexes, incompatibility, shaped, unshape } from '../pb_hooks/lib/schema.ts';

migrate(
  (app) => {
    const existing = app.hasTable(CHECKS) ? app.findCollectionByNameOrId(CHECKS) : null;
    if (!existing && !app.hasTable('app_builds')) {
      throw new Error(
        'Pocketwarden: there is no collection app_builds. Create it with at least one file field, or set AV_CREATE_APP_BUILDS=true, and migrate again.',
      );
    }
    const problem = (existing ? incompatibility(existing) : null) ?? historyProblem();
    if (problem) throw new Error(`Pocketwarden: ${problem}`);
    const builds = (existing?.fields.getByName('build') as core.RelationField | undefined)?.collectionId;
    const collection = shaped(existing, builds || app.findCollectionByNameOrId('app_builds').id);
    app.save(collection);
    if (existing) takeOverLegacyChecks(app);
    const complete = app.findCollectionByNameOrId(CHECKS);
    addIndexes(complete);
    app.save(complete);
    backfillChecks(app);
  },
  (app) => {
    if (!app.hasTable(CHECKS)) return;
    // The columns that are left cannot say that a verdict is void, and it might be trusted afterwards.
    app.db().newQuery(`UPDATE ${CHECKS} SET status = 'pending' WHERE status = 'clean' AND open = FALSE`).execute();
    const collection = app.findCollectionByNameOrId(CHECKS);
    unshape(collection);
    app.save(collection);
  },
);
