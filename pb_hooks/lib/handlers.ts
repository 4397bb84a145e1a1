/** What `av.pb.ts` may call. A handler runs in a runtime of its own, where nothing but this library exists. */
export { agentCommand, superuserCommand } from './account-commands.ts';
export { buildStatus } from './build-status.ts';
export { closeBeforeOverwrite, createCheckWithBuild, recordDeletionOfInfected, resetCheckWhenFilesChange } from './builds.ts';
export { collectionIds } from './checks.ts';
export { claim, renew } from './claim.ts';
export { serveLeasedFile } from './file-route.ts';
export { gateDownload } from './gate.ts';
export { refuseAgentChange, refuseDirectWrite, refuseDrop, refuseHistoryChange, refuseReshape } from './guards.ts';
export { health } from './health.ts';
export { compareWithJournal } from './journal.ts';
export { lockCommand } from './lock-command.ts';
export { notifyOfBuild } from './notify.ts';
export { release, rescan, revoke } from './people.ts';
export { settle } from './settle.ts';
export { stats } from './stats.ts';
export { sweep } from './sweep.ts';
export { verifyHistory } from './verify.ts';
