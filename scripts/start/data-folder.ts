import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface DataFolder {
  readonly path: string;
  readonly pocketbase: string;
  readonly public: string;
  readonly clamd: string;
  readonly clamdTemporary: string;
  readonly testSignatures: string;
  readonly passwordFile: string;
  readonly notifySecretFile: string;
  readonly historyKeyFile: string;
  readonly operatorTokenFile: string;
  readonly sessionSecretFile: string;
  readonly console: string;
  readonly trivyDb: string;
  readonly groupFile: string;
}

/**
 * Creates what is missing of the data folder, mode 0700, and its secrets, mode 0600. A secret that exists is kept for ever.
 * A given password goes to a file of its own, so that the generated one is not lost.
 */
export async function prepareDataFolder(path: string, givenPassword: string | null): Promise<DataFolder> {
  const secrets = join(path, 'secrets');
  const folder: DataFolder = {
    path,
    pocketbase: join(path, 'pocketbase'),
    public: join(path, 'public'),
    clamd: join(path, 'clamd'),
    clamdTemporary: join(path, 'clamd', 'tmp'),
    testSignatures: join(path, 'clamd', 'test-signatures'),
    passwordFile: join(secrets, givenPassword === null ? 'superuser-password' : 'superuser-password-given'),
    notifySecretFile: join(secrets, 'notify-secret'),
    historyKeyFile: join(secrets, 'history-key'),
    operatorTokenFile: join(secrets, 'operator-token'),
    sessionSecretFile: join(secrets, 'session-secret'),
    console: join(path, 'console'),
    trivyDb: join(path, 'trivy-db'),
    groupFile: join(path, 'group.json'),
  };
  const { pocketbase, public: published, clamd, console, trivyDb } = folder;
  for (const name of [path, secrets, pocketbase, published, clamd, console, trivyDb]) await mkdir(name, { recursive: true, mode: 0o700 });
  await chmod(path, 0o700);
  await chmod(secrets, 0o700);
  if (givenPassword !== null) await writeSecret(folder.passwordFile, givenPassword, 'w');
  else await keepOrGenerate(folder.passwordFile);
  for (const file of [folder.notifySecretFile, folder.historyKeyFile, folder.operatorTokenFile, folder.sessionSecretFile])
    await keepOrGenerate(file);
  await emptyTemporary(folder);
  return folder;
}

/** clamd leaves the files of interrupted scans behind, whatever signal ended it. */
export async function emptyTemporary(folder: DataFolder): Promise<void> {
  await rm(folder.clamdTemporary, { recursive: true, force: true });
  await mkdir(folder.clamdTemporary, { recursive: true, mode: 0o700 });
}

async function keepOrGenerate(path: string): Promise<void> {
  const existing = await readFile(path, 'utf8').catch(() => '');
  if (existing === '') await writeSecret(path, randomBytes(24).toString('base64url'), 'w');
}

async function writeSecret(path: string, secret: string, flag: string): Promise<void> {
  await writeFile(path, secret, { mode: 0o600, flag });
  await chmod(path, 0o600);
}
