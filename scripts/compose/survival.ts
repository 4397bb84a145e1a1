/** Restarts and crashes of single services. Everything here throws with what is wrong. */
import { eventually } from '../../test/harness/eventually.ts';
import { runOrThrow } from '../parts/run.ts';
import type { Compose } from './compose.ts';
import { type ServiceName, services } from './override.ts';

const HEALTHY_MS = 120_000;

/** Resolves when the whole stack is healthy again. */
export async function interrupt(compose: Compose, service: ServiceName, how: 'restart' | 'kill'): Promise<void> {
  if (how === 'restart') await compose.run('restart', service);
  else await crashDuring(compose, service, async () => {});
  await eventually(`all of it is healthy after the ${how} of ${service}`, () => allHealthy(compose), HEALTHY_MS);
}

/**
 * Kills the main process as soon as `work` is done, and resolves with what came of that when the service was started again. From
 * outside, as a crash would; `docker kill` counts as a wish and would not be answered by a new start.
 */
export async function crashDuring<T>(compose: Compose, service: ServiceName, work: () => Promise<T>): Promise<T> {
  const container = await compose.containerOf(service);
  const ask = (format: string) => runOrThrow('docker', ['inspect', `--format=${format}`, container], { env: compose.env });
  const startedAt = await ask('{{.State.StartedAt}}');
  const pid = Number(await ask('{{.State.Pid}}'));
  const done = await work();
  process.kill(pid, 'SIGKILL');
  await eventually(`${service} was started again`, async () => (await ask('{{.State.StartedAt}}')) !== startedAt, 60_000);
  return done;
}

async function allHealthy(compose: Compose): Promise<boolean> {
  const lines = (await compose.run('ps', '--format', 'json')).trim().split('\n');
  const states = lines.map((line) => JSON.parse(line) as { Health: string });
  return states.length === services.length && states.every(({ Health }) => Health === 'healthy');
}
