/** GET /api/av/checks/{id}/files/{name}: the bytes for whoever holds the lease, and the only way to them before the gate opens. */
import { buildsCollectionId, CHECKS, fileNames } from './checks.ts';
import { refusal } from './http.ts';
import { noteBegun } from './leases.ts';

export function serveLeasedFile(e: core.RequestEvent): void {
  const request = e.request!;
  const token = request.header.get('X-AV-Lease');
  const builds = buildsCollectionId(e.app);
  const build = leasedBuild(e.app, request.pathValue('id'), token, builds);
  const name = request.pathValue('name');
  // Only a name that the build lists: what comes from the path never becomes a storage key by itself.
  if (!build || !fileNames(build).includes(name)) throw refusal(404, 'The build does not list this file.', 'file', 'file_unknown');
  noteBegun(e.app, token);
  e.response.header().set('Cache-Control', 'private, no-store');
  const key = `${builds}/${build.id}/${name}`;
  const storage = e.app.newFilesystem();
  try {
    storage.serve(e.response, request, key, name);
  } catch (error) {
    if (storage.exists(key)) throw error;
    throw refusal(404, 'The storage has lost this file.', 'file', 'file_missing');
  } finally {
    storage.close();
  }
}

/** The build whose check is held under this token. Throws 409 where it is not. */
function leasedBuild(app: CoreApp, check: string, token: string, builds: string): core.Record | undefined {
  const rows = arrayOf(new DynamicModel({ build: '', lease_token: '', lease_until: '' }));
  app.db().newQuery(`SELECT build, lease_token, lease_until FROM ${CHECKS} WHERE id = {:check}`).bind({ check }).all(rows);
  const row = rows[0];
  if (!row || token === '' || row['lease_until'] === '' || !$security.equal(String(row['lease_token']), token)) {
    throw refusal(409, 'The lease is lost.', 'lease', 'lease_lost');
  }
  return app.findRecordsByIds(builds, [String(row['build'])])[0];
}
