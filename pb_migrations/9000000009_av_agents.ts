/// Creates `av_agents`: logins for scanners, who may claim, read what they have claimed and settle it, and nothing else.

migrate(
  (app) => {
    if (app.hasTable('av_agents')) {
      if (app.findCollectionByNameOrId('av_agents').type === 'auth') return;
      throw new Error('Pocketwarden: the collection av_agents exists and holds no logins. Rename it, and migrate again.');
    }
    app.save(
      new Collection({
        type: 'auth',
        name: 'av_agents',
        // No rule at all: superusers alone see and change agents. An empty one: whoever has the password may log in.
        authRule: '',
        passwordAuth: { enabled: true, identityFields: ['email'] },
        authAlert: { enabled: false },
        authToken: { duration: 86_400 },
      } as unknown as ConstructorParameters<typeof Collection>[0]),
    );
  },
  (app) => {
    if (app.hasTable('av_agents')) app.delete(app.findCollectionByNameOrId('av_agents'));
  },
);
