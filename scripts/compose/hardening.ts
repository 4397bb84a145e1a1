/** What the containers may do and what they hold, looked at from inside and outside. Everything here throws with what is wrong. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { runOrThrow } from '../parts/run.ts';
import type { Compose } from './compose.ts';
import type { ServiceName } from './override.ts';

const BUILD_TOOLS = [
  'gcc',
  'g++',
  'cc',
  'make',
  'ld',
  'go',
  'git',
  'npm',
  'npx',
  'yarn',
  'esbuild',
  'tsc',
  'python3',
  'debootstrap',
  'curl',
  'wget',
];

interface Container {
  readonly Config: { readonly Env: readonly string[]; readonly Cmd: readonly string[] | null };
  readonly HostConfig: {
    readonly ReadonlyRootfs: boolean;
    readonly CapDrop: readonly string[] | null;
    readonly SecurityOpt: readonly string[] | null;
    readonly Memory: number;
    readonly PidsLimit: number | null;
    readonly RestartPolicy: { readonly Name: string };
  };
}

/** As the engine really started it: no rights, nothing writable, limits, and no secret in its environment or command line. */
export async function expectConfined(compose: Compose, service: ServiceName, secrets: readonly string[]): Promise<void> {
  const text = await runOrThrow('docker', ['inspect', await compose.containerOf(service)], { env: compose.env });
  const [container] = JSON.parse(text) as Container[];
  if (container === undefined) throw new Error('it has no container');
  const { HostConfig: host } = container;
  const expected: Record<string, boolean> = {
    'a read-only root': host.ReadonlyRootfs,
    'no capabilities': host.CapDrop?.includes('ALL') === true,
    'no-new-privileges': host.SecurityOpt?.some((option) => option.startsWith('no-new-privileges')) === true,
    'a memory limit': host.Memory > 0,
    'a limit of processes': (host.PidsLimit ?? 0) > 0,
    'a restart policy': host.RestartPolicy.Name === 'unless-stopped',
    'no secret in its environment': !secrets.some((secret) => text.includes(secret)),
  };
  const missing = Object.entries(expected).filter(([, met]) => !met);
  if (missing.length > 0) throw new Error(`it lacks ${missing.map(([name]) => name).join(', ')}`);
}

/** Not root, the root file system refuses a write, and the kernel reports no capability. */
export async function expectPowerless(compose: Compose, service: ServiceName): Promise<void> {
  const script = 'echo "uid $(id -u)"; (: > /written) 2>/dev/null && echo written; grep -E "^(CapEff|CapBnd|NoNewPrivs)" /proc/self/status';
  const { stdout } = await compose.exec(service, 'sh', '-c', script);
  const uid = /^uid (\d+)$/m.exec(stdout)?.[1];
  if (uid === undefined || uid === '0') throw new Error(`it runs as user ${uid}`);
  if (stdout.includes('written')) throw new Error('its root can be written to');
  if (!/^CapEff:\s+0+$/m.test(stdout) || !/^CapBnd:\s+0+$/m.test(stdout) || !/^NoNewPrivs:\s+1$/m.test(stdout))
    throw new Error(`it has rights: ${stdout}`);
}

/** No compiler, package manager of a language, or downloader on its PATH, but those `allowed`. */
export async function expectNoBuildTools(compose: Compose, service: ServiceName, allowed: readonly string[] = []): Promise<void> {
  const script = `for tool in ${BUILD_TOOLS.filter((tool) => !allowed.includes(tool)).join(' ')}; do command -v $tool; done; echo looked`;
  const { stdout } = await compose.exec(service, 'sh', '-c', script);
  if (stdout.trim() !== 'looked')
    throw new Error(`it holds ${stdout.trim().split('\n').slice(0, -1).join(', ') || 'no shell to look with'}`);
}

/** Runs as a numeric user, and none of the secrets is in any of its layers or in its history. */
export async function expectCleanImage(compose: Compose, image: string, secrets: readonly string[]): Promise<void> {
  const user = (await runOrThrow('docker', ['image', 'inspect', '--format={{.Config.User}}', image], { env: compose.env })).trim();
  if (!/^[1-9]\d*:[1-9]\d*$/.test(user)) throw new Error(`its user is ${JSON.stringify(user)}`);
  const found = await containsAny(['image', 'save', image], compose.env, secrets);
  if (found) throw new Error('it holds a secret');
}

/** Searches what docker prints, however large, also across the borders of its chunks. */
async function containsAny(args: readonly string[], env: NodeJS.ProcessEnv, needles: readonly string[]): Promise<boolean> {
  const longest = Math.max(...needles.map((needle) => needle.length));
  const child = spawn('docker', args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  let [tail, found, bytes] = [Buffer.alloc(0), false, 0];
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
    const seen = Buffer.concat([tail, chunk]);
    found ||= needles.some((needle) => seen.includes(needle));
    tail = Buffer.from(seen.subarray(-longest));
    bytes += chunk.length;
  }
  const [code] = (await exited) as [number | null];
  if (code !== 0 || bytes === 0) throw new Error(`docker ${args.join(' ')} ended with ${code}`);
  return found;
}
