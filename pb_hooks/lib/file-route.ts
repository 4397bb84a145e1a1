/** GET /api/av/checks/{id}/files/{name}: the bytes for whoever holds the lease, and the only way to them before the gate opens. */
import { buildsCollectionId, CHECKS, fileNames } from './checks.ts';
import { refusal } from './http.ts';
import { holds, noteBegun } from './leases.ts';

export function serveLeasedFile(e: core.RequestEvent): void {
  const request = e.request!;
  const token = request.header.get('X-AV-Lease');
  const check = e.app.findRecordsByFilter(CHECKS, 'id = {:id}', '', 1, 0, { id: request.pathValue('id') })[0];
  if (!check || !holds(check, token)) throw refusal(409, 'The lease is lost.', 'lease', 'lease_lost');
  const build = e.app.findRecordsByIds(buildsCollectionId(e.app), [check.getString('build')])[0];
  const name = request.pathValue('name');
  // Only a name that the build lists: what comes from the path never becomes a storage key by itself.
  if (!build || !fileNames(build).includes(name)) throw refusal(404, 'The build does not list this file.', 'file', 'file_unknown');
  noteBegun(e.app, token);
  const storage = e.app.newFilesystem();
  try {
    const key = `${build.baseFilesPath()}/${name}`;
    if (!storage.exists(key)) throw refusal(404, 'The storage has lost this file.', 'file', 'file_missing');
    e.response.header().set('Cache-Control', 'private, no-store');
    storage.serve(e.response, request, key, name);
  } finally {
    storage.close();
  }
}
