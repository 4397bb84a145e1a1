/** Who reaches whom. Everything here throws with what is wrong. */
import { runOrThrow } from '../parts/run.ts';
import type { Compose } from './compose.ts';
import type { Outside } from './outside.ts';
import type { ServiceName } from './override.ts';

/** What listens where, and how it is known: in some networks something answers at every address. */
interface Target {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** With the escapes of printf. */
  readonly say: string;
  readonly expect: string;
}

export const GREETING = 'this is where the test listens';

const sidecar = { port: 8080, say: 'GET /healthz HTTP/1.0\\r\\nHost: test\\r\\n\\r\\n', expect: '"alive":true' };
const listeners = {
  pocketbase: { port: 8090, say: 'GET /api/health HTTP/1.0\\r\\nHost: test\\r\\n\\r\\n', expect: 'API is healthy' },
  clamd: { port: 3310, say: 'zPING\\000', expect: 'PONG' },
  scanner: sidecar,
  console: sidecar,
  'trivy-db': sidecar,
} as const;

/** Whoever may be asked on a network may ask there as well. */
const reachable: Record<ServiceName, readonly string[]> = {
  scanner: ['clamd', 'console', 'pocketbase'],
  pocketbase: ['console', 'scanner'],
  clamd: ['scanner'],
  freshclam: ['outside'],
  console: ['outside', 'pocketbase', 'scanner', 'trivy-db'],
  'trivy-db': ['console', 'outside'],
};

/** Tries every service by every address that it has, the outside, and a port of this machine by every address that Docker gave it. */
export async function expectReachesOnly(compose: Compose, from: ServiceName, outside: Outside, hostPort: number): Promise<void> {
  const greeting = { say: '', expect: GREETING };
  const targets: Target[] = [{ name: 'outside', host: outside.address, port: outside.port, ...greeting }];
  for (const service of Object.keys(reachable)) {
    const listener = service === from ? undefined : listeners[service as keyof typeof listeners];
    for (const { address, gateway } of await endpoints(compose, service)) {
      if (listener !== undefined) targets.push({ name: service, host: address, ...listener });
      // A published port and a way out need an address of this machine; the services that have neither must not see one.
      if (from === 'scanner' || from === 'clamd') targets.push({ name: 'this machine', host: gateway, port: hostPort, ...greeting });
    }
  }
  const tried = await Promise.all(targets.map(async (target) => ((await answers(compose, from, target)) ? [target.name] : [])));
  const open = new Set(tried.flat());
  const expected = reachable[from].join(', ');
  const seen = [...open].sort().join(', ');
  if (seen !== expected) throw new Error(`it reaches ${seen || 'nothing'}, not ${expected}`);
}

/** The addresses of a service, and those that this machine would have on the same networks. */
async function endpoints(compose: Compose, service: string): Promise<{ address: string; gateway: string }[]> {
  const docker = async (...args: string[]) => (await runOrThrow('docker', args, { env: compose.env })).trim();
  const text = await docker('inspect', '--format={{json .NetworkSettings.Networks}}', await compose.containerOf(service));
  const networks = Object.values(JSON.parse(text) as Record<string, { IPAddress: string; NetworkID: string }>);
  const gateway = (id: string) => docker('network', 'inspect', '--format={{range .IPAM.Config}}{{.Gateway}}{{end}}', id);
  return Promise.all(networks.map(async ({ IPAddress, NetworkID }) => ({ address: IPAddress, gateway: await gateway(NetworkID) })));
}

/** By bash, the one program that all the images of the test have. */
async function answers(compose: Compose, from: ServiceName, { host, port, say, expect }: Target): Promise<boolean> {
  const script = `exec 3<>/dev/tcp/${host}/${port} && printf '${say}' >&3 && timeout 2 cat <&3`;
  const { stdout } = await compose.exec(from, 'timeout', '4', 'bash', '-c', script);
  return stdout.includes(expect);
}
