import { readFile, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { clamdConf } from '../clamd-conf.ts';
import type { Clamd } from '../parts/clamd.ts';
import type { PocketBase } from '../parts/pocketbase.ts';
import { runOrThrow } from '../parts/run.ts';
import { sidecarFlags } from '../sidecar-flags.ts';
import { type DataFolder, emptyTemporary } from './data-folder.ts';
import { prefixedLog } from './log.ts';
import { Part } from './part.ts';
import type { StartSettings } from './settings.ts';
import type { Signatures } from './signatures.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sidecarMain = join(root, 'build', 'sidecar', 'main.js');

export interface GroupPlan {
  readonly settings: StartSettings;
  readonly folder: DataFolder;
  readonly pocketbase: PocketBase;
  readonly clamd: Clamd;
  readonly signatures: Signatures;
  readonly write: (text: string) => void;
}

/** Part and the mark by which a later start recognises its process. */
export interface Member {
  readonly part: Part;
  readonly mark: string;
}

/** Where this machine reaches one of the two that speak HTTP. */
export function urlOf({ host }: Pick<StartSettings, 'host'>, port: number): string {
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `http://${address(reachable, port)}`;
}

function address(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Flags that every PocketBase of ours runs with; why, is in the design: a gated download holds a hook runtime to its last byte. */
function pocketbaseFlags(folder: DataFolder): string[] {
  const folders = {
    dir: folder.pocketbase,
    hooksDir: join(root, 'build', 'pb_hooks'),
    migrationsDir: join(root, 'build', 'pb_migrations'),
    publicDir: folder.public,
  };
  const settings = ['--dev=false', '--hooksWatch=false', '--automigrate=false', '--hooksPool=200'];
  return [...settings, ...Object.entries(folders).map(([name, path]) => `--${name}=${path}`)];
}

function pocketbaseEnvironment({ settings, folder }: GroupPlan): NodeJS.ProcessEnv {
  return {
    ...withoutPassword(),
    AV_SIDECAR_URL: urlOf(settings, settings.ports.sidecar),
    AV_NOTIFY_SECRET_FILE: folder.notifySecretFile,
    AV_HISTORY_KEY_FILE: folder.historyKeyFile,
    AV_CREATE_APP_BUILDS: 'true',
    GOGC: process.env['GOGC'] ?? '200',
  };
}

/** Migrates and creates the superuser, both harmless when done before. Throws with PocketBase's words. */
export async function prepareDatabase(plan: GroupPlan): Promise<void> {
  const { settings, folder, pocketbase } = plan;
  const env = pocketbaseEnvironment(plan);
  const flags = pocketbaseFlags(folder);
  await runOrThrow(pocketbase.bin, ['migrate', 'up', ...flags], { env });
  const superuser = ['av-superuser', '--email', settings.email, '--password-file', folder.passwordFile];
  await runOrThrow(pocketbase.bin, [...superuser, ...flags], { env });
}

export function pocketbasePart(plan: GroupPlan): Member {
  const part = new Part({
    name: 'pocketbase',
    command: plan.pocketbase.bin,
    args: ['serve', `--http=${address(plan.settings.host, plan.settings.ports.pocketbase)}`, ...pocketbaseFlags(plan.folder)],
    env: pocketbaseEnvironment(plan),
    deathSignal: 'TERM',
    patienceMs: 10_000,
    log: prefixedLog('pocketbase', 'blue', plan.write),
  });
  return { part, mark: plan.folder.pocketbase };
}

export async function clamdPart({ settings, folder, clamd, signatures, write }: GroupPlan): Promise<Member> {
  const conf = join(folder.clamd, 'clamd.conf');
  const site = {
    port: settings.ports.clamd,
    databaseDirectory: signatures.directory,
    temporaryDirectory: folder.clamdTemporary,
    user: userInfo().username,
  };
  await writeFile(conf, clamdConf(site, await readFile(join(root, 'deploy', 'clamd', 'clamd.conf'), 'utf8')));
  const part = new Part({
    name: 'clamd',
    command: clamd.clamd,
    args: ['--config-file', conf],
    // Its VERSION tells the date of the signatures in its own time zone, without naming it.
    env: { ...process.env, ...clamd.env, TZ: 'UTC' },
    // On SIGTERM it first finishes what it scans.
    deathSignal: 'KILL',
    patienceMs: 3_000,
    log: prefixedLog('clamd', 'magenta', write),
    // Forty lines of settings at every start, and the canaries' findings every minute; verdicts are in the sidecar's words.
    hidden: /-> (Limits: |instream\(|[\w() -]+ (enabled|disabled)\.$)/,
    prepare: () => emptyTemporary(folder),
  });
  return { part, mark: conf };
}

export function sidecarPart({ settings, folder, signatures, write }: GroupPlan): Member {
  const part = new Part({
    name: 'sidecar',
    command: process.execPath,
    args: [...sidecarFlags, sidecarMain],
    env: {
      ...withoutPassword(),
      POCKETBASE_URL: urlOf(settings, settings.ports.pocketbase),
      POCKETBASE_SUPERUSER_EMAIL: settings.email,
      POCKETBASE_SUPERUSER_PASSWORD_FILE: folder.passwordFile,
      CLAMD_ADDRESSES: `127.0.0.1:${settings.ports.clamd}`,
      AV_NOTIFY_SECRET_FILE: folder.notifySecretFile,
      ALLOW_TEST_SIGNATURES: String(signatures.kind === 'test'),
      ROLES: process.env['ROLES'] || 'scanner,console,trivy-db',
      ...secretFile('OPERATOR_TOKEN', folder.operatorTokenFile),
      ...secretFile('SESSION_SECRET', folder.sessionSecretFile),
      CONSOLE_DATA_DIR: process.env['CONSOLE_DATA_DIR'] || folder.console,
      TRIVY_DB_CACHE_DIR: process.env['TRIVY_DB_CACHE_DIR'] || join(folder.trivyDb, 'cache'),
      TRIVY_DB_OUTPUT_DIR: process.env['TRIVY_DB_OUTPUT_DIR'] || join(folder.trivyDb, 'output'),
      HOST: settings.host,
      PORT: String(settings.ports.sidecar),
    },
    deathSignal: 'TERM',
    // It gives running scans 20 s to finish.
    patienceMs: 25_000,
    log: prefixedLog('sidecar', 'cyan', write),
  });
  return { part, mark: sidecarMain };
}

/** The file of a generated secret, unless the environment brings its own. */
function secretFile(name: string, path: string): NodeJS.ProcessEnv {
  return process.env[name] || process.env[`${name}_FILE`] ? {} : { [`${name}_FILE`]: path };
}

/** Secrets reach the parts as files; beside a `…_FILE` the variable itself would be a second, conflicting source. */
function withoutPassword(): NodeJS.ProcessEnv {
  const { POCKETBASE_SUPERUSER_PASSWORD: _password, AV_NOTIFY_SECRET: _secret, AV_HISTORY_KEY: _key, ...rest } = process.env;
  return rest;
}
