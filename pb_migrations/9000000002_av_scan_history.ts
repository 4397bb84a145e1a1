/// Creates the append-only history, which outlives builds and checks.

migrate(
  (app) => {
    if (app.hasTable('av_scan_history')) return;
    app.save(
      new Collection({
        type: 'base',
        name: 'av_scan_history',
        fields: [
          { name: 'seq', type: 'number', required: true, onlyInt: true },
          { name: 'entry', type: 'text', required: true, max: 2_000_000 },
          { name: 'hash', type: 'text', required: true, max: 64 },
          { name: 'created', type: 'autodate', onCreate: true },
        ],
        indexes: ['CREATE UNIQUE INDEX `idx_av_scan_history_seq` ON `av_scan_history` (`seq`)'],
      } as unknown as ConstructorParameters<typeof Collection>[0]),
    );
  },
  () => {
    // The history is never dropped.
  },
);
