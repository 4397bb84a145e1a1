/** The shape of `av_build_checks`: created, or an older table of that name brought to it. */
import { CHECKS, HISTORY } from './checks.ts';
import { statuses } from './rules.ts';

type FieldShape = { name: string; type: string; [option: string]: unknown };

const LEGACY = ['build', 'status', 'virus_name', 'scan_time', 'log', 'created', 'updated'];

function shape(buildsId: string): FieldShape[] {
  return [
    { name: 'build', type: 'relation', collectionId: buildsId, required: true, minSelect: 1, maxSelect: 1, cascadeDelete: true },
    { name: 'status', type: 'select', required: true, maxSelect: 1, values: [...statuses] },
    { name: 'open', type: 'bool' },
    { name: 'reason', type: 'text', max: 100 },
    { name: 'virus_name', type: 'text', max: 1000 },
    { name: 'scan_time', type: 'date' },
    { name: 'log', type: 'text', max: 100_000 },
    { name: 'files', type: 'json', maxSize: 2_000_000 },
    { name: 'engine', type: 'json', maxSize: 10_000 },
    { name: 'revision', type: 'number', onlyInt: true },
    { name: 'attempts', type: 'number', onlyInt: true },
    { name: 'lapses', type: 'number', onlyInt: true },
    { name: 'suspect', type: 'bool' },
    { name: 'not_before', type: 'date' },
    { name: 'pending_since', type: 'date' },
    { name: 'rescan_at', type: 'date' },
    { name: 'judged_at', type: 'date' },
    { name: 'revisit_at', type: 'date' },
    { name: 'signatures', type: 'number', onlyInt: true },
    { name: 'lease_token', type: 'text', max: 100, hidden: true },
    { name: 'lease_until', type: 'date' },
    { name: 'worker', type: 'text', max: 200 },
    { name: 'released_by', type: 'text', max: 300 },
    { name: 'released_at', type: 'date' },
    { name: 'release_reason', type: 'text', max: 2000 },
    { name: 'shut_by', type: 'text', max: 300 },
    { name: 'opened_at', type: 'date' },
    { name: 'downloads', type: 'number', onlyInt: true },
    { name: 'created', type: 'autodate', onCreate: true },
    { name: 'updated', type: 'autodate', onCreate: true, onUpdate: true },
  ];
}

/** Name, columns and condition; partial where they can be, so that they stay small however many checks are finished. */
const indexes: [name: string, unique: boolean, columns: string, where: string][] = [
  ['idx_av_build_checks_build', true, '`build`', ''],
  ['idx_av_build_checks_status', false, '`status`, `reason`', ''],
  // For lists, newest first: without it a page of 100,000 checks takes 350 ms instead of 5. What never changes costs no later write.
  ['idx_av_build_checks_created', false, '`created`, `id`', ''],
  ['idx_av_build_checks_pending', false, '`pending_since`, `id`', "`status` = 'pending'"],
  ['idx_av_build_checks_lease', false, '`lease_until`, `suspect`', "`lease_until` != ''"],
  ['idx_av_build_checks_suspect', false, '`updated`', '`suspect` = TRUE'],
  ['idx_av_build_checks_released', false, '`released_by`', "`released_by` != ''"],
  ['idx_av_build_checks_rescan', false, '`rescan_at`', "`rescan_at` != ''"],
  ['idx_av_build_checks_judged', false, '`judged_at`, `signatures`', "`judged_at` != ''"],
  ['idx_av_build_checks_revisit', false, '`revisit_at`', "`revisit_at` != ''"],
];

/** Fields and indexes that are ours. */
export function ownNames(collection: typeof CHECKS | typeof HISTORY): { fields: string[]; indexes: string[] } {
  if (collection === HISTORY) return { fields: ['seq', 'entry', 'hash', 'created'], indexes: ['idx_av_scan_history_seq'] };
  return { fields: shape('').map(({ name }) => name), indexes: indexes.map(([name]) => name) };
}

/** What keeps an existing table from becoming ours, in one sentence; null when nothing does. */
export function incompatibility(existing: core.Collection): string | null {
  if (existing.type !== 'base') return `${CHECKS} is a ${existing.type} collection, expected base. Rename it and migrate again.`;
  for (const { name, type } of shape('')) {
    const field = existing.fields.getByName(name);
    if (field && field.type() !== type)
      return `${CHECKS}.${name} is ${field.type()}, expected ${type}. Rename the field and migrate again.`;
  }
  return null;
}

/** The collection without its unique index, so that an older table's duplicates can still be dealt with. Unsaved. */
export function shaped(existing: core.Collection | null, buildsId: string): core.Collection {
  const collection = existing ?? new Collection({ type: 'base', name: CHECKS } as unknown as ConstructorParameters<typeof Collection>[0]);
  for (const field of shape(buildsId)) {
    const old = collection.fields.getByName(field.name);
    collection.fields.addMarshaledJSON(JSON.stringify(old ? { ...field, id: old.getId() } : field));
  }
  for (const rule of ['listRule', 'viewRule', 'createRule', 'updateRule', 'deleteRule'] as const) {
    (collection as unknown as { [name: string]: unknown })[rule] = null;
  }
  return collection;
}

/** Those whose columns are there: an earlier step of the schema lacks what a later one brings. Unsaved. */
export function addIndexes(collection: core.Collection): void {
  for (const [name, unique, columns, where] of indexes) {
    const isThere = [...columns.matchAll(/`(\w+)`/g)].every(([, column]) => collection.fields.getByName(column!));
    if (isThere) collection.addIndex(name, unique, columns, where);
  }
}

/** Back to the columns of the requirements' document; rows stay. Unsaved. */
export function unshape(collection: core.Collection): void {
  for (const [name] of indexes) collection.removeIndex(name);
  for (const { name } of shape('')) if (!LEGACY.includes(name)) collection.fields.removeByName(name);
}
