/**
 * What nobody may do to our collections, superusers included: a check edited in the dashboard would open the gate without a trace, and a
 * history that can be changed proves nothing. All are bound by the collection's id, since a name would slip past a rename.
 */
import { CHECKS, HISTORY } from './checks.ts';
import { refusal } from './http.ts';
import { ownNames } from './schema.ts';

/** onRecordCreateRequest and onRecordUpdateRequest of the checks. Deleting one is allowed: the gate shuts and the sweep makes a new one. */
export function refuseDirectWrite(): void {
  throw refusal(403, 'Checks are written by the scanner alone. Delete this one to have the build scanned again.', 'check', 'read_only');
}

/** onModelCreate, onModelUpdate and onModelDelete of the history, which is written by plain SQL; truncation passes here too. */
export function refuseHistoryChange(): void {
  throw refusal(403, 'The scan history is append-only.', 'history', 'append_only');
}

/** onCollectionDelete of both. */
export function refuseDrop(e: core.CollectionEvent): void {
  const { name } = e.collection!;
  throw refusal(403, `${name} belongs to Pocketwarden. Revert its migrations to take it out.`, 'collection', 'belongs_to_pocketwarden');
}

/** onCollectionUpdate of both: fields and rules of the host's own are welcome, ours stay as they are. */
export function refuseReshape(e: core.CollectionEvent): void {
  const next = e.collection!;
  const before = e.app.findCollectionByNameOrId(next.id);
  const problem = reshaping(before, next);
  if (problem) throw refusal(403, `${before.name} belongs to Pocketwarden: ${problem}.`, 'collection', 'belongs_to_pocketwarden');
  e.next();
}

function reshaping(before: core.Collection, next: core.Collection): string | null {
  if (next.name !== before.name) return 'it cannot be renamed';
  const own = ownNames(before.name === HISTORY ? HISTORY : CHECKS);
  for (const name of own.fields) {
    const field = before.fields.getByName(name);
    const kept = field && next.fields.getById(field.getId());
    if (field && (!kept || kept.getName() !== name)) return `its field ${name} cannot be renamed or removed`;
    if (field && kept && kindOf(kept) !== kindOf(field)) return `its field ${name} cannot be made another`;
  }
  const indexes = [...next.indexes].join('\n');
  const lost = own.indexes.find((name) => !indexes.includes(`\`${name}\``));
  return lost ? `its index ${lost} cannot be removed` : null;
}

/** An agent is a login for scanners: whoever has stolen its password must not be able to make it theirs. */
export function refuseAgentChange(_e: core.RecordRequestEmailChangeRequestEvent): void {
  throw new ForbiddenError('Agents are changed by superusers alone.');
}

/** An import may point a relation elsewhere, which an edit may not: the gate would take other records for the builds. */
function kindOf(field: core.Field): string {
  return `${field.type()} ${(field as core.RelationField).collectionId ?? ''}`;
}
