/** What `av.pb.ts` may call. A handler runs in a runtime of its own, where nothing but this library exists. */
export { createCheckWithBuild, recordDeletionOfInfected, resetCheckWhenFilesChange } from './builds.ts';
export { buildsCollectionId } from './checks.ts';
export { claim, renew } from './claim.ts';
export { refuseDirectWrite } from './direct-write.ts';
export { serveLeasedFile } from './file-route.ts';
export { gateDownload } from './gate.ts';
export { health } from './health.ts';
export { refuseHistoryChange } from './history.ts';
export { notifyOfBuild } from './notify.ts';
export { settle } from './settle.ts';
export { superuserCommand } from './superuser-command.ts';
export { sweep } from './sweep.ts';
