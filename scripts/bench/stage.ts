/** The real parts of one measure: PocketBase with our hooks, clamd, and the sidecar when it is wanted. */
import { mkdir } from 'node:fs/promises';
import { type RunningClamd, startClamd } from '../../test/harness/clamd.ts';
import { freePort, type PocketBaseOptions, type RunningPocketBase, startPocketBase } from '../../test/harness/pocketbase.ts';
import { notifySecret, type RunningSidecar, startSidecar } from '../../test/harness/sidecar.ts';
import type { Context } from './measure.ts';

export interface Stage extends AsyncDisposable {
  readonly pb: RunningPocketBase;
  readonly clamd: RunningClamd;
  /** Resolves when it is ready, or with `until: 'listening'` before it has begun to work. Ended with the stage. */
  startSidecar(options?: { env?: Record<string, string>; until?: 'ready' | 'listening' }): Promise<RunningSidecar>;
}

/** PocketBase as production runs it. */
export function startBenchPocketBase(options: PocketBaseOptions = {}): Promise<RunningPocketBase> {
  return startPocketBase({ ...options, hooksPool: 200 });
}

/** `clamdConf`: directives that win over the shared configuration. */
export async function openStage(context: Context, clamdConf: Record<string, string> = {}): Promise<Stage> {
  await using opening = new AsyncDisposableStack();
  const port = await freePort();
  const env = { AV_SIDECAR_URL: `http://127.0.0.1:${port}`, AV_NOTIFY_SECRET: notifySecret };
  const pb = opening.use(await startBenchPocketBase({ env }));
  const clamd = opening.use(await startClamd({ conf: clamdConf }));
  const nodeFlags = await profileFlags(context);
  const parts = opening.move();
  return {
    pb,
    clamd,
    async startSidecar(options = {}) {
      return parts.use(await startSidecar({ pocketbase: pb, clamd, port, nodeFlags, ...options }));
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

async function profileFlags({ profiles }: Context): Promise<string[]> {
  if (profiles === null) return [];
  await mkdir(profiles, { recursive: true });
  return ['--cpu-prof', `--cpu-prof-dir=${profiles}`];
}
