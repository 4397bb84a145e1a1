/** `pocketbase av-lock show|on|off`: the second lock on the builds of a host. */
import { isReal, type LockChange, lockOff, lockOn } from './second-lock.ts';

const USAGE = 'usage: av-lock show | on | off';

export function lockCommand(): Command {
  return new Command({
    use: 'av-lock',
    short: 'Makes PocketBase itself ask whether a build is open, so that its files stay shut without our hooks: show, on, off',
    run: (_: cobra.Command, args: string[]) => {
      const [word = ''] = args;
      const say = new Map([
        ['show', show],
        ['on', on],
        ['off', off],
      ]).get(word);
      if (!say || args.length !== 1) throw new Error(USAGE);
      console.log(say($app));
    },
  } as unknown as ConstructorParameters<typeof Command>[0]);
}

function show(app: CoreApp): string {
  const on = rehearsed(app, lockOn);
  if (on.some(isReal))
    return [...described(on), '', ...CONSEQUENCES, '', 'Nothing was changed. "av-lock on" does it, "av-lock off" undoes it.'].join('\n');
  return [...described(on), '', 'The second lock is on. "av-lock off" would do this:', '', ...described(rehearsed(app, lockOff))].join(
    '\n',
  );
}

function on(app: CoreApp): string {
  const changes = made(app, lockOn);
  if (!changes.some(isReal)) return [...described(changes), '', 'The second lock is on already; nothing was changed.'].join('\n');
  return [...described(changes), '', 'The second lock is on.', ...CONSEQUENCES].join('\n');
}

function off(app: CoreApp): string {
  const changes = made(app, lockOff);
  if (!changes.some(isReal)) return 'The second lock is off already; nothing was changed.';
  return [...described(changes), '', 'The second lock is off. Without our hooks PocketBase serves every file.'].join('\n');
}

const CONSEQUENCES = [
  'Until a build is open PocketBase answers 404 for its files, before the gate could answer 403 with a code: ask',
  'GET /api/av/builds/{id} for where it stands. A file token of a superuser passes every rule; the gate still refuses it.',
  'A PocketBase that is running on this folder notices within a second; one on another machine wants a restart.',
];

function made(app: CoreApp, change: (tx: CoreApp) => LockChange[]): LockChange[] {
  let changes: LockChange[] = [];
  app.runInTransaction((tx) => {
    changes = change(tx);
  });
  return changes;
}

/** Does it, looks, and takes it back: what is shown is what would happen. */
function rehearsed(app: CoreApp, change: (tx: CoreApp) => LockChange[]): LockChange[] {
  let changes: LockChange[] | null = null;
  try {
    app.runInTransaction((tx) => {
      changes = change(tx);
      throw new Error('rehearsed');
    });
  } catch (error) {
    if (changes === null) throw error;
  }
  return changes ?? [];
}

function described(changes: readonly LockChange[]): string[] {
  return changes.flatMap(({ collection, isView, fields, rule, notes }) => [
    `${collection}${isView ? ' (view)' : ''}`,
    ...fields.map(({ name, before, after }) => `  field ${name}: ${before === after ? flag(after) : `${flag(before)} -> ${flag(after)}`}`),
    ...(rule.before === rule.after
      ? [`  view rule: ${ruleText(rule.after)}`]
      : [`  view rule before: ${ruleText(rule.before)}`, `  view rule after:  ${ruleText(rule.after)}`]),
    ...notes.map((note) => `  ! ${note}`),
  ]);
}

function flag(isProtected: boolean): string {
  return isProtected ? 'protected' : 'public';
}

function ruleText(rule: string | null): string {
  if (rule === null) return '(none: superusers only)';
  return rule === '' ? '(empty: everybody)' : rule;
}
