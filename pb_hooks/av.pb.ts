/** Registrations, one line each. PocketBase runs the text of a handler elsewhere, so nothing of this file exists inside one. */
import type * as Library from './lib/handlers.ts';

$app.rootCmd!.addCommand((require(`${__hooks}/av/lib.js`) as typeof Library).superuserCommand());

$app.onServe().bindFunc((e) => {
  const lib = require(`${__hooks}/av/lib.js`) as typeof Library;
  // By id: a name would slip past a rename, and an untagged model hook runs for every row of the log.
  const builds = lib.buildsCollectionId(e.app);
  onModelCreateExecute((e) => {
    require(`${__hooks}/av/lib.js`).createCheckWithBuild(e);
  }, builds);
  onModelUpdateExecute((e) => {
    require(`${__hooks}/av/lib.js`).resetCheckWhenFilesChange(e);
  }, builds);
  onModelDelete((e) => {
    require(`${__hooks}/av/lib.js`).recordDeletionOfInfected(e);
  }, builds);
  onModelAfterCreateSuccess((e) => {
    require(`${__hooks}/av/lib.js`).notifyOfBuild(e);
  }, builds);
  onModelAfterUpdateSuccess((e) => {
    require(`${__hooks}/av/lib.js`).notifyOfBuild(e);
  }, builds);
  const history = e.app.findCollectionByNameOrId('av_scan_history').id;
  onModelUpdate((e) => {
    require(`${__hooks}/av/lib.js`).refuseHistoryChange(e);
  }, history);
  onModelDelete((e) => {
    require(`${__hooks}/av/lib.js`).refuseHistoryChange(e);
  }, history);
  e.next();
});

onFileDownloadRequest((e) => {
  require(`${__hooks}/av/lib.js`).gateDownload(e);
});
onRecordCreateRequest((e) => {
  require(`${__hooks}/av/lib.js`).refuseDirectWrite(e);
}, 'av_build_checks');
onRecordUpdateRequest((e) => {
  require(`${__hooks}/av/lib.js`).refuseDirectWrite(e);
}, 'av_build_checks');
onCollectionDelete((e) => {
  require(`${__hooks}/av/lib.js`).refuseHistoryChange(e);
}, 'av_scan_history');

routerAdd(
  'POST',
  '/api/av/claim',
  (e) => {
    require(`${__hooks}/av/lib.js`).claim(e);
  },
  $apis.requireAuth('_superusers', 'av_agents'),
  $apis.bodyLimit(2097152),
  $apis.skipSuccessActivityLog(),
);
routerAdd(
  'POST',
  '/api/av/renew',
  (e) => {
    require(`${__hooks}/av/lib.js`).renew(e);
  },
  $apis.requireAuth('_superusers', 'av_agents'),
  $apis.bodyLimit(2097152),
  $apis.skipSuccessActivityLog(),
);
routerAdd(
  'POST',
  '/api/av/settle',
  (e) => {
    require(`${__hooks}/av/lib.js`).settle(e);
  },
  $apis.requireAuth('_superusers', 'av_agents'),
  $apis.bodyLimit(2097152),
  $apis.skipSuccessActivityLog(),
);
routerAdd(
  'GET',
  '/api/av/checks/{id}/files/{name}',
  (e) => {
    require(`${__hooks}/av/lib.js`).serveLeasedFile(e);
  },
  $apis.requireAuth('_superusers', 'av_agents'),
  $apis.skipSuccessActivityLog(),
);
routerAdd(
  'GET',
  '/api/av/health',
  (e) => {
    require(`${__hooks}/av/lib.js`).health(e);
  },
  $apis.requireAuth('_superusers', 'av_agents'),
  $apis.skipSuccessActivityLog(),
);

cronAdd('av-sweep', '* * * * *', () => {
  require(`${__hooks}/av/lib.js`).sweep($app);
});
