/** The metrics of the trivy-db role, as data. */
import { outcomes, phases } from '../trivy-db/model.ts';
import type { MetricDefinition } from './catalogue.ts';

export const trivyDbCatalogue = {
  builds: {
    name: 'pocketwarden_trivy_db_builds_total',
    help: 'Builds of the Trivy DB that ended here, by how they ended.',
    type: 'counter',
    labels: { outcome: outcomes },
  },
  pulls: {
    name: 'pocketwarden_trivy_db_pulls_total',
    help: 'Times a Trivy asked the registry for the manifest of the database.',
    type: 'counter',
  },
  changes: {
    name: 'pocketwarden_trivy_db_changes_total',
    help: 'Changes that operators asked for, by what became of them.',
    type: 'counter',
    labels: { change: ['start', 'cancel', 'clear-lock', 'publish'], result: ['done', 'refused'] },
  },
  running: { name: 'pocketwarden_trivy_db_build_running', help: '1 while a build runs in this process.', type: 'gauge' },
  lastSucceeded: {
    name: 'pocketwarden_trivy_db_last_build_succeeded',
    help: '1 if the last build that ended was published, 0 if it was not; absent before the first.',
    type: 'gauge',
  },
  duration: {
    name: 'pocketwarden_trivy_db_build_duration_seconds',
    help: 'How long the phases of the last build that ended took.',
    type: 'gauge',
    labels: { phase: phases },
  },
  published: {
    name: 'pocketwarden_trivy_db_published_timestamp_seconds',
    help: 'When the published database was built; absent before the first.',
    type: 'gauge',
  },
  nextUpdate: {
    name: 'pocketwarden_trivy_db_next_update_timestamp_seconds',
    help: 'From when on clients consider the published database old.',
    type: 'gauge',
  },
  databaseBytes: { name: 'pocketwarden_trivy_db_database_bytes', help: 'Size of the published database, unpacked.', type: 'gauge' },
  archiveBytes: { name: 'pocketwarden_trivy_db_archive_bytes', help: 'Size of the published database as it is downloaded.', type: 'gauge' },
  rows: {
    name: 'pocketwarden_trivy_db_rows',
    help: 'Rows of the published database by bucket of the first level.',
    type: 'gauge',
    labels: { source: null },
  },
  lockHeld: {
    name: 'pocketwarden_trivy_db_lock_held',
    help: '1 while any process holds the lock of the builder; a stale lock counts as not held.',
    type: 'gauge',
  },
  diskFree: {
    name: 'pocketwarden_trivy_db_disk_free_bytes',
    help: 'Free disk space where builds are written.',
    type: 'gauge',
  },
} as const satisfies Record<string, MetricDefinition>;
