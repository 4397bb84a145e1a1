/** Console commands that create an account once, with the password from a file and never on a command line. */

/** `pocketbase av-superuser --email E --password-file F` */
export function superuserCommand(): Command {
  return accountCommand('av-superuser', 'superuser', '_superusers');
}

/** `pocketbase av-agent --email E --password-file F`: a login for scanners, which may do nothing but scan. */
export function agentCommand(): Command {
  return accountCommand('av-agent', 'agent', 'av_agents');
}

function accountCommand(use: string, what: string, collection: string): Command {
  const command = new Command({
    use,
    short: `Creates the ${what} from a password file; changes nothing where it exists`,
    run: (cmd: cobra.Command) => {
      const flags = cmd.flags();
      createOnce(use, what, collection, flags.getString('email'), flags.getString('password-file'));
    },
  } as unknown as ConstructorParameters<typeof Command>[0]);
  const flags = command.flags();
  flags.string('email', '', `e-mail of the ${what}`);
  flags.string('password-file', '', 'file that holds the password, at least 8 characters');
  return command;
}

/**
 * Setting a password again would end every token that is in use, so an existing account is left as it is
 * (PocketBase renews the token key even for the same password).
 */
function createOnce(use: string, what: string, name: string, email: string, passwordFile: string): void {
  if (email === '' || passwordFile === '') throw new Error(`usage: ${use} --email E --password-file F`);
  const collection = $app.findCollectionByNameOrId(name);
  if ($app.findRecordsByFilter(collection.id, 'email = {:email}', '', 1, 0, { email }).length > 0) {
    console.log(`The ${what} ${email} exists; nothing changed.`);
    return;
  }
  const record = new Record(collection);
  record.setEmail(email);
  record.setPassword(toString($os.readFile(passwordFile)).replace(/\r?\n$/, ''));
  $app.save(record);
  console.log(`The ${what} ${email} was created.`);
}
