/** What dead builders left: running programs, records that never ended, folders that never became whole. */
import { readdir, rm } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { unlessAbsent } from '../durable.ts';
import type { BuildRecords, StoredRecord } from './build-records.ts';
import { isBuildId, type Layout } from './layout.ts';
import type { LockState } from './model.ts';
import { endGroup } from './process-group.ts';
import { type Child, leftBehind } from './programs.ts';
import type { Publications } from './publications.ts';

export interface Stores {
  readonly layout: Layout;
  readonly records: BuildRecords;
  readonly publications: Publications;
}

export interface LeftoverEvents {
  buildDied(record: StoredRecord): void;
  groupEnded(pid: number): void;
  folderRemoved(id: string): void;
  /** Something beside the build itself went wrong; the builder goes on. */
  failed(what: string, thrown: unknown): void;
}

/**
 * For the holder of the lock, before its own build begins: whatever is not finished is nobody's. Afterwards the next build finds only
 * whole builds, and as much room as there can be. Rejects where it cannot be told what is whole or published: then nothing is removed on
 * a guess.
 */
export async function clearLeftovers(stores: Stores, events: LeftoverEvents): Promise<void> {
  const { layout, records, publications } = stores;
  const child = await leftBehind(layout.child);
  if (child !== null) await endedGroup(child, events);
  await rm(layout.child, { force: true });
  for (const record of await records.all()) if (record.outcome === null) await markDead(record, stores, events);
  const published = await publications.pointer();
  for (const id of await publications.ids()) {
    if (id === published?.buildId || !(await isWaste(id, stores))) continue;
    await publications.remove(id);
    events.folderRemoved(id);
  }
  await removeLostLogs(stores);
  for (const folder of [layout.root, layout.records]) {
    for (const name of await readdir(folder)) if (/\.json\.[0-9a-f]{8}\.part$/.test(name)) await rm(join(folder, name), { force: true });
  }
}

/** A build whose record is lost or of another version may be a good one: then its files decide. */
async function isWaste(id: string, { records, publications }: Stores): Promise<boolean> {
  const record = await records.read(id);
  if (record === null) return (await publications.kept(id)) === null;
  return record.outcome !== null && record.outcome !== 'succeeded';
}

/** Of builds that have no record: nobody finds them, and retention goes by records. */
async function removeLostLogs({ layout, records }: Stores): Promise<void> {
  const known = new Set(await records.ids());
  for (const name of (await unlessAbsent(readdir(layout.logs))) ?? []) {
    const id = basename(name, extname(name));
    if (/\.(?:log|idx)$/.test(name) && isBuildId(id) && !known.has(id)) await rm(join(layout.logs, name), { force: true });
  }
}

/**
 * Without the lock, when a role starts: tells the truth about builds whose process is gone. Each thing is read before the lock is
 * looked at, so that what a build that began meanwhile writes is never taken for a dead one's; and a record is read again after it, because
 * a build ends its record before it gives the lock back.
 */
export async function markDeadBuilds(stores: Stores, inspect: () => Promise<LockState>, events: LeftoverEvents): Promise<void> {
  const child = await leftBehind(stores.layout.child);
  const open = (await stores.records.all()).filter(({ outcome }) => outcome === null);
  const lock = await inspect();
  if (lock.kind === 'held' || lock.kind === 'unknown') return;
  if (child !== null) await endedGroup(child, events);
  for (const { id } of open) {
    const record = await stores.records.read(id);
    if (record?.outcome === null) await markDead(record, stores, events);
  }
}

async function endedGroup(child: Child, events: LeftoverEvents): Promise<void> {
  await endGroup({ id: child.pid, hasLeader: false }, 0);
  events.groupEnded(child.pid);
}

/**
 * One that was published in its last moment succeeded: what is published decides. Resolves also where the record could not be saved, as
 * on a full disk: the next one who looks does it again.
 */
async function markDead(record: StoredRecord, { records, publications }: Stores, events: LeftoverEvents): Promise<void> {
  const save = (ended: StoredRecord) =>
    records.save(ended).then(
      () => true,
      (thrown) => {
        events.failed('the record of a build that died could not be ended', thrown);
        return false;
      },
    );
  const pointer = await publications.pointer();
  const endedAt = new Date().toISOString();
  const phases = record.phases.map((phase) => (phase.endedAt === null ? { ...phase, endedAt } : phase));
  const isPublished = pointer?.buildId === record.id;
  if (isPublished || record.publishedAt.length > 0) {
    const isNew = isPublished && !record.publishedAt.includes(pointer.publishedAt);
    const publishedAt = isNew ? [...record.publishedAt, pointer.publishedAt] : record.publishedAt;
    await save({ ...record, phases, endedAt, outcome: 'succeeded', publishedAt });
    return;
  }
  // First the folder: where the disk is full, the record needs its room.
  await publications.remove(record.id);
  const error = 'The process that ran this build ended without a word (kill -9, out of memory, or a reboot). Start the build again.';
  const dead = { ...record, phases, endedAt, outcome: 'died' as const, error };
  if (await save(dead)) events.buildDied(dead);
}
