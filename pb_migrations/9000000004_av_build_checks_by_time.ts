/// Gives `av_build_checks` the index that lists are read by, where an earlier version has made the collection.
import { CHECKS } from '../pb_hooks/lib/checks.ts';
import { addIndexes } from '../pb_hooks/lib/schema.ts';

migrate(
  (app) => {
    const collection = app.findCollectionByNameOrId(CHECKS);
    addIndexes(collection);
    app.save(collection);
  },
  (app) => {
    if (!app.hasTable(CHECKS)) return;
    const collection = app.findCollectionByNameOrId(CHECKS);
    collection.removeIndex('idx_av_build_checks_created');
    app.save(collection);
  },
);
