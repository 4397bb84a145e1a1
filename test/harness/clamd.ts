import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { clamdConf } from '../../scripts/clamd-conf.ts';
import { writeTestSignatures } from '../../scripts/test-signatures.ts';
import { eventually } from './eventually.ts';

export interface ClamdOptions {
  /** Directives that win over the shared body. */
  readonly conf?: Record<string, string>;
  /** `test` (default) writes the test set; `none` a set that finds nothing; anything else is a folder used as it is. */
  readonly signatures?: 'test' | 'none' | string;
  readonly port?: number;
  readonly address?: string;
  /** Writing more than this into one file fails, as on a full disk, until `lift()`. */
  readonly fullAtBytes?: number;
}

export interface RunningClamd extends AsyncDisposable {
  /** host:port */
  readonly address: string;
  readonly port: number;
  readonly pid: number;
  readonly dir: string;
  /** Where its signatures are; change them and `reload()`. */
  readonly database: string;
  log(): string;
  /** Sends the signal; resolves when the process has ended, at once for signals that do not end it. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Kills it if it runs and starts it again on the same port. */
  restart(): Promise<void>;
  /** Asks it to load its signatures again; `Activating the newly loaded database` in the log tells when it has. */
  reload(): Promise<void>;
  /** Ends what `fullAtBytes` began. */
  lift(): Promise<void>;
}

const body = new URL('../../deploy/clamd/clamd.conf', import.meta.url);

/** A clamd of its own in its own folder, on the shared configuration body; resolves when it answers PONG. */
export async function startClamd(options: ClamdOptions = {}): Promise<RunningClamd> {
  const dir = await mkdtemp(join(tmpdir(), 'pocketwarden-clamd-'));
  const database = await prepareSignatures(dir, options.signatures ?? 'test');
  await mkdir(join(dir, 'tmp'));
  const host = options.address ?? '127.0.0.1';
  const output: string[] = [];
  const start = async (port: number): Promise<ChildProcess> => {
    const site = { port, address: host, databaseDirectory: database, temporaryDirectory: join(dir, 'tmp'), user: userInfo().username };
    await writeFile(join(dir, 'clamd.conf'), clamdConf({ ...site, overrides: options.conf ?? {} }, await readFile(body, 'utf8')));
    return launch({ conf: join(dir, 'clamd.conf'), fullAtBytes: options.fullAtBytes }, host, port, output);
  };
  const port = options.port ?? (await freePort(host));
  let child = await start(port);
  const kill = (signal: NodeJS.Signals = 'SIGKILL') => end(child, signal);
  return {
    address: `${host}:${port}`,
    port,
    get pid() {
      return child.pid!;
    },
    dir,
    database,
    log: () => output.join(''),
    kill,
    async restart() {
      await kill();
      child = await start(port);
    },
    async lift() {
      await promisify(execFile)('prlimit', ['--pid', `${child.pid}`, '--fsize=unlimited']);
    },
    async reload() {
      await ask(host, port, 'zRELOAD\0');
    },
    async [Symbol.asyncDispose]() {
      await kill();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** A port nobody listens on, below the range from which the kernel hands out ports for outgoing connections. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, host, () => resolve(true));
    });
    if (!free) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

async function prepareSignatures(dir: string, wanted: string): Promise<string> {
  if (wanted !== 'test' && wanted !== 'none') return wanted;
  const database = join(dir, 'database');
  await mkdir(database);
  if (wanted === 'test') await writeTestSignatures(database);
  else await writeFile(join(database, 'nothing.hsb'), `${'00'.repeat(32)}:1:Never.Found:73\n`);
  return database;
}

interface Launch {
  readonly conf: string;
  readonly fullAtBytes: number | undefined;
}

async function launch({ conf, fullAtBytes }: Launch, host: string, port: number, output: string[]): Promise<ChildProcess> {
  const { clamd, env } = await clamdProgram();
  // A limit of the size of files, whose signal is ignored: the nearest to a full disk that needs no rights. sh counts in 512 bytes.
  const limited = `trap '' XFSZ; ulimit -S -f ${Math.ceil((fullAtBytes ?? 0) / 512)}; exec "$0" "$@"`;
  const [program, prefix] = fullAtBytes === undefined ? [clamd, []] : ['sh', ['-c', limited, clamd]];
  const child = spawn(program, [...prefix, '--config-file', conf], {
    env: { ...process.env, TZ: 'UTC', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => output.push(chunk.toString()));
  try {
    await eventually(
      `clamd on port ${port} answers`,
      () => {
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${output.join('').slice(-500)}`);
        return ask(host, port, 'zPING\0').then((reply) => reply === 'PONG\0');
      },
      30_000,
    );
  } catch (thrown) {
    await end(child, 'SIGKILL');
    throw thrown;
  }
  return child;
}

async function clamdProgram(): Promise<{ clamd: string; env: Record<string, string> }> {
  const given = process.env.CLAMD_BIN;
  if (given) return { clamd: given, env: {} };
  const { obtainClamd } = await import('../../scripts/parts/clamd.ts');
  return obtainClamd(() => {});
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  if (signal === 'SIGKILL' || signal === 'SIGTERM' || signal === 'SIGINT') await exited;
}

function ask(host: string, port: number, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let reply = '';
    const socket = createConnection({ host, port }, () => socket.write(command));
    socket.setTimeout(2_000, () => socket.destroy(new Error(`no reply to ${command.slice(1, -1)}`)));
    socket.on('data', (chunk: Buffer) => {
      reply += chunk.toString('latin1');
    });
    socket.on('end', () => resolve(reply)).on('error', reject);
  });
}
