/// Creates `app_builds` where this PocketBase is ours alone (AV_CREATE_APP_BUILDS); a host brings its own.
import { flag } from '../pb_hooks/lib/settings.ts';

const GIB = 1_073_741_824;

migrate(
  (app) => {
    if (app.hasTable('app_builds') || !flag('AV_CREATE_APP_BUILDS')) return;
    const text = (name: string) => ({ name, type: 'text', max: 200 });
    app.save(
      new Collection({
        type: 'base',
        name: 'app_builds',
        listRule: '',
        viewRule: '',
        fields: [
          { name: 'files', type: 'file', maxSelect: 99, maxSize: GIB },
          text('os'),
          text('arch'),
          text('branch'),
          text('app'),
          { name: 'created', type: 'autodate', onCreate: true },
          { name: 'updated', type: 'autodate', onCreate: true, onUpdate: true },
        ],
        // The shipped types take the literal's members for methods.
      } as unknown as ConstructorParameters<typeof Collection>[0]),
    );
  },
  () => {
    // Builds are never dropped.
  },
);
