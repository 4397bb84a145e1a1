/// Creates what the webhooks need: where in the history they are, and what is still to be delivered.

migrate(
  (app) => {
    const create = (collection: object) => app.save(new Collection(collection as ConstructorParameters<typeof Collection>[0]));
    if (!app.hasTable('av_delivery_cursor'))
      create({ type: 'base', name: 'av_delivery_cursor', fields: [{ name: 'seq', type: 'number', onlyInt: true, min: 0 }] });
    if (app.hasTable('av_deliveries')) return;
    create({
      type: 'base',
      name: 'av_deliveries',
      fields: [
        { name: 'event', type: 'text', required: true, max: 200 },
        { name: 'kind', type: 'text', required: true, max: 50 },
        { name: 'endpoint', type: 'text', required: true, max: 100 },
        { name: 'body', type: 'text', required: true, max: 100_000 },
        { name: 'attempts', type: 'number', onlyInt: true, min: 0 },
        { name: 'next_at', type: 'date' },
        { name: 'give_up_at', type: 'date', required: true },
        { name: 'delivered_at', type: 'date' },
        { name: 'given_up_at', type: 'date' },
        { name: 'last_error', type: 'text', max: 500 },
        { name: 'created', type: 'autodate', onCreate: true },
      ],
      indexes: [
        'CREATE UNIQUE INDEX `idx_av_deliveries_event` ON `av_deliveries` (`event`, `endpoint`)',
        // Whole ones: PocketBase binds the values of a filter, so that SQLite cannot see that a partial index would do.
        'CREATE INDEX `idx_av_deliveries_due` ON `av_deliveries` (`endpoint`, `next_at`)',
        'CREATE INDEX `idx_av_deliveries_open` ON `av_deliveries` (`next_at`, `attempts`)',
        'CREATE INDEX `idx_av_deliveries_given_up` ON `av_deliveries` (`given_up_at`)',
        'CREATE INDEX `idx_av_deliveries_created` ON `av_deliveries` (`created`)',
      ],
    });
  },
  (app) => {
    for (const name of ['av_deliveries', 'av_delivery_cursor']) if (app.hasTable(name)) app.delete(app.findCollectionByNameOrId(name));
  },
);
