import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { boundToParent } from '../parts/bound-to-parent.ts';
import type { Report } from '../parts/report.ts';
import { findProgram, run } from '../parts/run.ts';

export interface Engine {
  /** For docker and docker-compose. */
  readonly env: NodeJS.ProcessEnv;
  stop(): Promise<void>;
}

const START_MS = 60_000;
const STOP_MS = 30_000;
const SYSTEM_SOCKET = '/var/run/docker.sock';

/** One sentence about what is missing for a container engine of our own; null when nothing is. */
export async function missingForEngine(): Promise<string | null> {
  if (process.platform !== 'linux') return 'npm run test:compose needs Linux: it starts a Docker engine of its own.';
  if (process.getuid?.() !== 0) return 'npm run test:compose needs root: it starts a Docker engine of its own.';
  const packages = { dockerd: 'docker.io', docker: 'docker.io', debootstrap: 'debootstrap', ip: 'iproute2', iptables: 'iptables' };
  const missing = new Set<string>();
  for (const [program, name] of Object.entries(packages))
    if ((await findProgram(program, ['/usr/sbin', '/sbin'])) === null) missing.add(name);
  if (missing.size > 0)
    return `npm run test:compose needs more programs: apt-get install --no-install-recommends ${[...missing].join(' ')} (nothing of it has to run).`;
  if (process.env.DOCKER_HOST === undefined && (await answers(SYSTEM_SOCKET)))
    return `A Docker engine runs on this machine, and two would spoil each other's firewall rules: set DOCKER_HOST=unix://${SYSTEM_SOCKET} to use it, or stop it.`;
  return null;
}

/**
 * A Docker engine below `parent`, gone with all its images after `stop`; or the one that DOCKER_HOST names, which is left as it is.
 * Throws with the end of its log when it does not come up.
 */
export async function startEngine(parent: string, report: Report): Promise<Engine> {
  if (process.env.DOCKER_HOST !== undefined) {
    report(`using the Docker engine at ${process.env.DOCKER_HOST}`);
    return { env: process.env, stop: async () => {} };
  }
  const folder = await mkdtemp(join(parent, 'engine-'));
  const [log, pidFile, socket] = ['engine.log', 'engine.pid', 'engine.sock'].map((name) => join(folder, name)) as [string, string, string];
  const output = openSync(log, 'a');
  const restoreNetwork = await rememberNetwork();
  // Addresses that home and company networks seldom use.
  const addresses = ['--bip=10.88.77.1/24', '--default-address-pool=base=10.88.128.0/17,size=24'];
  const folders = [`--data-root=${join(folder, 'data')}`, `--exec-root=${join(folder, 'exec')}`, `--pidfile=${pidFile}`];
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const child = spawn(...boundToParent('dockerd', [...folders, ...addresses, `--host=unix://${socket}`]), {
    stdio: ['ignore', output, output],
    // A Ctrl-C in the terminal is ours: the containers are taken down before their engine.
    detached: true,
    env,
  });
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      if ((await Promise.race([exited, sleep(STOP_MS, 'late' as const, { ref: false })])) === 'late') child.kill('SIGKILL');
      await exited;
    }
    await restoreNetwork();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  const engine = { env: { ...env, DOCKER_HOST: `unix://${socket}` }, stop };
  for (const deadline = Date.now() + START_MS; ; await sleep(200)) {
    if ((await run('docker', ['version'], { env: engine.env, timeoutMs: 10_000 })).code === 0) return engine;
    if (child.exitCode === null && Date.now() < deadline) continue;
    const said = (await readFile(log, 'utf8')).trim().split('\n').slice(-5).join('\n');
    await stop();
    throw new Error(`The Docker engine did not come up:\n${said}`);
  }
}

/** An engine leaves its bridge and a firewall that forwards nothing behind; answers what puts both back as they are now. */
async function rememberNetwork(): Promise<() => Promise<void>> {
  const hadBridge = (await run('ip', ['link', 'show', 'docker0'])).code === 0;
  const forwarded = (await run('iptables', ['-S', 'FORWARD'])).stdout.startsWith('-P FORWARD ACCEPT');
  return async () => {
    if (!hadBridge) await run('ip', ['link', 'delete', 'docker0']);
    if (forwarded) await run('iptables', ['-P', 'FORWARD', 'ACCEPT']);
  };
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(socket);
    connection.on('connect', () => resolve(true)).on('error', () => resolve(false));
    connection.on('connect', () => connection.destroy());
  });
}
