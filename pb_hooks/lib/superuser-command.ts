/** `pocketbase av-superuser --email E --password-file F`: creates a superuser once, with the password never on a command line. */
export function superuserCommand(): Command {
  const command = new Command({
    use: 'av-superuser',
    short: 'Creates a superuser from a password file; changes nothing where the superuser exists',
    run: (cmd: cobra.Command) => {
      const flags = cmd.flags();
      createOnce(flags.getString('email'), flags.getString('password-file'));
    },
  } as unknown as ConstructorParameters<typeof Command>[0]);
  const flags = command.flags();
  flags.string('email', '', 'e-mail of the superuser');
  flags.string('password-file', '', 'file that holds the password, at least 8 characters');
  return command;
}

/**
 * Setting a password again would end every token that is in use, so an existing superuser is left as it is
 * (PocketBase renews the token key even for the same password).
 */
function createOnce(email: string, passwordFile: string): void {
  if (email === '' || passwordFile === '') throw new Error('usage: av-superuser --email E --password-file F');
  const superusers = $app.findCollectionByNameOrId('_superusers');
  if ($app.findRecordsByFilter(superusers.id, 'email = {:email}', '', 1, 0, { email }).length > 0) {
    console.log(`The superuser ${email} exists; nothing changed.`);
    return;
  }
  const record = new Record(superusers);
  record.setEmail(email);
  record.setPassword(toString($os.readFile(passwordFile)).replace(/\r?\n$/, ''));
  $app.save(record);
  console.log(`The superuser ${email} was created.`);
}
