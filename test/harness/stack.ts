/** PocketBase, clamd and the compiled sidecar, wired as in production. */
import { type ClamdOptions, type RunningClamd, startClamd } from './clamd.ts';
import { freePort, type PocketBaseOptions, type RunningPocketBase, startPocketBase } from './pocketbase.ts';
import { notifySecret, type RunningSidecar, startSidecar } from './sidecar.ts';

export interface Stack extends AsyncDisposable {
  readonly pb: RunningPocketBase;
  readonly clamd: RunningClamd;
  readonly sidecar: RunningSidecar;
}

export interface StackOptions {
  readonly pocketbase?: PocketBaseOptions;
  readonly clamd?: ClamdOptions;
  /** Variables of the sidecar. */
  readonly sidecar?: Readonly<Record<string, string>>;
}

/** Resolves when the sidecar is ready. What was started is stopped again when a later part does not start. */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  await using started = new AsyncDisposableStack();
  const port = await freePort();
  const clamd = started.use(await startClamd(options.clamd));
  const env = { AV_SIDECAR_URL: `http://127.0.0.1:${port}`, AV_NOTIFY_SECRET: notifySecret, ...options.pocketbase?.env };
  const pb = started.use(await startPocketBase({ ...options.pocketbase, env }));
  const sidecar = started.use(await startSidecar({ pocketbase: pb, clamd, port, env: options.sidecar ?? {} }));
  const all = started.move();
  return { pb, clamd, sidecar, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
