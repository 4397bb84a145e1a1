/** Runs the builder as a process of its own, to be killed. As a program: a line in is a command, a line out its answer, as JSON. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { argv, env, execPath, exit, stdin, stdout } from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Registry } from '@prometheus-io/client';
import { loadConfig } from '../../sidecar/config.ts';
import { createTrivyDbRole } from '../../sidecar/roles/trivy-db.ts';
import { createLog } from '../../sidecar/telemetry/log.ts';
import { type Builder, BuilderRefusal, type BuilderState, type BuildRecord } from '../../sidecar/trivy-db/model.ts';

const self = fileURLToPath(import.meta.url);

type Commands = Pick<Builder, 'state' | 'start' | 'build' | 'builds' | 'published' | 'cancel'>;

export interface BuilderProcess extends AsyncDisposable {
  readonly pid: number;
  /** Resolves with the id, or with the code of the refusal. */
  start(by: string): Promise<{ id: string } | { refused: BuilderRefusal['code'] }>;
  state(): Promise<BuilderState>;
  build(id: string): Promise<BuildRecord | null>;
  /** kill -9. Resolves when it has ended. */
  kill(): Promise<void>;
}

/** Resolves when the role works. */
export async function startBuilderProcess(variables: Readonly<Record<string, string>>): Promise<BuilderProcess> {
  const child = spawn(execPath, [self, 'run'], {
    env: { PATH: env['PATH'], HOME: env['HOME'], ...variables },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const answers = createInterface(child.stdout!)[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await answers.next();
    if (done) throw new Error('the builder process ended');
    return JSON.parse(value);
  };
  const ask = async (command: keyof Commands, argument = '') => {
    child.stdin!.write(`${command} ${argument}\n`);
    return next();
  };
  await next();
  return {
    pid: child.pid!,
    start: (by) => ask('start', by),
    state: () => ask('state'),
    build: (id) => ask('build', id),
    kill: () => killed(child),
    [Symbol.asyncDispose]: () => killed(child),
  };
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

async function main(): Promise<void> {
  const config = loadConfig(env).trivyDb!;
  const access = { operatorOf: async () => null, required: (_c: unknown, next: () => Promise<void>) => next() };
  const role = createTrivyDbRole(config, access, createLog('silent'), new Registry());
  await role.start();
  const answer = (value: unknown) => stdout.write(`${JSON.stringify(value)}\n`);
  const { builder } = role;
  const commands: Record<string, (argument: string) => Promise<unknown>> = {
    start: async (by) => ({ id: await builder.start(by) }),
    state: () => builder.state(),
    build: (id) => builder.build(id),
  };
  answer('ready');
  for await (const line of createInterface(stdin)) {
    const [command = '', argument = ''] = line.split(' ');
    await commands[command]!(argument).then(answer, (thrown) =>
      answer({ refused: thrown instanceof BuilderRefusal ? thrown.code : String(thrown) }),
    );
  }
  await role.stop();
}

if (argv[1] === self && argv[2] === 'run') main().catch(() => exit(1));
