/** A real PocketBase with our compiled hooks and migrations in a temporary folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Client from 'pocketbase';
import { obtainPocketBase } from '../../scripts/parts/pocketbase.ts';
import { eventually } from './eventually.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
export const superuser = { email: 'warden@example.com', password: 'correct horse battery' };

export interface PocketBaseOptions {
  env?: Record<string, string>;
  /** Files beside ours in the hooks and migrations folders: name → source. */
  hooks?: Record<string, string>;
  migrations?: Record<string, string>;
  /** Leaves our compiled hooks out. */
  withoutOurHooks?: boolean;
  /** Leaves the second lock of our own `app_builds` on; without it what a test sees of a closed build is the gate alone. */
  secondLock?: boolean;
  /** Of `serve`; read at each start. */
  flags?: string[];
  /** Default 50, which starts faster than the 200 of production. */
  hooksPool?: number;
  port?: number;
}

export interface RunningPocketBase {
  readonly url: string;
  readonly dir: string;
  readonly pid: number;
  /** Logged in as superuser, auto-cancellation off. */
  readonly client: Client;
  /** What it printed so far. */
  output(): string;
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** For the next start. */
  setEnv(env: Record<string, string>): void;
  /** Starts again on the same folder and port after a kill. */
  restart(): Promise<void>;
  /** Runs raw SQL as superuser, past every hook. */
  sql(query: string): Promise<unknown>;
  /** Keeps the folder when told that the test failed. */
  stop(options?: { keep?: boolean }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface PocketBaseFolder {
  dir: string;
  /** Runs a console command to its end. */
  run(args: string[], input?: string): Promise<{ code: number | null; output: string }>;
  spawn(args: string[]): ChildProcess;
  setEnv(env: Record<string, string>): void;
  writeHooks(files: Record<string, string>): Promise<void>;
  writeMigrations(files: Record<string, string>): Promise<void>;
  remove(): Promise<void>;
}

/** After ours and before those of a test. */
const gateAlone = {
  '9000000099_gate_alone.js': `migrate((app) => {
    const builds = app.findCollectionByNameOrId('app_builds')
    builds.fields.getByName('files').protected = false
    builds.viewRule = ''
    app.save(builds)
  }, () => {})`,
};

/** A folder with our compiled files, ready for console commands. */
export async function preparePocketBase(options: PocketBaseOptions = {}): Promise<PocketBaseFolder> {
  const { bin } = await obtainPocketBase(() => {});
  const dir = await mkdtemp(join(tmpdir(), 'pocketwarden-pb-'));
  const write = async (folder: string, files: Record<string, string>) => {
    await mkdir(join(dir, folder), { recursive: true });
    for (const [name, source] of Object.entries(files)) await writeFile(join(dir, folder, name), source);
  };
  await mkdir(join(dir, 'pb_hooks'));
  if (!options.withoutOurHooks) await cp(join(root, 'build/pb_hooks'), join(dir, 'pb_hooks'), { recursive: true });
  await cp(join(root, 'build/pb_migrations'), join(dir, 'pb_migrations'), { recursive: true });
  await write('pb_hooks', options.hooks ?? {});
  await write('pb_migrations', options.migrations ?? {});
  if (!options.secondLock && (options.env?.['AV_CREATE_APP_BUILDS'] ?? 'true') === 'true') await write('pb_migrations', gateAlone);
  await writeFile(join(dir, 'password'), superuser.password, { mode: 0o600 });
  // biome-ignore format: one flag a word
  const folders = ['--dir', join(dir, 'pb_data'), '--hooksDir', join(dir, 'pb_hooks'), '--migrationsDir', join(dir, 'pb_migrations'), '--publicDir', join(dir, 'pb_public'),
    '--dev=false', '--hooksWatch=false', '--automigrate=false', `--hooksPool=${options.hooksPool ?? 50}`];
  let env: NodeJS.ProcessEnv = {
    GOGC: '200',
    ...process.env,
    AV_HISTORY_KEY: 'test history key',
    AV_CREATE_APP_BUILDS: 'true',
    ...options.env,
  };
  // Those of a test come last, so that they win.
  const start = ([command = '', ...args]: string[]) => spawn(bin, [command, ...folders, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  return {
    dir,
    spawn: start,
    run: async (args, input) => {
      const child = start(args);
      let output = '';
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
      child.stdin.end(input ?? '');
      const [code] = await once(child, 'close');
      return { code, output };
    },
    setEnv: (changes) => {
      env = { ...env, ...changes };
    },
    writeHooks: (files) => write('pb_hooks', files),
    writeMigrations: (files) => write('pb_migrations', files),
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

/** Migrated, with a superuser, serving. Rejects with its output when it does not come up. */
export async function startPocketBase(options: PocketBaseOptions = {}): Promise<RunningPocketBase> {
  const folder = await preparePocketBase(options);
  return servePocketBase(folder, options);
}

export async function servePocketBase(folder: PocketBaseFolder, options: PocketBaseOptions = {}): Promise<RunningPocketBase> {
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  let output = '';
  let child: ChildProcess;
  const up = async () => {
    child = folder.spawn(['serve', `--http=127.0.0.1:${port}`, ...(options.flags ?? [])]);
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk) => (output += chunk));
    const started = child;
    await eventually(`PocketBase serves on ${url}`, async () => started.exitCode !== null || (await fetch(`${url}/api/health`)).ok, 20_000);
    if (started.exitCode !== null) throw new Error(`PocketBase ended with ${started.exitCode}:\n${output}`);
  };
  const kill = async (signal: NodeJS.Signals = 'SIGKILL') => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, 'close');
    child.kill(signal);
    await closed;
  };
  const created = await folder.run(
    options.withoutOurHooks
      ? ['superuser', 'create', superuser.email, superuser.password]
      : ['av-superuser', '--email', superuser.email, '--password-file', join(folder.dir, 'password')],
  );
  if (created.code !== 0) throw new Error(`no superuser: ${created.output}`);
  await up();
  const client = new Client(url).autoCancellation(false);
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password);
  const stop = async ({ keep = false } = {}) => {
    await kill('SIGTERM');
    if (!keep) await folder.remove();
  };
  return {
    url,
    dir: folder.dir,
    client,
    get pid() {
      return child.pid!;
    },
    output: () => output,
    kill,
    setEnv: folder.setEnv,
    restart: up,
    sql: (query) => client.send('/api/sql', { method: 'POST', body: { query } }),
    stop,
    [Symbol.asyncDispose]: () => stop(),
  };
}

/** A port that was free a moment ago, below the ephemeral range, so that no client socket takes it. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
