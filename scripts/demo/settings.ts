import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { readGroup } from '../start/group-file.ts';

export interface DemoSettings {
  readonly url: string;
  readonly email: string;
  readonly password: string;
}

export const HELP = `npm run demo: uploads four builds, shows their verdicts and asks the gate before and after.

  DATA_DIR                             data folder of the running npm start (.data): its address and password are used
  POCKETBASE_URL                       another PocketBase
  POCKETBASE_SUPERUSER_EMAIL           superuser there
  POCKETBASE_SUPERUSER_PASSWORD(_FILE) its password, or a file that holds it
  DEMO_SECONDS                         how long to wait for the verdicts (300)

Exit code 0 only if everything went as it must.`;

/** Where and as whom: the environment first, then what the running `npm start` left in its data folder. Throws with what is missing. */
export function readDemoSettings(env: NodeJS.ProcessEnv): DemoSettings {
  const group = readGroup(join(resolve(env.DATA_DIR || '.data'), 'group.json'));
  const url = env.POCKETBASE_URL || group?.pocketbaseUrl;
  if (url === undefined)
    throw new Error('No running npm start was found here: start it in another terminal, or set POCKETBASE_URL (or DATA_DIR).');
  const email = env.POCKETBASE_SUPERUSER_EMAIL || group?.email || 'admin@example.com';
  const file = env.POCKETBASE_SUPERUSER_PASSWORD_FILE || group?.passwordFile;
  const password = env.POCKETBASE_SUPERUSER_PASSWORD || (file === undefined ? '' : readPassword(file));
  if (password === '') throw new Error('Set POCKETBASE_SUPERUSER_PASSWORD or POCKETBASE_SUPERUSER_PASSWORD_FILE.');
  return { url: url.replace(/\/+$/, ''), email, password };
}

function readPassword(file: string): string {
  try {
    return readFileSync(file, 'utf8').trimEnd();
  } catch (error) {
    throw new Error(`The password file cannot be read: ${(error as Error).message}`, { cause: error });
  }
}
