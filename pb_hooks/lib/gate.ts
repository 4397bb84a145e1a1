/** Whether a file may leave. Asked of the database each time; whatever goes wrong, the answer is no. */
import { buildsCollectionId, CHECKS } from './checks.ts';
import { countDownload } from './downloads.ts';
import { recordWouldRefuse } from './gate-monitor.ts';
import { refusal, requestOf } from './http.ts';
import type { Status } from './rules.ts';
import { gateMode } from './settings.ts';

const refusals = {
  scan_pending: 'This build is waiting for its malware scan. Try again in a moment.',
  scan_infected: 'Malware was found in this build. It cannot be downloaded.',
  scan_error: 'This build could not be proved free of malware. It cannot be downloaded.',
  scan_missing: 'This build has no malware scan yet. Try again in a minute.',
} as const;

/** Why, and of a check in `error` the reason. */
export interface Refused {
  code: keyof typeof refusals;
  reason: string;
}

/** onFileDownloadRequest, untagged: view collections serve the files of builds too. Superusers are refused like everybody. */
export function gateDownload(e: core.FileDownloadRequestEvent): void {
  const mode = gateMode();
  if (mode === 'off') return e.next();
  let build: string;
  let refused: Refused | null;
  try {
    build = servedBuild(e);
    if (build === '') return e.next();
    refused = refusalOf(e.app, build);
    const { request, response } = requestOf(e);
    // What leaves once must not stay in a cache after a later scan has found something in it.
    response!.header().set('Cache-Control', 'private, no-store');
    if (refused === null || mode === 'monitor') countDownload(e.app, build, request!, e.servedPath);
  } catch (error) {
    e.app.logger().error('av: the gate could not decide and stays shut', 'error', String(error));
    throw refusal(503, 'The malware gate cannot decide at the moment. Try again later.', 'scan', 'scan_unavailable');
  }
  if (refused !== null) {
    if (mode === 'enforce') throw refusal(403, refusals[refused.code], 'scan', refused.code);
    recordWouldRefuse(e.app, build, refused);
  }
  e.next();
}

/** The build whose bytes are about to be served, '' where they are none of a build's. Storage paths begin with the ids of collection and record. */
function servedBuild(e: core.FileDownloadRequestEvent): string {
  const builds = buildsCollectionId(e.app);
  const [collection, record] = e.servedPath.split('/');
  if (collection === builds) return record ?? '';
  return e.collection?.id === builds ? e.record!.id : '';
}

function refusalOf(app: CoreApp, build: string): Refused | null {
  const rows = arrayOf(new DynamicModel({ open: false, status: '', reason: '' }));
  app.db().newQuery(`SELECT open, status, reason FROM ${CHECKS} WHERE build = {:build}`).bind({ build }).all(rows);
  const check = rows[0];
  if (!check || rows.length !== 1) return { code: 'scan_missing', reason: '' };
  if (check['open'] === true) return null;
  return { code: codeOf(check['status'] as Status), reason: String(check['reason']) };
}

function codeOf(status: Status): Refused['code'] {
  if (status === 'infected') return 'scan_infected';
  return status === 'error' ? 'scan_error' : 'scan_pending';
}
