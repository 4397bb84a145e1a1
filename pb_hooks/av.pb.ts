// biome-ignore-all format: one registration a line
/** Registrations, one line each. PocketBase runs the text of a handler elsewhere, so nothing of this file exists inside one. */
import type * as Library from './lib/handlers.ts';

$app.rootCmd!.addCommand((require(`${__hooks}/av/lib.js`) as typeof Library).superuserCommand());
$app.rootCmd!.addCommand((require(`${__hooks}/av/lib.js`) as typeof Library).agentCommand());
$app.rootCmd!.addCommand((require(`${__hooks}/av/lib.js`) as typeof Library).lockCommand());

$app.onServe().bindFunc((e) => {
  // By id: a name would slip past a rename, and an untagged model hook runs for every row of the log.
  const { builds, checks, history } = (require(`${__hooks}/av/lib.js`) as typeof Library).collectionIds(e.app);
  onModelCreateExecute((e) => { require(`${__hooks}/av/lib.js`).createCheckWithBuild(e) }, builds);
  onModelUpdate((e) => { require(`${__hooks}/av/lib.js`).closeBeforeOverwrite(e) }, builds);
  onModelUpdateExecute((e) => { require(`${__hooks}/av/lib.js`).resetCheckWhenFilesChange(e) }, builds);
  onModelDelete((e) => { require(`${__hooks}/av/lib.js`).recordDeletionOfInfected(e) }, builds);
  onModelAfterCreateSuccess((e) => { require(`${__hooks}/av/lib.js`).notifyOfBuild(e) }, builds);
  onModelAfterUpdateSuccess((e) => { require(`${__hooks}/av/lib.js`).notifyOfBuild(e) }, builds);
  onRecordCreateRequest((e) => { require(`${__hooks}/av/lib.js`).refuseDirectWrite(e) }, checks);
  onRecordUpdateRequest((e) => { require(`${__hooks}/av/lib.js`).refuseDirectWrite(e) }, checks);
  onModelCreate((e) => { require(`${__hooks}/av/lib.js`).refuseHistoryChange(e) }, history);
  onModelUpdate((e) => { require(`${__hooks}/av/lib.js`).refuseHistoryChange(e) }, history);
  onModelDelete((e) => { require(`${__hooks}/av/lib.js`).refuseHistoryChange(e) }, history);
  onCollectionUpdate((e) => { require(`${__hooks}/av/lib.js`).refuseReshape(e) }, checks, history);
  onCollectionDelete((e) => { require(`${__hooks}/av/lib.js`).refuseDrop(e) }, checks, history);
  (require(`${__hooks}/av/lib.js`) as typeof Library).compareWithJournal(e.app);
  (require(`${__hooks}/av/lib.js`) as typeof Library).shutDisallowed(e.app);
  e.next();
});

onRecordRequestEmailChangeRequest((e) => { require(`${__hooks}/av/lib.js`).refuseAgentChange(e) }, 'av_agents');
onFileDownloadRequest((e) => { require(`${__hooks}/av/lib.js`).gateDownload(e) });

routerAdd('POST', '/api/av/claim', (e) => { require(`${__hooks}/av/lib.js`).claim(e) }, $apis.requireAuth('_superusers', 'av_agents'), $apis.bodyLimit(2097152), $apis.skipSuccessActivityLog());
routerAdd('POST', '/api/av/renew', (e) => { require(`${__hooks}/av/lib.js`).renew(e) }, $apis.requireAuth('_superusers', 'av_agents'), $apis.bodyLimit(2097152), $apis.skipSuccessActivityLog());
routerAdd('POST', '/api/av/settle', (e) => { require(`${__hooks}/av/lib.js`).settle(e) }, $apis.requireAuth('_superusers', 'av_agents'), $apis.bodyLimit(2097152), $apis.skipSuccessActivityLog());
routerAdd('POST', '/api/av/rescan', (e) => { require(`${__hooks}/av/lib.js`).rescanMany(e) }, $apis.requireSuperuserAuth(), $apis.bodyLimit(16384));
routerAdd('POST', '/api/av/void', (e) => { require(`${__hooks}/av/lib.js`).voidVerdicts(e) }, $apis.requireAuth('_superusers', 'av_agents'), $apis.bodyLimit(16384));
routerAdd('GET', '/api/av/checks/{id}/files/{name}', (e) => { require(`${__hooks}/av/lib.js`).serveLeasedFile(e) }, $apis.requireAuth('_superusers', 'av_agents'), $apis.skipSuccessActivityLog());
routerAdd('GET', '/api/av/health', (e) => { require(`${__hooks}/av/lib.js`).health(e) }, $apis.requireAuth('_superusers', 'av_agents'), $apis.skipSuccessActivityLog());
routerAdd('POST', '/api/av/checks/{id}/release', (e) => { require(`${__hooks}/av/lib.js`).release(e) }, $apis.requireSuperuserAuth(), $apis.bodyLimit(16384));
routerAdd('POST', '/api/av/checks/{id}/revoke', (e) => { require(`${__hooks}/av/lib.js`).revoke(e) }, $apis.requireSuperuserAuth(), $apis.bodyLimit(16384));
routerAdd('POST', '/api/av/checks/{id}/rescan', (e) => { require(`${__hooks}/av/lib.js`).rescan(e) }, $apis.requireSuperuserAuth(), $apis.bodyLimit(16384));
routerAdd('POST', '/api/av/probe', (e) => { require(`${__hooks}/av/lib.js`).makeProbe(e) }, $apis.requireSuperuserAuth(), $apis.bodyLimit(16384));
routerAdd('GET', '/api/av/history/verify', (e) => { require(`${__hooks}/av/lib.js`).verifyHistory(e) }, $apis.requireSuperuserAuth(), $apis.skipSuccessActivityLog());
routerAdd('GET', '/api/av/builds/{id}', (e) => { require(`${__hooks}/av/lib.js`).buildStatus(e) }, $apis.skipSuccessActivityLog());
routerAdd('GET', '/api/av/stats', (e) => { require(`${__hooks}/av/lib.js`).stats(e) }, $apis.requireSuperuserAuth(), $apis.skipSuccessActivityLog());

cronAdd('av-sweep', '* * * * *', () => { require(`${__hooks}/av/lib.js`).sweep($app) });
